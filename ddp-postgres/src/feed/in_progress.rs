//! Messages of large transactions that PostgreSQL streams before they commit.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::schema::notification::{Notification, OperationKind};

/// The limit for all transactions in progress. For one that exceeds it only the collections are
/// kept, to be read again.
const BYTES_MAX: usize = if cfg!(test) { 1_000 } else { 64 * 1024 * 1024 };
/// What a message takes besides its payload, roughly.
const OVERHEAD_BYTES: usize = 100;

/// How long a message that tells no changes may be, which is the number of a token, and how many different
/// ones are kept of a transaction that is unsure. None of ours sends more than one.
const TOKEN_BYTES_MAX: usize = 20;
const TOKENS_MAX: usize = 100;

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
    /// Set if changes are missing, or some were rolled back.
    unsure: Option<Unsure>,
}

/// What is kept of a transaction if only its collections are known. Its size does not depend on
/// how many messages there are, nor on what they say: anybody may send them.
#[derive(Debug, Default)]
struct Unsure {
    changed: HashMap<String, Changed>,
    tokens: HashSet<(String, Bytes)>,
}

/// Which messages of a channel were kept.
#[derive(Debug, Default)]
struct Changed {
    /// One that asks to read the collection again, with this id of the transaction.
    asked: Option<u64>,
    /// One that counts as a gap.
    is_gap: bool,
}

impl InProgress {
    /// A message of a transaction arrived.
    pub(super) fn add(&mut self, transaction: u32, message: Waiting) {
        if !message.is_change && message.payload.len() > TOKEN_BYTES_MAX {
            return;
        }
        let open =
            self.transactions.entry(transaction).or_insert_with(|| Transaction::new(transaction));
        self.bytes += open.add(message);
        if self.bytes > BYTES_MAX && open.unsure.is_none() {
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
        Self { id, messages: Vec::new(), unsure: None }
    }

    /// Returns how many bytes were added.
    fn add(&mut self, message: Waiting) -> usize {
        let message = match &mut self.unsure {
            Some(unsure) => unsure.keep(self.id, message),
            None => Some(message),
        };
        let Some(message) = message else { return 0 };
        let bytes = message.bytes();
        self.messages.push(message);
        bytes
    }

    /// Returns how many bytes were freed.
    fn become_unsure(&mut self) -> usize {
        let messages = std::mem::take(&mut self.messages);
        let before: usize = messages.iter().map(Waiting::bytes).sum();
        // What was kept already stays as it is.
        self.unsure = Some(Unsure::default());
        let after: usize = messages.into_iter().map(|message| self.add(message)).sum();
        before.saturating_sub(after)
    }
}

impl Unsure {
    /// What to keep of a message: of those that report changes to a collection, one that asks to read it
    /// again. A payload that is not the triggers', or of another transaction, counts as a gap.
    fn keep(&mut self, transaction: u32, message: Waiting) -> Option<Waiting> {
        let Waiting { channel, payload, is_change } = message;
        if !is_change {
            let is_new = self.tokens.len() < TOKENS_MAX
                && self.tokens.insert((channel.clone(), payload.clone()));
            return is_new.then_some(Waiting { channel, payload, is_change });
        }
        let changed = self.changed.entry(channel.clone()).or_default();
        let payload = match xid(transaction, &payload) {
            Some(xid) if changed.asked.is_none_or(|asked| asked == xid) => {
                let is_new = changed.asked.replace(xid).is_none();
                is_new.then(|| requery(xid))
            }
            _ => (!std::mem::replace(&mut changed.is_gap, true)).then(Bytes::new),
        };
        Some(Waiting { channel, payload: payload?, is_change })
    }
}

/// The id that a payload of the triggers tells of its transaction.
fn xid(transaction: u32, payload: &[u8]) -> Option<u64> {
    let Notification { xid, .. } = Notification::parse(std::str::from_utf8(payload).ok()?).ok()?;
    (u32::try_from(xid & 0xffff_ffff) == Ok(transaction)).then_some(xid)
}

/// What the triggers send when there are too many changes.
fn requery(xid: u64) -> Bytes {
    let requery = Notification {
        xid,
        sequence: 1,
        is_same_statement: false,
        part: 1,
        parts: 1,
        kind: OperationKind::Requery,
        // None that anybody knows.
        family: None,
        body: "",
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
    fn what_an_unsure_transaction_takes_does_not_depend_on_what_is_sent() {
        let mut open = InProgress::default();
        open.add(7, change("a", "7 1 1 1 u {}"));
        open.roll_back(7, 9);
        let begun = std::time::Instant::now();
        for number in 0..200_000_u64 {
            let xid = (number << 32) | 7;
            open.add(7, change("a", &format!("{xid} {number} 1 1 u{number} {{}}")));
            open.add(7, change("b", &format!("7 1 1 1 u-{number} {{}}")));
            open.add(7, token(&number.to_string()));
            open.add(7, token(&format!("{number:030}")));
        }
        assert!(open.bytes <= 150 * (TOKENS_MAX + 4), "{} bytes", open.bytes);
        // A second at most; with a scan of those kept it would be hours.
        assert!(begun.elapsed() < std::time::Duration::from_secs(60), "{:?}", begun.elapsed());
        let (changes, tokens): (Vec<_>, Vec<_>) =
            open.take(7).into_iter().partition(|message| message.is_change);
        let wanted = [change("a", "7 1 1 1 r "), change("a", ""), change("b", "7 1 1 1 r ")];
        assert_eq!(changes, wanted);
        assert_eq!((tokens.len(), open.bytes), (TOKENS_MAX, 0));
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
