//! A task that reads the live queries of a table that wait, a group at a time.

use std::panic::AssertUnwindSafe;

use ddp_core::DdpError;
use ddp_server::live_query::{Origin, PendingRead, ReadTurn};
use ddp_server::log::{Count, brief};
use futures::FutureExt;

use super::load::{self, Found, LOOK_AGAIN_AFTER, Part};
use super::reader::{RETRY_AFTER, Reader};
use crate::error::Error;
use crate::row::live::LiveRow;
use crate::table::collection::{TableCollection, TableState};

/// How many queries may be read together, and with how many a task begins: it doubles the number while
/// they are small.
const QUERIES_MAX: usize = 1_000;
const QUERIES_AT_FIRST: usize = 64;

/// How large the rows of a group should be at most; those of several queries are never more than twice
/// as large.
const BYTES_WANTED: usize = 4 * 1024 * 1024;

/// Reads what waits until all queries are live, retrying while the database is unreachable. `others`
/// has another task join in, if more waits.
pub(crate) async fn run(
    reader: &Reader,
    collection: &TableCollection,
    mut turn: ReadTurn<LiveRow>,
    others: impl Fn(),
) {
    let mut task = Task { reader, collection, queries: QUERIES_AT_FIRST, has_checked: false };
    while turn.wait().await {
        let multiplexer = &collection.multiplexer;
        match collection.current().state {
            TableState::Live | TableState::ReadAgain | TableState::Partial => {
                task.read_some(&mut turn, &others).await;
            }
            TableState::Missing => {
                let reads = turn.begin(QUERIES_MAX).into_iter().map(|read| (read, Vec::new()));
                // This task reads what waits afterwards.
                let _ = multiplexer.finish_reads(reads.collect(), Origin::Gap, |_| true);
            }
            TableState::Unavailable => {
                for read in turn.begin(QUERIES_MAX) {
                    multiplexer.fail_read(&read, &collection.unavailable());
                }
            }
        }
    }
}

struct Task<'a> {
    reader: &'a Reader,
    collection: &'a TableCollection,
    /// How many queries to read together next.
    queries: usize,
    /// Whether the table was compared with its description since something was last read.
    has_checked: bool,
}

