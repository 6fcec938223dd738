//! A replication connection that reads logical messages through a temporary slot.
//!
//! [`handshake`] connects through `tokio-postgres` for its TLS and authentication, which the client
//! of `pgwire-replication` lacks in part. After that, the latter's protocol layer does the framing.

mod handshake;
#[cfg(feature = "tls")]
mod lending;
mod lent;
mod message;
mod reader;

use std::collections::HashSet;
use std::time::SystemTime;

use bytes::Bytes;

use pgwire_replication::Lsn;
use pgwire_replication::protocol::ErrorFields;
use pgwire_replication::protocol::framing::{self, BackendMessage};
use pgwire_replication::protocol::replication::{
    PG_EPOCH_MICROS, ReplicationCopyData, encode_standby_status_update, parse_copy_data,
};
use tokio_postgres::Config;

use crate::db::dial::first;
use crate::db::tls::Tls;
use crate::error::Error;
use crate::read::snapshot::TransactionSnapshot;
use crate::schema::{PUBLICATION, UNTIMED_SQL};
use lent::Lent;
pub(crate) use message::Message;
use reader::{Incoming, Reader};

/// How much memory PostgreSQL may use to decode transactions. Beyond it, the largest one is
/// streamed while in progress, so that its commit does not hold up the others: decoding it all at
/// the end, an update of 1,000,000 rows of any table would delay them by half a second or more.
const DECODING_MEMORY: &str = "1MB";

/// A connection in replication mode.
pub(crate) struct Replication {
    stream: Lent,
    reader: Reader,
    slot: String,
    /// The process that serves it.
    pub(crate) process: String,
}

/// What the server sends while streaming.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message of the output plugin.
    Message(Message),
    /// The WAL up to here is done. The server may want an answer.
    KeepAlive { end: Lsn, answer: bool },
}

impl Replication {
    /// Connects to the first reachable host that meets `target_session_attrs`, within
    /// `connect_timeout` for each. Logical messages with other prefixes than these channels may be left out.
    pub(crate) async fn connect(
        config: &Config,
        tls: &Tls,
        channels: HashSet<String>,
    ) -> Result<Self, Error> {
        first(config, |place| Self::connect_to(place, tls, channels.clone())).await
    }

    async fn connect_to(
        place: Config,
        tls: &Tls,
        channels: HashSet<String>,
    ) -> Result<Self, Error> {
        let stream = handshake::connect(&place, tls).await?;
        let slot = format!("ddp_{}", ddp_server::random::id().to_ascii_lowercase());
        let reader = Reader::new(channels);
        let mut connected = Self { stream, reader, slot, process: String::new() };
        // It may wait long for its slot, and be idle later.
        connected.query(UNTIMED_SQL).await?;
        let process = connected.query("SELECT pg_catalog.pg_backend_pid()").await?;
        connected.process = process.ok_or_else(|| Error::malformed("no process"))?;
        Ok(connected)
    }

    /// Creates the slot, which ends with the connection. Returns which transactions committed
    /// before it: all later ones are streamed.
    ///
    /// PostgreSQL waits here for the transactions that are writing at the time.
    pub(crate) async fn create_slot(&mut self) -> Result<TransactionSnapshot, Error> {
        let create = format!(
            "CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput USE_SNAPSHOT",
            self.slot
        );
        self.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        self.query(&create).await?;
        let snapshot = self.query("SELECT pg_catalog.pg_current_snapshot()").await?;
        self.query("COMMIT").await?;
        TransactionSnapshot::parse(&snapshot.unwrap_or_default())
    }

    /// Starts streaming everything that commits after the slot was created, and large transactions
    /// before they commit.
    pub(crate) async fn start(&mut self) -> Result<(), Error> {
        self.query(&format!("SET logical_decoding_work_mem = '{DECODING_MEMORY}'")).await?;
        let sql = format!(
            "START_REPLICATION SLOT {} LOGICAL 0/0 \
             (proto_version '2', streaming 'on', publication_names '{PUBLICATION}', messages 'true')",
            self.slot
        );
        framing::write_query(&mut self.stream, &sql).await.map_err(Error::replication)?;
        loop {
            let message = self.read().await?;
            if message.is_copy_both_response() {
                return Ok(());
            }
        }
    }

    /// The server's next message. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Event, Error> {
        loop {
            let message = match self.read_incoming().await? {
                Incoming::Message(message) => message,
                Incoming::Head(head) => return self.without_content(head),
                Incoming::Skipped => return Ok(Event::Message(Message::Other)),
            };
            if !message.is_copy_data() {
                if matches!(message.tag, b'c' | b'C') {
                    return Err(Error::closed());
                }
                continue;
            }
            match parse_copy_data(message.payload).map_err(Error::replication)? {
                ReplicationCopyData::KeepAlive { wal_end, reply_requested, .. } => {
                    return Ok(Event::KeepAlive { end: wal_end, answer: reply_requested });
                }
                ReplicationCopyData::XLogData { data, .. } => {
                    let message = Message::parse(data, self.reader.in_stream)?;
                    match message {
                        Message::StreamStart { .. } => self.reader.in_stream = true,
                        Message::StreamStop => self.reader.in_stream = false,
                        _ => {}
                    }
                    return Ok(Event::Message(message));
                }
            }
        }
    }

    /// Reports that the WAL up to here is no longer needed, and asks for a reply if wanted.
    pub(crate) async fn confirm(&mut self, position: Lsn, answer: bool) -> Result<(), Error> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(now.as_micros()).unwrap_or_default() - PG_EPOCH_MICROS;
        let status = encode_standby_status_update(position, now, answer);
        framing::write_copy_data(&mut self.stream, &status).await.map_err(Error::replication)
    }

    /// Runs a command; returns the first column of its first row.
    async fn query(&mut self, sql: &str) -> Result<Option<String>, Error> {
        framing::write_query(&mut self.stream, sql).await.map_err(Error::replication)?;
        let mut value = None;
        loop {
            let message = self.read().await?;
            match message.tag {
                b'D' if value.is_none() => value = message::first_column(&message.payload)?,
                b'Z' => return Ok(value),
                _ => {}
            }
        }
    }

    /// A message on one of our channels whose content is too long to be ours.
    fn without_content(&self, head: Bytes) -> Result<Event, Error> {
        let malformed = || Error::malformed("logical replication message");
        let parsed = parse_copy_data(head).map_err(Error::replication)?;
        let ReplicationCopyData::XLogData { data, .. } = parsed else { return Err(malformed()) };
        let (transactional, prefix) =
            message::logical(&data, self.reader.in_stream).ok_or_else(malformed)?;
        let (prefix, content) = (prefix.to_owned(), Bytes::new());
        Ok(Event::Message(Message::Logical { transactional, prefix, content }))
    }

    async fn read(&mut self) -> Result<BackendMessage, Error> {
        loop {
            if let Incoming::Message(message) = self.read_incoming().await? {
                return Ok(message);
            }
        }
    }

    async fn read_incoming(&mut self) -> Result<Incoming, Error> {
        let incoming = self.reader.read(&mut self.stream).await?;
        match &incoming {
            Incoming::Message(message) if message.is_error() => {
                Err(Error::replication_refused(&ErrorFields::parse(&message.payload)))
            }
            _ => Ok(incoming),
        }
    }
}
