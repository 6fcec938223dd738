//! What clients send.

use crate::ejson::RawParams;
use crate::error::ProtocolError;

/// A message from a client, as the DDP specification names them.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMessage {
    /// The first message of a connection.
    Connect {
        /// The version that the client proposes, if it is a string.
        version: Option<String>,
        /// The versions that the client speaks, if they are an array of strings.
        support: Option<Vec<String>>,
        /// The session that the client had before.
        session: Option<String>,
    },
    /// Subscribes to a publication.
    Sub {
        /// The client's name for the subscription.
        id: String,
        /// The publication.
        name: String,
        /// The publication's arguments.
        params: RawParams,
    },
    /// Ends a subscription. `None` if the client sent no string.
    Unsub {
        /// The client's name for the subscription.
        id: Option<String>,
    },
    /// Calls a method.
    Method {
        /// The client's name for the call.
        id: String,
        /// The method.
        method: String,
        /// The method's arguments.
        params: RawParams,
        /// The seed of the ids made by the client's stub.
        random_seed: Option<String>,
    },
    /// Asks for a `pong`.
    Ping {
        /// To be echoed: JSON text.
        id: Option<String>,
    },
    /// Answers a `ping`.
    Pong,
    /// Announces that the client closes the connection for good. Meteor's client since 3.5.
    Disconnect,
}

/// A message that is answered with an `error`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// What is wrong with it.
    pub(crate) error: ProtocolError,
    /// Whether it is a JSON object or array, which Meteor echoes as `offendingMessage`.
    pub(crate) echo: bool,
}
