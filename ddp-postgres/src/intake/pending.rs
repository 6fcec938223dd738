//! What an unfinished transaction has done to one collection so far.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use ddp_core::DocumentId;
use ddp_server::log::Log;

use super::batch::{Batch, Change, Effect, GapReason};
use crate::row::{Row, RowError, document_id};
use crate::schema::Layout;
use crate::schema::notification::{Notification, Operation, OperationKind};

/// What a change takes besides its row's text, roughly.
const CHANGE_BYTES: usize = 200;

/// An operation that has not arrived completely.
#[derive(Debug)]
struct Partial {
    kind: OperationKind,
    part: u32,
    parts: u32,
    body: String,
}

#[derive(Debug)]
pub(super) struct Pending {
    pub(super) layout: Arc<Layout>,
    log: Log,
    /// The transaction of the last payload.
    xid: Option<u64>,
    /// The number of the transaction's next operation.
    sequence: u32,
    /// Whether part of that transaction was lost, which has been reported.
    given_up: bool,
    partial: Option<Partial>,
    changes: Vec<Change>,
    /// The statement that touched the row of each change last.
    statements: Vec<u32>,
    /// The number of the statement whose operation came last.
    statement: u32,
    /// Whether operations of that statement went out in an earlier batch.
    is_split: bool,
    /// The keys of rows sent without content, and of deleted rows.
    keys: HashMap<DocumentId, String>,
    /// Whether any of the rows must be read.
    is_unread: bool,
    positions: HashMap<DocumentId, usize>,
    bytes: usize,
    truncated: bool,
    requery: bool,
}

impl Pending {
    pub(super) fn new(layout: Arc<Layout>, log: Log) -> Self {
        Self {
            layout,
            log,
            xid: None,
            sequence: 1,
            given_up: false,
            partial: None,
            changes: Vec::new(),
            statements: Vec::new(),
            statement: 0,
            is_split: false,
            keys: HashMap::new(),
            is_unread: false,
            positions: HashMap::new(),
            bytes: 0,
            truncated: false,
            requery: false,
        }
    }

    pub(super) fn feed(
        &mut self,
        notification: &Notification<'_>,
        bytes_max: usize,
    ) -> Result<(), GapReason> {
        let Notification { xid, sequence, is_same_statement, part, parts, kind, family, body } =
            *notification;
        if self.xid != Some(xid) {
            self.reset();
            self.xid = Some(xid);
        }
        if self.given_up {
            return Ok(());
        }
        if sequence != self.sequence {
            return Err(GapReason::Sequence);
        }
        match &self.partial {
            None if part == 1 => {}
            Some(partial)
                if part == partial.part + 1 && parts == partial.parts && kind == partial.kind => {}
            _ => return Err(GapReason::Part),
        }
        if part == 1 {
            self.begin_operation(is_same_statement);
            if family != self.layout.family_number() {
                // Its rows may be in a table that is gone by now.
                self.give_rows_up();
            }
        }
        if parts == 1 {
            self.apply(kind, body, bytes_max)?;
            return self.count();
        }
        let partial =
            self.partial.get_or_insert_with(|| Partial { kind, part, parts, body: String::new() });
        partial.part = part;
        if self.bytes + partial.body.len() + body.len() > bytes_max {
            partial.body = String::new();
            self.give_rows_up();
        } else if !self.requery {
            partial.body.push_str(body);
        }
        if part < parts {
            return Ok(());
        }
        if let Some(partial) = self.partial.take() {
            self.apply(kind, &partial.body, bytes_max)?;
        }
        self.count()
    }

    pub(super) fn lacks_parts(&self) -> bool {
        self.partial.is_some()
    }

    /// The changes so far. Later changes of the same transaction make another batch.
    pub(super) fn take_batch(&mut self) -> Option<Batch> {
        let xid = self.xid.filter(|_| !self.given_up)?;
        let unread = self.take_unread();
        self.positions = HashMap::new();
        self.bytes = 0;
        self.is_split = true;
        self.statements = Vec::new();
        let changes = std::mem::take(&mut self.changes);
        let is_truncated = std::mem::take(&mut self.truncated);
        let effect = if std::mem::take(&mut self.requery) {
            Effect::Requery
        } else if is_truncated {
            Effect::Truncation { changes }
        } else if changes.is_empty() {
            return None;
        } else {
            Effect::Changes { changes, unread }
        };
        Some(Batch { collection: self.layout.collection().clone(), xid, effect })
    }

    /// Ignores the rest of the transaction.
    pub(super) fn give_up(&mut self) {
        let xid = self.xid;
        self.reset();
        self.xid = xid;
        self.given_up = true;
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new(self.layout.clone(), self.log.clone());
    }

    /// An operation that may have been done before others of the same statement, though it comes
    /// after them: a row that both touched is then read. What is in an earlier batch is not known
    /// any more.
    fn begin_operation(&mut self, is_same_statement: bool) {
        if is_same_statement {
            self.is_unread |= self.is_split;
        } else {
            self.statement = self.statement.wrapping_add(1);
            self.is_split = false;
        }
    }

