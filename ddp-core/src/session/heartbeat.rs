//! Deadlines for ping and pong, like Meteor's `Heartbeat`.

use std::time::Instant;

use super::config::SessionConfig;

/// The deadlines of a session. Any message counts as an answer to a ping.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// When to check whether the client has been heard from; before `connect`, when to give up.
    check_at: Option<Instant>,
    /// When a pinged client counts as dead.
    dead_at: Option<Instant>,
    heard: bool,
}

impl Heartbeat {
    pub(super) fn new(connect_until: Instant) -> Self {
        Self { check_at: Some(connect_until), dead_at: None, heard: false }
    }

    pub(super) fn start(&mut self, now: Instant, config: &SessionConfig) {
        *self = Self::new(now + config.heartbeat_interval);
    }

    pub(super) fn stop(&mut self) {
        self.check_at = None;
        self.dead_at = None;
    }

    pub(super) fn handle_message(&mut self) {
        self.heard = true;
        self.dead_at = None;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match (self.check_at, self.dead_at) {
            (Some(check), Some(dead)) => Some(check.min(dead)),
            (check, dead) => check.or(dead),
        }
    }

    /// Returns what is due at this time.
    pub(super) fn handle_timeout(
        &mut self,
        now: Instant,
        is_connected: bool,
        config: &SessionConfig,
    ) -> Option<Sign> {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if !is_connected {
            return due(self.check_at).then_some(Sign::Silent);
        }
        if due(self.dead_at) {
            return Some(Sign::Silent);
        }
        if !due(self.check_at) {
            return None;
        }
        let pings = !self.heard && self.dead_at.is_none();
        if pings {
            self.dead_at = Some(now + config.heartbeat_timeout);
        }
        self.heard = false;
        self.check_at = Some(now + config.heartbeat_interval);
        pings.then_some(Sign::Ping)
    }
}

/// What to do about a silent client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Send a ping.
    Ping,
    /// Give it up: it was silent for too long.
    Silent,
}