impl Task<'_> {
    /// Reads a group, in parts if it must be.
    async fn read_some(&mut self, turn: &mut ReadTurn<LiveRow>, others: &impl Fn()) {
        let mut interruptions = self.reader.interruptions().subscribe();
        let access = tokio::select! {
            access = load::access(self.reader, self.collection) => access,
            // Whatever broke the feed may have broken a connection without its noticing.
            _ = interruptions.changed() => return,
        };
        let reads = turn.begin(self.queries);
        if reads.is_empty() {
            return;
        }
        others();
        let mut access = match access {
            Ok(access) => Some(access),
            Err(error) => return self.give_up(vec![reads], error).await,
        };
        // What was streamed so far has passed these queries by.
        let position = self.reader.visibility.position();
        let mut wait = LOOK_AGAIN_AFTER;
        let mut groups = vec![reads];
        let mut was_too_much = false;
        while let Some(mut group) = groups.pop() {
            group.retain(|read| self.collection.multiplexer.wants(read));
            if group.is_empty() {
                continue;
            }
            let reading =
                AssertUnwindSafe(self.read(access.take(), &group, position)).catch_unwind();
            let found = tokio::select! {
                found = reading => found.unwrap_or_else(|_| Err(Error::panicked())),
                // The reads are void, or will be when the feed is back.
                _ = interruptions.changed() => Err(Error::interrupted()),
            };
            match found {
                Ok(Found::All(parts, bytes)) => self.finish(group, parts, bytes),
                Ok(Found::TooMuch) => {
                    // However often it is divided for the sake of one large query.
                    if !std::mem::replace(&mut was_too_much, true) {
                        self.queries = (self.queries / 2).max(1);
                    }
                    groups.extend(halves(group));
                }
                Err(error) if error.is_too_early() => {
                    groups.push(group);
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(RETRY_AFTER);
                }
                // The others may be read all the same.
                Err(error) if group.len() > 1 && self.may_be_of_one(&error) => {
                    groups.extend(halves(group));
                }
                Err(error) if self.is_final(&error) => self.fail(group, &error),
                Err(error) => {
                    groups.push(group);
                    return self.give_up(groups, error).await;
                }
            }
        }
    }

    async fn read(
        &self,
        access: Option<load::Access<'_>>,
        group: &[PendingRead],
        position: u64,
    ) -> Result<Found, Error> {
        let access = match access {
            Some(access) => access,
            None => load::access(self.reader, self.collection).await?,
        };
        load::read(self.reader, self.collection, access, group, position).await
    }

    fn finish(&mut self, group: Vec<PendingRead>, parts: Vec<Part>, bytes: usize) {
        self.collection.note_locked(self.reader, false);
        self.has_checked = false;
        self.reader.counters.loads.add(group.len());
        self.reader.counters.load_statements.add(parts.len());
        if bytes > BYTES_WANTED {
            self.queries = (self.queries / 2).max(1);
        } else if group.len() == self.queries && bytes <= BYTES_WANTED / 2 {
            self.queries = (self.queries * 2).min(QUERIES_MAX);
        }
        let mut group: Vec<_> = group.into_iter().map(Some).collect();
        for Part { rows, snapshot } in parts {
            let reads = rows.into_iter();
            let reads = reads.filter_map(|(index, rows)| Some((group[index].take()?, rows)));
            let point = Origin::Read(snapshot.point());
            let has_seen = |origin| snapshot.has_seen_batch(origin);
            // This task reads what waits afterwards.
            let _ = self.collection.multiplexer.finish_reads(reads.collect(), point, has_seen);
        }
    }

    /// Whether trying again is no use.
    fn is_final(&self, error: &Error) -> bool {
        let is_passing = error.may_pass() || (error.is_of_schema() && !self.has_checked);
        self.reader.is_closed() || !is_passing
    }

    /// Whether some queries of a group may be read though the group was not: it may be one of them that
    /// PostgreSQL refuses, or that takes too long.
    fn may_be_of_one(&self, error: &Error) -> bool {
        let is_of_all = error.is_of_lock() || error.is_transient();
        !self.reader.is_closed() && !is_of_all && (error.may_pass() || self.is_final(error))
    }

    /// Says why queries wait, since that may go on for ever.
    fn tell_of_failure(&self, error: &Error) {
        self.reader.counters.loads_failed.add(1);
        // If the database is out of reach, it is so for all.
        let is_of_all = error.is_of_connection();
        let collection = if is_of_all { "" } else { self.collection.table.collection_name() };
        let text = match error.remedy_of_load() {
            Some(remedy) => format!("{error}: {remedy}"),
            None => error.to_string(),
        };
        self.reader.log.line("loading failed", collection, text, |collection, error, count| {
            let collection = (!collection.is_empty()).then_some(collection);
            tracing::warn!(
                collection,
                error,
                count,
                "live queries wait: loading failed; trying again"
            );
        });
    }

    fn fail(&self, group: Vec<PendingRead>, error: &Error) {
        let collection = self.collection.table.collection_name();
        let count: Count = |collection, error, count| {
            tracing::error!(collection, %error, count, "groups of live queries failed");
        };
        let text = error.to_string();
        if self.reader.log.admits("live queries failed", collection, &text, count) {
            let error = brief(&text);
            tracing::error!(collection, queries = group.len(), %error, "live queries failed");
        }
        for read in group {
            self.collection.multiplexer.fail_read(&read, &DdpError::internal());
        }
    }

    /// Has the queries wait again, and waits until it may be worth trying.
    async fn give_up(&mut self, groups: Vec<Vec<PendingRead>>, error: Error) {
        let reads = groups.into_iter().flatten().collect();
        if self.is_final(&error) {
            return self.fail(reads, &error);
        }
        self.collection.multiplexer.put_back(reads);
        if error.is_interrupted() {
            // The next read waits for the feed.
        } else if error.is_of_lock() {
            self.collection.note_locked(self.reader, true);
        } else if error.may_pass() {
            self.tell_of_failure(&error);
            tokio::time::sleep(RETRY_AFTER).await;
        } else {
            // The table may have been altered unnoticed; then these reads are void.
            self.has_checked = self.reader.check_tables().await.is_ok();
            if !self.has_checked {
                self.tell_of_failure(&error);
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

fn halves(mut group: Vec<PendingRead>) -> [Vec<PendingRead>; 2] {
    let second = group.split_off(group.len() / 2);
    [second, group]
}
