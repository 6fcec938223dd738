//! Messages that wait for their turn.

use std::collections::{HashSet, VecDeque};
use std::hash::BuildHasher;

use super::Session;
use super::state::{Blocker, Kind, Waiting};
use crate::message::ClientMessage;
use crate::message::client::Malformed;

impl Session {
    fn kind(&self, message: &Result<ClientMessage, Malformed>) -> Kind {
        let hash = |id: Option<&str>| self.subscription_keys.hasher().hash_one(id);
        match message {
            Ok(ClientMessage::Sub { id, .. }) => Kind::Sub(hash(Some(id))),
            Ok(ClientMessage::Unsub { id }) => Kind::Unsub(hash(id.as_deref())),
            _ => Kind::Other,
        }
    }

    /// A message waits behind all others, but an `unsub` does not wait for bytes.
    pub(super) fn wait(&mut self, message: &Result<ClientMessage, Malformed>, text: &str) {
        self.budget.push_waiting(text);
        let kind = self.kind(message);
        self.queue.push_back(Waiting { text: text.to_owned(), kind });
        if matches!(kind, Kind::Unsub(_)) && self.blocked_by == Some(Blocker::Bytes) {
            self.let_unsubs_pass();
        }
    }

    /// A `sub` whose turn has come waits for bytes.
    pub(super) fn wait_for_bytes(
        &mut self,
        message: &Result<ClientMessage, Malformed>,
        text: &str,
    ) {
        self.budget.push_waiting(text);
        let kind = self.kind(message);
        self.queue.push_front(Waiting { text: text.to_owned(), kind });
        self.blocked_by = Some(Blocker::Bytes);
        self.let_unsubs_pass();
    }

    /// Processes each `unsub` that waits behind a `sub` that waits for bytes: it may be what gives
    /// them. Meteor's client, when the parameters of a subscription change, begins the new one first.
    /// An `unsub` does not overtake a `sub` of the same id: that one never begins.
    pub(super) fn let_unsubs_pass(&mut self) {
        if self.has_more()
            || !self.queue.iter().any(|waiting| matches!(waiting.kind, Kind::Unsub(_)))
        {
            return;
        }
        let first = self.queue.front().map(|waiting| waiting.kind);
        let (mut unsubs, mut ended) = (VecDeque::new(), HashSet::new());
        let mut others = VecDeque::with_capacity(self.queue.len());
        for waiting in std::mem::take(&mut self.queue).into_iter().rev() {
            match waiting.kind {
                Kind::Unsub(id) => {
                    ended.insert(Kind::Sub(id));
                    unsubs.push_front(waiting);
                }
                kind if ended.contains(&kind) => self.budget.pop_waiting(&waiting.text),
                _ => others.push_front(waiting),
            }
        }
        if first.is_none_or(|first| ended.contains(&first)) {
            unsubs.append(&mut others);
            self.queue = unsubs;
            return self.unblock(Blocker::Bytes);
        }
        self.queue = others;
        let mut made = 0;
        while !self.has_more()
            && let Some(Waiting { text, .. }) = unsubs.pop_front()
        {
            self.process_waiting(&text, &mut made);
        }
        if unsubs.is_empty() {
            self.is_held = false;
            return self.try_waiting_subscription();
        }
        // Their turn comes when the documents of the one before are gone.
        let first = self.queue.pop_front();
        unsubs.append(&mut self.queue);
        self.queue = first.into_iter().chain(unsubs).collect();
    }

    /// Runs the waiting messages in order, up to one that holds up the others.
    pub(super) fn process_queue(&mut self) {
        let mut made = 0;
        while self.can_process()
            && let Some(Waiting { text, .. }) = self.queue.pop_front()
        {
            self.process_waiting(&text, &mut made);
        }
        self.is_held &= !self.queue.is_empty();
    }
}
