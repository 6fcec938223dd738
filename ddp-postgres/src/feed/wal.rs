//! The `wal` feed: one replication connection with a temporary slot.

use std::ops::ControlFlow;
use std::time::Instant;

use bytes::Bytes;
use pgwire_replication::Lsn;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_postgres::SimpleQueryMessage;

use super::command::Command;
use super::event::{FeedEvent, Payload};
use super::in_progress::{InProgress, Waiting};
use super::link::{ALIVE_EVERY, ALIVE_WITHIN, Failure, Link};
use crate::db::dial::dial;
use crate::error::Error;
use crate::read::snapshot::TransactionSnapshot;
use crate::replication::{Event, Message, Replication};
use crate::schema::INSTALLED_CHANNEL;

/// How long PostgreSQL may wait for other transactions before that is logged.
const SLOW: std::time::Duration = std::time::Duration::from_secs(5);

/// How far the stream has come.
struct Position {
    /// The WAL up to here is no longer needed.
    done: Lsn,
    /// The lower half of the id of the transaction being received.
    transaction: Option<u32>,
    /// The messages of transactions that have not committed yet.
    in_progress: InProgress,
    /// Which of them is being received.
    streamed: Option<u32>,
    heard: Instant,
}

/// What comes next.
enum Next {
    Event(Result<Event, Error>),
    Command(Option<Command>),
    /// Time to report the position, and to check for a sign of life.
    Tick,
}

/// Connects and streams until the connection is lost or the feed is no longer needed.
pub(super) async fn replicate(link: &mut Link) -> Result<(), Failure> {
    let (mut replication, start) = connect(link).await.map_err(Failure::Unreachable)?;
    if link.has_begun(Some(start)).is_break() {
        return Ok(());
    }
    let mut position = Position {
        done: Lsn::ZERO,
        transaction: None,
        in_progress: InProgress::default(),
        streamed: None,
        heard: Instant::now(),
    };
    let mut tick = interval(ALIVE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            event = replication.next() => Next::Event(event),
            // Only between transactions, so that a channel gets all of each or nothing.
            command = link.commands.recv(), if position.transaction.is_none() => {
                Next::Command(command)
            }
            _ = tick.tick() => Next::Tick,
        };
        match next {
            Next::Event(event) => {
                position.heard = Instant::now();
                let event = event.map_err(Failure::Lost)?;
                let must_answer = matches!(event, Event::KeepAlive { answer: true, .. });
                if position.handle_event(link, event).is_break() {
                    return Ok(());
                }
                if must_answer {
                    confirm(&mut replication, &position, false).await?;
                }
            }
            Next::Command(None | Some(Command::Close)) => return Ok(()),
            Next::Command(Some(command)) => handle_command(link, command),
            Next::Tick => {
                if position.heard.elapsed() > ALIVE_EVERY + ALIVE_WITHIN {
                    return Err(Failure::Lost(Error::silent()));
                }
                confirm(&mut replication, &position, true).await?;
            }
        }
    }
}

async fn connect(link: &Link) -> Result<(Replication, TransactionSnapshot), Error> {
    let mut replication = Replication::connect(&link.config, &link.tls, link.channels()).await?;
    let start = create_slot(link, &mut replication).await?;
    let started = timeout(ALIVE_WITHIN, replication.start()).await;
    started.unwrap_or_else(|_| Err(Error::silent()))?;
    Ok((replication, start))
}

async fn create_slot(
    link: &Link,
    replication: &mut Replication,
) -> Result<TransactionSnapshot, Error> {
    let process = replication.process.clone();
    let mut creating = std::pin::pin!(replication.create_slot());
    loop {
        if let Ok(snapshot) = timeout(SLOW, &mut creating).await {
            return snapshot;
        }
        if link.sink.is_closed() {
            return Err(Error::closed());
        }
        // If nobody can be asked, that changes nothing yet.
        if matches!(timeout(ALIVE_WITHIN, is_at_work(link, &process)).await, Ok(Ok(false))) {
            // What it has said may be under way.
            let created = timeout(ALIVE_WITHIN, &mut creating).await;
            return created.unwrap_or_else(|_| Err(Error::silent()));
        }
        tracing::warn!(
            feed = link.feed.name(),
            "the feed waits for transactions that were already writing when it connected; until \
             they end, clients see no changes"
        );
    }
}

