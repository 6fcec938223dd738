//! A session's settings.

use std::time::Duration;

use crate::merge_box::{PIECE_BYTES, PublicationStrategies};

/// Timeouts, limits and strategies of a session.
///
/// Start from the default, which is Meteor's, and change what should differ.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionConfig {
    /// How long a client may be silent before it is pinged; 15 s, like Meteor.
    pub heartbeat_interval: Duration,
    /// How long a pinged client may stay silent before it is disconnected; 15 s, like Meteor.
    pub heartbeat_timeout: Duration,
    /// How long a connection may take to send `connect` before it is closed; 45 s, like Meteor.
    pub connect_timeout: Duration,
    /// How many messages from the client may wait while a method or a publication runs. At the
    /// limit, [`Session::wants_input`](super::Session::wants_input) is false until there is room.
    /// Meteor has no such limit.
    pub inbox_messages_max: usize,
    /// How many bytes of its client's messages a session may keep: ids, names and parameters of
    /// subscriptions and calls that run, with 512 bytes for each, and messages that wait; 1 MiB. What does not fit waits in the
    /// socket, one message at a time may be larger, and so may one call that runs. A subscription
    /// that does not fit beside the others gets `nosub` with `too-many-subscriptions`; one that would,
    /// but not in what the session has [been given](super::Session::give_subscription_bytes) yet,
    /// waits, and so do the messages after it. Meteor has no such limit.
    pub session_bytes_max: usize,
    /// How many calls may be unfinished at once, including those that only wait for `updated`. At
    /// the limit, further messages wait.
    pub calls_max: usize,
    /// How many subscriptions a client may have. One more gets `nosub` with
    /// `too-many-subscriptions`.
    pub subscriptions_max: usize,
    /// How many bytes of documents that are this client's own are made into messages at a time,
    /// besides what is more of the last message; 16 KiB. See
    /// [`Session::has_more`](super::Session::has_more).
    pub piece_bytes: usize,
    /// How each collection is merged.
    pub strategies: PublicationStrategies,
    /// Whether [`Event::Message`](super::Event::Message) reports each message when its turn comes.
    pub reports_messages: bool,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(15),
            heartbeat_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(45),
            inbox_messages_max: 4096,
            session_bytes_max: 1024 * 1024,
            calls_max: 1024,
            subscriptions_max: 1024,
            piece_bytes: PIECE_BYTES,
            strategies: PublicationStrategies::default(),
            reports_messages: false,
        }
    }
}
