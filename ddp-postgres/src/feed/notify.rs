//! The `notify` feed: one connection that uses `LISTEN`.

use std::collections::HashSet;
use std::future::poll_fn;
use std::task::Poll;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};

use super::command::Command;
use super::event::{FeedEvent, Payload};
use super::link::{ALIVE_EVERY, ALIVE_WITHIN, Failure, Link};
use crate::db::dial::dial;
use crate::db::tls::TlsStream;
use crate::error::Error;
use crate::schema::{INSTALLED_CHANNEL, UNTIMED_SQL};

/// A channel being listened on, and the value of `unlistened` when the LISTEN was sent.
type Listening = (String, u64);

/// A statement running on the feed's connection, and what it confirms.
type Running<'a> = FuturesUnordered<BoxFuture<'a, Result<Option<Listening>, Error>>>;

/// What comes next.
enum Next {
    Notification(tokio_postgres::Notification),
    /// Everything received so far has been handed over.
    Drained,
    Command(Option<Command>),
    /// Time to check for a sign of life.
    Quiet,
    Done(Result<Option<Listening>, Error>),
    Lost(Option<tokio_postgres::Error>),
}

/// One connection that listens.
struct Listener<'l> {
    link: &'l mut Link,
    /// The channels of collections for which PostgreSQL has confirmed the LISTEN.
    confirmed: HashSet<String>,
    /// How many UNLISTENs have been sent.
    unlistened: u64,
}

/// Connects and listens until the connection is lost or the feed is no longer needed.
pub(super) async fn listen(link: &mut Link) -> Result<(), Failure> {
    // The read that follows includes whatever notifications report until then.
    let connected = dial(&link.config, &link.tls, &listen_sql(link)).await;
    let (client, connection) = connected.map_err(|error| Failure::Unreachable(error.into()))?;
    let confirmed = link.listened.clone();
    let listener = Listener { link, confirmed, unlistened: 0 };
    listener.run(&client, connection).await
}

/// Listens on all wanted channels.
fn listen_sql(link: &Link) -> String {
    let channels = [link.token_channel.as_str(), INSTALLED_CHANNEL].into_iter();
    let channels = channels.chain(link.listened.iter().map(String::as_str));
    let listens = channels.map(|channel| format!("; LISTEN {}", quote(channel)));
    std::iter::once(UNTIMED_SQL.to_owned()).chain(listens).collect()
}

impl Listener<'_> {
    async fn run(
        mut self,
        client: &Client,
        mut connection: Connection<Socket, TlsStream>,
    ) -> Result<(), Failure> {
        if self.link.has_begun(None).is_break() {
            return Ok(());
        }
        let mut quiet = tokio::time::interval(ALIVE_EVERY);
        quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut running = Running::new();
        let mut has_drained = true;
        loop {
            let next = self.next(&mut connection, &mut running, &mut quiet, has_drained).await;
            match next {
                Next::Notification(notification) => {
                    let payload = Payload {
                        channel: notification.channel(),
                        text: notification.payload(),
                        transaction: None,
                        is_listened: true,
                    };
                    if self.link.yields(FeedEvent::Payload(payload)).is_break() {
                        return Ok(());
                    }
                    has_drained = false;
                }
                Next::Drained => {
                    if self.link.yields(FeedEvent::Drained).is_break() {
                        return Ok(());
                    }
                    has_drained = true;
                }
                Next::Command(None | Some(Command::Close)) => return Ok(()),
                Next::Command(Some(command)) => self.handle_command(client, command, &running),
                Next::Done(Ok(listening)) => {
                    // An UNLISTEN may have been sent after this LISTEN.
                    let is_so = |(_, unlistened): &Listening| *unlistened == self.unlistened;
                    let confirmed = listening.filter(is_so).map(|(channel, _)| channel);
                    self.confirmed.extend(confirmed);
                }
                Next::Quiet => {
                    // Send an empty query: a server that hangs, or a proxy whose far side is dead,
                    // does not answer, though the socket looks fine.
                    let sign = tokio::time::timeout(ALIVE_WITHIN, client.batch_execute(""));
                    running.push(
                        async move {
                            sign.await.map_err(|_| Error::silent())??;
                            Ok(None)
                        }
                        .boxed(),
                    );
                }
                Next::Done(Err(error)) => return Err(Failure::Lost(error)),
                Next::Lost(Some(error)) => return Err(Failure::Lost(error.into())),
                Next::Lost(None) => return Err(Failure::Lost(Error::closed())),
            }
        }
    }

    async fn next(
        &mut self,
        connection: &mut Connection<Socket, TlsStream>,
        running: &mut Running<'_>,
        quiet: &mut Interval,
        has_drained: bool,
    ) -> Next {
        poll_fn(|cx| {
            loop {
                match connection.poll_message(cx) {
                    Poll::Ready(Some(Ok(AsyncMessage::Notification(notification)))) => {
                        return Poll::Ready(Next::Notification(notification));
                    }
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Next::Lost(Some(error))),
                    Poll::Ready(None) => return Poll::Ready(Next::Lost(None)),
                    Poll::Pending => break,
                }
            }
            if !has_drained {
                return Poll::Ready(Next::Drained);
            }
            if let Poll::Ready(Some(done)) = running.poll_next_unpin(cx) {
                return Poll::Ready(Next::Done(done));
            }
            if quiet.poll_tick(cx).is_ready() {
                return Poll::Ready(Next::Quiet);
            }
            self.link.commands.poll_recv(cx).map(Next::Command)
        })
        .await
    }

    fn handle_command<'a>(&mut self, client: &'a Client, command: Command, running: &Running<'a>) {
        match command {
            Command::Listen(channel, done) if self.confirmed.contains(&channel) => {
                // The receiver is gone if the load was cancelled.
                let _ = done.send(0);
            }
            Command::Listen(channel, done) => {
                // This may be a repeat: the answer then comes after the first one's.
                let sql = format!("LISTEN {}", quote(&channel));
                self.link.listened.insert(channel.clone());
                let unlistened = self.unlistened;
                running.push(
                    async move {
                        client.batch_execute(&sql).await?;
                        let _ = done.send(0);
                        Ok(Some((channel, unlistened)))
                    }
                    .boxed(),
                );
            }
            // The caller handles this.
            Command::Close => {}
            Command::Unlisten(channel) => {
                if self.link.sink.is_idle(&channel) && self.confirmed.remove(&channel) {
                    self.link.listened.remove(&channel);
                    self.unlistened += 1;
                    let sql = format!("UNLISTEN {}", quote(&channel));
                    running.push(
                        async move {
                            client.batch_execute(&sql).await?;
                            Ok(None)
                        }
                        .boxed(),
                    );
                }
            }
        }
    }
}

fn quote(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
