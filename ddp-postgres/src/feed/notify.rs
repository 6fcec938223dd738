//! The `notify` feed: one connection that listens.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::{FutureExt, select_biased};
use tokio::time::{Interval, MissedTickBehavior};
use tokio_postgres::{AsyncMessage, Client, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::task::{ALIVE_EVERY, ALIVE_WITHIN, Command, Task};
use crate::db::Inner;
use crate::error::Error;
use crate::schema::INSTALLED_CHANNEL;

type Stream = <MakeRustlsConnect as tokio_postgres::tls::MakeTlsConnect<Socket>>::Stream;

/// A channel on which the connection listens, and how many times it had stopped to listen on one when
/// it was told to.
type Listening = (String, u64);

/// A statement under way on the feed's connection; what it confirms.
type Running<'a> = FuturesUnordered<BoxFuture<'a, Result<Option<Listening>, Error>>>;

/// What comes next.
enum Next {
    Notification(tokio_postgres::Notification),
    /// All that has come so far has been handed over.
    Drained,
    Command(Option<Command>),
    /// It is time for a sign of life.
    Quiet,
    Done(Result<Option<Listening>, Error>),
    Lost(Option<tokio_postgres::Error>),
}

impl Task {
    /// Connects and listens until the connection is lost (an error, with whether there was one) or
    /// nobody needs the feed any more.
    pub(super) async fn listen(&mut self) -> Result<(), (bool, Error)> {
        let connected = self.config.connect(self.tls.clone()).await;
        let (client, mut connection) = connected.map_err(|error| (false, error.into()))?;
        let begun = tokio::time::timeout(ALIVE_WITHIN, self.begin(&client, &mut connection)).await;
        begun.unwrap_or_else(|_| Err(Error::silent())).map_err(|error| (false, error))?;
        let mut quiet = tokio::time::interval(ALIVE_EVERY);
        quiet.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut running = Running::new();
        let mut has_drained = true;
        loop {
            let next = self.next(&mut connection, &mut running, &mut quiet, has_drained).await;
            let Some(db) = self.db.upgrade() else { return Ok(()) };
            match next {
                Next::Notification(notification) => {
                    db.handle_notification(notification.channel(), notification.payload());
                    has_drained = false;
                }
                Next::Drained => {
                    db.handle_drained();
                    has_drained = true;
                }
                Next::Command(None | Some(Command::Close)) => return Ok(()),
                Next::Command(Some(command)) => {
                    self.handle_command(&db, &client, command, &running);
                }
                Next::Done(Ok(listening)) => {
                    // An UNLISTEN may have been sent meanwhile, behind this LISTEN.
                    let is_so = |(_, unlistened): &Listening| *unlistened == self.unlistened;
                    let confirmed = listening.filter(is_so).map(|(channel, _)| channel);
                    self.confirmed.extend(confirmed);
                }
                Next::Quiet => {
                    // An empty query: a server that hangs, or a proxy whose far side is dead, does
                    // not answer, though the socket looks well.
                    let sign = tokio::time::timeout(ALIVE_WITHIN, client.batch_execute(""));
                    running.push(
                        async move {
                            sign.await.map_err(|_| Error::silent())??;
                            Ok(None)
                        }
                        .boxed(),
                    );
                }
                Next::Done(Err(error)) => return Err((true, error)),
                Next::Lost(Some(error)) => return Err((true, error.into())),
                Next::Lost(None) => return Err((true, Error::closed())),
            }
        }
    }

    /// Listens on all channels that are wanted, and then makes up for what may have been missed.
    async fn begin(
        &mut self,
        client: &Client,
        connection: &mut Connection<Socket, Stream>,
    ) -> Result<(), Error> {
        self.confirmed.clear();
        let Some(db) = self.db.upgrade() else { return Ok(()) };
        let mut sql = format!("LISTEN {}", quote(&db.tokens.channel));
        sql.push_str(&format!("; LISTEN {}", quote(INSTALLED_CHANNEL)));
        for channel in &self.channels {
            sql.push_str("; LISTEN ");
            sql.push_str(&quote(channel));
        }
        let mut listening = pin!(client.batch_execute(&sql).fuse());
        loop {
            let message = poll_fn(|cx| connection.poll_message(cx)).fuse();
            let mut message = pin!(message);
            select_biased! {
                done = listening => break done?,
                // Notifications of before the requery that follows are part of what it reads.
                message = message => match message {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.into()),
                    None => return Err(Error::closed()),
                },
            }
        }
        self.confirmed.clone_from(&self.channels);
        self.has_begun(&db);
        Ok(())
    }

    async fn next(
        &mut self,
        connection: &mut Connection<Socket, Stream>,
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
            self.commands.poll_recv(cx).map(Next::Command)
        })
        .await
    }

    fn handle_command<'a>(
        &mut self,
        db: &Inner,
        client: &'a Client,
        command: Command,
        running: &Running<'a>,
    ) {
        match command {
            Command::Listen(channel, done) if self.confirmed.contains(&channel) => {
                // Whoever asked may have given up.
                let _ = done.send(0);
            }
            Command::Listen(channel, done) => {
                // Perhaps for the second time: the answer then comes after the first one's.
                let sql = format!("LISTEN {}", quote(&channel));
                self.channels.insert(channel.clone());
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
            // Handled by the caller.
            Command::Close => {}
            Command::Unlisten(channel) => {
                if db.is_idle(&channel) && self.confirmed.remove(&channel) {
                    self.channels.remove(&channel);
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
