//! Ping and pong deadlines, as Meteor's `Heartbeat` keeps them.

use std::time::Instant;

use super::{CloseReason, Session, SessionConfig, State};
use crate::message::ServerMessage;

/// The deadlines of a session. Any message counts as an answer to a ping.
#[derive(Debug)]
pub(super) struct Heartbeat {
    /// When to look whether the client has been heard of; before `connect`, when to give up.
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
}

impl Session {
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let due = |deadline: Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        if self.state == State::Connecting {
            if due(self.heartbeat.check_at) {
                self.close(CloseReason::ConnectTimeout);
            }
            return;
        }
        if due(self.heartbeat.dead_at) {
            return self.close(CloseReason::HeartbeatTimeout);
        }
        if due(self.heartbeat.check_at) {
            if !self.heartbeat.heard && self.heartbeat.dead_at.is_none() {
                self.send(ServerMessage::Ping);
                self.heartbeat.dead_at = Some(now + self.config.heartbeat_timeout);
            }
            self.heartbeat.heard = false;
            self.heartbeat.check_at = Some(now + self.config.heartbeat_interval);
        }
    }
}
