//! The `wal` feed: one replication connection with a temporary slot.

use std::time::Instant;

use bytes::Bytes;
use pgwire_replication::Lsn;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::in_progress::{InProgress, Waiting};
use super::task::{ALIVE_EVERY, ALIVE_WITHIN, Command, Task};
use crate::db::Inner;
use crate::error::Error;
use crate::read::snapshot::TransactionSnapshot;
use crate::replication::{Event, Message, Replication};
use crate::schema::INSTALLED_CHANNEL;

/// How long PostgreSQL may wait for others before that is told.
const SLOW: std::time::Duration = std::time::Duration::from_secs(5);

/// What is known of the stream.
struct Position {
    /// The WAL up to here is not needed any more.
    done: Lsn,
    /// The lower half of the id of the transaction that is being received.
    transaction: Option<u32>,
    /// What has come of transactions that have not committed.
    in_progress: InProgress,
    /// Which of them is being received.
    streamed: Option<u32>,
    heard: Instant,
}

/// What comes next.
enum Next {
    Event(Result<Event, Error>),
    Command(Option<Command>),
    /// It is time to tell how far this is, and for a sign of life.
    Tick,
}

impl Task {
    /// Connects and streams until the connection is lost (an error, with whether there was one) or
    /// nobody needs the feed any more.
    pub(super) async fn replicate(&mut self) -> Result<(), (bool, Error)> {
        let mut replication = self.connect().await.map_err(|error| (false, error))?;
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
                // Between transactions, so that of each a channel gets all or nothing.
                command = self.commands.recv(), if position.transaction.is_none() => {
                    Next::Command(command)
                }
                _ = tick.tick() => Next::Tick,
            };
            let Some(db) = self.db.upgrade() else { return Ok(()) };
            match next {
                Next::Event(event) => {
                    position.heard = Instant::now();
                    let event = event.map_err(|error| (true, error))?;
                    let must_answer = matches!(event, Event::KeepAlive { answer: true, .. });
                    self.handle_event(&db, event, &mut position);
                    if must_answer {
                        confirm(&mut replication, &position, false).await?;
                    }
                }
                Next::Command(None | Some(Command::Close)) => return Ok(()),
                Next::Command(Some(command)) => self.handle_wal_command(&db, command),
                Next::Tick => {
                    if position.heard.elapsed() > ALIVE_EVERY + ALIVE_WITHIN {
                        return Err((true, Error::silent()));
                    }
                    confirm(&mut replication, &position, true).await?;
                }
            }
        }
    }

    async fn connect(&mut self) -> Result<Replication, Error> {
        let connecting = Replication::connect(&self.config, &self.tls);
        let connected = timeout(ALIVE_WITHIN, connecting).await;
        let mut replication = connected.unwrap_or_else(|_| Err(Error::silent()))?;
        let snapshot = self.create_slot(&mut replication).await?;
        replication.start().await?;
        let Some(db) = self.db.upgrade() else { return Err(Error::closed()) };
        self.confirmed.clone_from(&self.channels);
        db.visibility.begin(snapshot);
        self.has_begun(&db);
        Ok(replication)
    }

    async fn create_slot(
        &self,
        replication: &mut Replication,
    ) -> Result<TransactionSnapshot, Error> {
        let mut creating = std::pin::pin!(replication.create_slot());
        loop {
            if let Ok(snapshot) = timeout(SLOW, &mut creating).await {
                return snapshot;
            }
            if self.db.upgrade().is_none_or(|db| db.is_closed()) {
                return Err(Error::closed());
            }
            tracing::warn!(
                "the change feed waits for transactions that were writing when it connected; until \
                 they end, clients see no changes"
            );
        }
    }

    fn handle_event(&mut self, db: &Inner, event: Event, position: &mut Position) {
        match event {
            // What is being received may have been sent before the position.
            Event::KeepAlive { end, .. } if position.transaction.is_none() => {
                position.done = position.done.max(end);
            }
            Event::KeepAlive { .. } => {}
            Event::Message(Message::Begin { transaction }) => {
                position.transaction = Some(transaction);
            }
            Event::Message(Message::Logical { transactional: true, prefix, content }) => {
                match (position.streamed, position.transaction) {
                    (Some(transaction), _) => {
                        let is_change = db.visibility.has_channel(&prefix);
                        let is_ours = prefix == db.tokens.channel || prefix == INSTALLED_CHANNEL;
                        if is_change || is_ours {
                            // What an installation says is not looked at. What is kept must not
                            // keep alive what was read along with it.
                            let is_read = prefix != INSTALLED_CHANNEL;
                            let payload = if is_read {
                                Bytes::copy_from_slice(&content)
                            } else {
                                Bytes::new()
                            };
                            let message = Waiting { channel: prefix, payload, is_change };
                            position.in_progress.add(transaction, message);
                        }
                    }
                    (None, Some(transaction)) => {
                        self.handle_message(db, transaction, &prefix, &content);
                    }
                    // Transactional messages are within transactions.
                    (None, None) => {}
                }
            }
            Event::Message(Message::Commit { end }) => {
                db.handle_end_of_transaction();
                position.transaction = None;
                position.done = end;
            }
            Event::Message(Message::StreamStart { transaction }) => {
                position.streamed = Some(transaction);
            }
            Event::Message(Message::StreamStop) => position.streamed = None,
            Event::Message(Message::StreamAbort { transaction, subtransaction }) => {
                position.in_progress.roll_back(transaction, subtransaction);
            }
            Event::Message(Message::StreamCommit { transaction, end }) => {
                for message in position.in_progress.take(transaction) {
                    self.handle_message(db, transaction, &message.channel, &message.payload);
                }
                db.handle_end_of_transaction();
                position.done = end;
            }
            Event::Message(_) => {}
        }
    }

    /// A message of a transaction that has committed.
    fn handle_message(&self, db: &Inner, transaction: u32, channel: &str, payload: &[u8]) {
        let Ok(payload) = std::str::from_utf8(payload) else { return };
        let is_change = db.visibility.note(channel, payload, Some(transaction));
        if !is_change || self.channels.contains(channel) {
            db.handle_notification(channel, payload);
        }
    }

    fn handle_wal_command(&mut self, db: &Inner, command: Command) {
        match command {
            Command::Listen(channel, done) => {
                self.channels.insert(channel);
                // Whoever asked may have given up.
                let _ = done.send(db.visibility.position());
            }
            Command::Unlisten(channel) => {
                if db.is_idle(&channel) {
                    self.channels.remove(&channel);
                }
            }
            // Handled by the caller.
            Command::Close => {}
        }
    }
}

async fn confirm(
    replication: &mut Replication,
    position: &Position,
    answer: bool,
) -> Result<(), (bool, Error)> {
    let confirmed = timeout(ALIVE_WITHIN, replication.confirm(position.done, answer)).await;
    confirmed.unwrap_or_else(|_| Err(Error::silent())).map_err(|error| (true, error))
}
