//! Messages of large transactions that PostgreSQL streams before they commit.

use std::collections::HashMap;

use bytes::Bytes;

use crate::schema::notification::{Notification, OperationKind};

/// The limit for all transactions in progress. For one that exceeds it only the collections are
/// kept, to be read again.
const BYTES_MAX: usize = if cfg!(test) { 1_000 } else { 64 * 1024 * 1024 };
/// What a message takes besides its payload, roughly.
const OVERHEAD_BYTES: usize = 100;

/// A message waiting for its transaction to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) channel: String,
    pub(super) payload: Bytes,
    /// Whether it reports changes to a collection.
    pub(super) is_change: bool,
}

impl Waiting {
    fn bytes(&self) -> usize {
        OVERHEAD_BYTES + self.channel.len() + self.payload.len()
    }
}

#[derive(Debug, Default)]
pub(super) struct InProgress {
    transactions: HashMap<u32, Transaction>,
    bytes: usize,
}

#[derive(Debug)]
struct Transaction {
    /// The lower half of its id.
    id: u32,
    messages: Vec<Waiting>,
    /// Whether changes are missing, or some were rolled back. Then only one message per collection
    /// is kept, which asks to read it again, and no message is kept twice.
    is_unsure: bool,
}

impl InProgress {
    /// A message of a transaction arrived.
    pub(super) fn add(&mut self, transaction: u32, message: Waiting) {
        let open =
            self.transactions.entry(transaction).or_insert_with(|| Transaction::new(transaction));
        self.bytes += open.add(message);
        if self.bytes > BYTES_MAX && !open.is_unsure {
            self.bytes -= open.become_unsure();
        }
    }

    /// A transaction, or a part of it, was rolled back. Which messages belonged to that part is
    /// unknown.
    pub(super) fn roll_back(&mut self, transaction: u32, subtransaction: u32) {
        if transaction == subtransaction {
            self.take(transaction);
        } else if let Some(open) = self.transactions.get_mut(&transaction) {
            self.bytes -= open.become_unsure();
        }
    }

    /// A transaction has ended. Returns its messages in order.
    pub(super) fn take(&mut self, transaction: u32) -> Vec<Waiting> {
        let ended = self.transactions.remove(&transaction);
        let messages = ended.map(|ended| ended.messages).unwrap_or_default();
        self.bytes -= messages.iter().map(Waiting::bytes).sum::<usize>();
        messages
    }
}

impl Transaction {
    fn new(id: u32) -> Self {
        Self { id, messages: Vec::new(), is_unsure: false }
    }

    /// Returns how many bytes were added.
    fn add(&mut self, mut message: Waiting) -> usize {
        if self.is_unsure {
            if message.is_change {
                message.payload = requery(self.id, &message.payload);
            }
            if self.messages.contains(&message) {
                return 0;
            }
        }
        let bytes = message.bytes();
        self.messages.push(message);
        bytes
    }

    /// Returns how many bytes were freed.
    fn become_unsure(&mut self) -> usize {
        self.is_unsure = true;
        let messages = std::mem::take(&mut self.messages);
        let before: usize = messages.iter().map(Waiting::bytes).sum();
        let after: usize = messages.into_iter().map(|message| self.add(message)).sum();
        before.saturating_sub(after)
    }
}

/// What the triggers send when there are too many changes. Empty, which counts as a gap, if the
/// payload is not theirs or is of another transaction.
fn requery(transaction: u32, payload: &[u8]) -> Bytes {
    let payload = std::str::from_utf8(payload).ok();
    let Some(Ok(change)) = payload.map(Notification::parse) else { return Bytes::new() };
    if u32::try_from(change.xid & 0xffff_ffff) != Ok(transaction) {
        return Bytes::new();
    }
    let kind = OperationKind::Requery;
    let requery = Notification {
        sequence: 1,
        is_same_statement: false,
        part: 1,
        parts: 1,
        kind,
        body: "",
        ..change
    };
    requery.payload().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(channel: &str, payload: &str) -> Waiting {
        let payload = Bytes::copy_from_slice(payload.as_bytes());
        Waiting { channel: channel.to_owned(), payload, is_change: true }
    }

    fn token(payload: &str) -> Waiting {
        Waiting { is_change: false, ..change("token", payload) }
    }

    #[test]
    fn messages_wait_for_the_commit_of_their_own_transaction() {
        let mut open = InProgress::default();
        let messages = [change("a", "7 1 1 1 u {}"), token("1"), change("a", "7 2 1 1 u {}")];
        for message in &messages {
            open.add(7, message.clone());
            open.add(8, change("b", "8 1 1 1 u {}"));
        }
        assert_eq!(open.take(7), messages);
        assert!(open.take(7).is_empty(), "once");
        open.roll_back(8, 8);
        assert!(open.take(8).is_empty());
        assert_eq!(open.bytes, 0);
    }

    #[test]
    fn after_a_part_was_rolled_back_the_collections_are_read_again() {
        let mut open = InProgress::default();
        open.roll_back(7, 9);
        open.add(7, change("a", "7 1 1 1 u {}"));
        open.add(7, change("a", "7 2 1 1 u {}"));
        open.add(7, token("1"));
        open.add(7, change("c", "not ours"));
        open.roll_back(7, 9);
        open.add(7, change("a", "7 3 1 1 u {}"));
        open.add(7, change("b", "7 1 1 2 u {"));
        let wanted =
            [change("a", "7 1 1 1 r "), token("1"), change("c", ""), change("b", "7 1 1 1 r ")];
        assert_eq!(open.take(7), wanted);
        assert_eq!(open.bytes, 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut open = InProgress::default();
        open.add(8, token("1"));
        for sequence in 1..1_000 {
            open.add(7, change("a", &format!("7 {sequence} 1 1 u {{}}")));
            open.add(7, change("b", &format!("7 {sequence} 1 1 u {{}}")));
            assert!(open.bytes <= BYTES_MAX);
        }
        assert_eq!(open.take(7), [change("a", "7 1 1 1 r "), change("b", "7 1 1 1 r ")]);
        assert_eq!(open.take(8), [token("1")]);
        assert_eq!(open.bytes, 0);
    }

    #[test]
    fn messages_that_tell_no_changes_are_bounded() {
        let mut open = InProgress::default();
        for _ in 0..1_000 {
            open.add(7, Waiting { is_change: false, ..change("ddp installed", "x") });
        }
        assert!(open.bytes <= BYTES_MAX, "{}", open.bytes);
    }

    #[test]
    fn a_foreign_payload_does_not_take_the_place_of_the_transactions_own() {
        let mut open = InProgress::default();
        open.add(7, change("a", "3 1 1 1 u {}"));
        open.add(7, change("a", "7 1 1 1 u {}"));
        open.roll_back(7, 9);
        let messages = open.take(7);
        let own = |m: &Waiting| m.payload.starts_with(b"7 ");
        assert!(messages.iter().any(own), "{messages:?}");
    }
}
