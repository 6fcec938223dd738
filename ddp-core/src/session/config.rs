//! What can be set about a session.

use std::time::Duration;

use crate::merge_box::PublicationStrategies;

/// Timeouts, limits and strategies of a session.
///
/// Start from the default, which is Meteor's, and set what is to differ.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionConfig {
    /// A client from which nothing came for so long is pinged. Meteor: 15 s.
    pub heartbeat_interval: Duration,
    /// A pinged client that stays silent for so long is disconnected. Meteor: 15 s.
    pub heartbeat_timeout: Duration,
    /// A connection that sends no `connect` for so long is closed. Meteor: 45 s.
    pub connect_timeout: Duration,
    /// How many messages from the client wait while a method or a publication runs. With so many,
    /// [`Session::wants_input`](super::Session::wants_input) is false until there is room. Meteor
    /// has no such bound.
    pub inbox_messages_max: usize,
    /// How many bytes of messages from the client wait, the last message not counted.
    pub inbox_bytes_max: usize,
    /// How many calls may be unfinished at once, counting those that only wait for `updated`. With
    /// so many, further messages wait.
    pub calls_max: usize,
    /// How many subscriptions a client may hold. One more gets `nosub` with `too-many-subscriptions`.
    pub subscriptions_max: usize,
    /// How each collection is merged.
    pub strategies: PublicationStrategies,
    /// Whether [`Event::Message`](super::Event::Message) tells of each message when its turn comes.
    pub reports_messages: bool,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(15),
            heartbeat_timeout: Duration::from_secs(15),
            connect_timeout: Duration::from_secs(45),
            inbox_messages_max: 4096,
            inbox_bytes_max: 1024 * 1024,
            calls_max: 1024,
            subscriptions_max: 1024,
            strategies: PublicationStrategies::default(),
            reports_messages: false,
        }
    }
}
