//! The meaning of the fuzzer's bytes: how a session is set up, and what happens to it.

use arbitrary::Arbitrary;

use crate::client::Fields;

/// How a session is set up.
#[derive(Arbitrary, Debug)]
pub struct Setup {
    pub(super) multi: bool,
    pub(super) single: u8,
    pub(super) calls_max: u8,
    pub(super) subscriptions_max: u8,
    pub(super) inbox_messages_max: u8,
    /// In steps of 64 bytes; 0 stands for the default.
    pub(super) session_bytes_max: u8,
    pub(super) reports_messages: bool,
    /// In steps of 8 bytes; 0 stands for the default.
    pub(super) piece_bytes: u8,
}

/// Fields of a document, two bits each; 3 means that there is none.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub struct FieldBits(u8);

impl FieldBits {
    pub(super) fn fields(self) -> Fields {
        let value = |at: u8| (at, self.0 >> (2 * at) & 3);
        let present = (0..4).map(value).filter(|(_, value)| *value < 3);
        present.map(|(at, value)| (format!("f{at}"), value.to_string())).collect()
    }
}

/// One thing that happens. Subscriptions and calls are picked from the active ones or, with odd
/// numbers, from all that ever existed.
#[derive(Arbitrary, Debug)]
#[expect(missing_docs, reason = "the names are those of inputs")]
pub enum Operation {
    Sub {
        id: u8,
        publication: u8,
        length: u8,
    },
    Unsub(Option<u8>),
    Method {
        id: u8,
        length: u8,
    },
    Ping(Option<u8>),
    Pong,
    Connect,
    Garbage(u8),
    Malformed(u8),
    Write {
        query: u8,
        id: u8,
        fields: Option<FieldBits>,
    },
    ByHand {
        subscription: u8,
        collection: u8,
        id: u8,
        fields: Option<FieldBits>,
    },
    Place {
        subscription: u8,
        id: u8,
        fields: Option<FieldBits>,
        before: Option<u8>,
    },
    Deliver(u8),
    Conflate,
    Ready(u8),
    Returned(u8),
    Stop {
        subscription: u8,
        has_error: bool,
    },
    UnblockSubscription(u8),
    UnblockCall(u8),
    Result {
        call: u8,
        kind: u8,
    },
    Updated(u8),
    Universal(u8),
    Rerun,
    Pass {
        seconds: u8,
    },
    EarlyTimeout,
    Backlogged,
    /// The client takes only so many more messages while documents are left; from 16 on, all.
    Room(u8),
    /// As many steps of 64 bytes for what the session keeps.
    BytesMax(u8),
}