/// Whether PostgreSQL has yet to answer this process's connection, which other ones know: while it is at
/// work it is as silent as a proxy that has lost it.
async fn is_at_work(link: &Link, process: &str) -> Result<bool, Error> {
    let (client, connection) = dial(&link.config, &link.tls, "").await?;
    let sql = format!(
        "SELECT FROM pg_catalog.pg_stat_activity WHERE pid = {process} AND coalesce(state, '') NOT LIKE 'idle%'"
    );
    tokio::select! {
        rows = client.simple_query(&sql) => {
            Ok(rows?.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_))))
        }
        _ = connection => Err(Error::closed()),
    }
}

impl Position {
    fn handle_event(&mut self, link: &Link, event: Event) -> ControlFlow<()> {
        match event {
            // A message being received may have been sent before this position.
            Event::KeepAlive { end, .. } if self.transaction.is_none() => {
                self.done = self.done.max(end);
            }
            Event::KeepAlive { .. } => {}
            Event::Message(Message::Begin { transaction }) => {
                self.transaction = Some(transaction);
            }
            Event::Message(Message::Logical { transactional: true, prefix, content }) => {
                match (self.streamed, self.transaction) {
                    (Some(transaction), _) => self.keep(link, transaction, prefix, &content),
                    (None, Some(transaction)) => {
                        return yield_message(link, transaction, &prefix, &content);
                    }
                    // Transactional messages are always inside a transaction.
                    (None, None) => {}
                }
            }
            Event::Message(Message::Commit { end }) => {
                self.transaction = None;
                self.done = end;
                return link.yields(FeedEvent::End);
            }
            Event::Message(Message::StreamStart { transaction }) => {
                self.streamed = Some(transaction);
            }
            Event::Message(Message::StreamStop) => self.streamed = None,
            Event::Message(Message::StreamAbort { transaction, subtransaction }) => {
                self.in_progress.roll_back(transaction, subtransaction);
            }
            Event::Message(Message::StreamCommit { transaction, end }) => {
                self.done = end;
                for message in self.in_progress.take(transaction) {
                    yield_message(link, transaction, &message.channel, &message.payload)?;
                }
                return link.yields(FeedEvent::End);
            }
            Event::Message(_) => {}
        }
        ControlFlow::Continue(())
    }

    /// Keeps a message for this server until its transaction commits.
    fn keep(&mut self, link: &Link, transaction: u32, channel: String, content: &[u8]) {
        if !link.is_ours(&channel) {
            return;
        }
        let is_change = link.is_change(&channel);
        // An installation's message needs no content. The copy does not keep the rest of the read
        // buffer alive.
        let is_read = channel != INSTALLED_CHANNEL;
        let payload = if is_read { Bytes::copy_from_slice(content) } else { Bytes::new() };
        self.in_progress.add(transaction, Waiting { channel, payload, is_change });
    }
}

/// Passes on a message of a committed transaction.
fn yield_message(link: &Link, transaction: u32, channel: &str, payload: &[u8]) -> ControlFlow<()> {
    let Ok(text) = std::str::from_utf8(payload) else { return ControlFlow::Continue(()) };
    let is_listened = link.listened.contains(channel);
    let transaction = Some(transaction);
    link.yields(FeedEvent::Payload(Payload { channel, text, transaction, is_listened }))
}

fn handle_command(link: &mut Link, command: Command) {
    match command {
        Command::Listen(channel, done) => {
            link.listened.insert(channel);
            // The receiver is gone if the load was cancelled.
            let _ = done.send(link.sink.position());
        }
        Command::Unlisten(channel) => {
            if link.sink.is_idle(&channel) {
                link.listened.remove(&channel);
            }
        }
        // The caller handles this.
        Command::Close => {}
    }
}

async fn confirm(
    replication: &mut Replication,
    position: &Position,
    answer: bool,
) -> Result<(), Failure> {
    let confirmed = timeout(ALIVE_WITHIN, replication.confirm(position.done, answer)).await;
    confirmed.unwrap_or_else(|_| Err(Error::silent())).map_err(Failure::Lost)
}