    /// Whether earlier operations may be of the same statement as this one.
    fn has_touched_in_statement(&self) -> bool {
        self.is_split || self.statements.contains(&self.statement)
    }

    /// Counts a complete operation.
    fn count(&mut self) -> Result<(), GapReason> {
        self.sequence = self.sequence.checked_add(1).ok_or(GapReason::Sequence)?;
        Ok(())
    }

    fn apply(
        &mut self,
        kind: OperationKind,
        body: &str,
        bytes_max: usize,
    ) -> Result<(), GapReason> {
        if self.requery {
            return Ok(());
        }
        match Operation::parse(kind, body).map_err(|_| GapReason::Malformed)? {
            Operation::Upsert(rows) => self.apply_each(&rows, bytes_max, |layout, text| {
                let row = Row::parse(layout, text)?;
                Ok(Change { id: row.id().clone(), row: Some(row) })
            }),
            Operation::Delete(keys) => self.apply_keys(&keys, bytes_max),
            Operation::Keys(keys) => {
                self.apply_keys(&keys, bytes_max);
                self.is_unread = true;
            }
            // PostgreSQL truncates no table that is in use, but triggers that ran before ours may
            // have put rows in again.
            Operation::Truncate if self.has_touched_in_statement() => self.give_rows_up(),
            Operation::Truncate => {
                self.changes.clear();
                self.statements.clear();
                self.keys.clear();
                self.is_unread = false;
                self.positions.clear();
                self.bytes = 0;
                self.truncated = true;
            }
            Operation::Requery => self.give_rows_up(),
        }
        Ok(())
    }

    fn apply_each(
        &mut self,
        texts: &[&str],
        bytes_max: usize,
        change: impl Fn(&Layout, &str) -> Result<Change, RowError>,
    ) {
        for text in texts {
            match change(&self.layout, text) {
                Ok(change) => self.record(change),
                // The table's columns no longer match the layout.
                Err(error) => {
                    let collection = self.layout.collection();
                    self.log.line("unusable row", collection, error, |collection, error, count| {
                        tracing::warn!(
                            collection,
                            %error,
                            count,
                            "unusable row in a notification"
                        );
                    });
                    self.give_rows_up();
                }
            }
            if self.bytes > bytes_max {
                self.give_rows_up();
            }
            if self.requery {
                return;
            }
        }
    }

    /// These rows are gone, or are read later.
    fn apply_keys(&mut self, keys: &[&str], bytes_max: usize) {
        self.apply_each(keys, bytes_max, |layout, key| {
            Ok(Change { id: document_id(layout, key)?, row: None })
        });
        if !self.requery {
            let layout = &self.layout;
            let known = |key: &&str| Some((document_id(layout, key).ok()?, (*key).to_owned()));
            self.keys.extend(keys.iter().filter_map(known));
        }
    }

    /// The keys of all rows if any of them must be read, in the order of the changes. The read may
    /// see later transactions, and the batch must show all its rows at the same point.
    fn take_unread(&mut self) -> Vec<(DocumentId, String)> {
        let mut keys = std::mem::take(&mut self.keys);
        if !std::mem::take(&mut self.is_unread) || self.requery {
            return Vec::new();
        }
        if self.truncated {
            // Rows that others insert in the meantime cannot be looked up.
            self.give_rows_up();
            return Vec::new();
        }
        let layout = &self.layout;
        let with_key = |change: &Change| match &change.row {
            Some(row) => Some((change.id.clone(), row.key(layout)?)),
            None => keys.remove_entry(&change.id),
        };
        let unread: Vec<_> = self.changes.iter().map_while(with_key).collect();
        if unread.len() < self.changes.len() {
            // A row without a key cannot be looked up.
            self.give_rows_up();
            return Vec::new();
        }
        unread
    }

    /// Replaces what is known about the row.
    fn record(&mut self, change: Change) {
        self.keys.remove(&change.id);
        self.bytes += bytes(&change);
        match self.positions.entry(change.id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(self.changes.len());
                self.changes.push(change);
                self.statements.push(self.statement);
            }
            Entry::Occupied(entry) => {
                let known = &mut self.changes[*entry.get()];
                let last = std::mem::replace(&mut self.statements[*entry.get()], self.statement);
                self.is_unread |= last == self.statement;
                self.bytes -= bytes(known);
                *known = change;
            }
        }
    }

    fn give_rows_up(&mut self) {
        self.requery = true;
        self.truncated = false;
        self.changes = Vec::new();
        self.statements = Vec::new();
        self.keys = HashMap::new();
        self.positions = HashMap::new();
        self.bytes = 0;
    }
}

/// The size of a change to a row, with its id and perhaps its key.
fn bytes(change: &Change) -> usize {
    CHANGE_BYTES
        + 2 * change.id.as_str().len()
        + change.row.as_ref().map_or(0, |row| row.text().len())
}
