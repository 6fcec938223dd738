//! `sub`, `ready`, `nosub` and `unsub`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Session;
use super::io::{Event, Output};
use super::state::{Blocker, State, Subscription};
use crate::ejson::RawParams;
use crate::error::DdpError;
use crate::id::{LiveQueryKey, SubscriptionKey};
use crate::merge_box::{Direct, Outgoing, Placement, Source};
use crate::message::ServerMessage;
use crate::snapshot::Delta;

impl Session {
    /// Starts a subscription that the client did not ask for, to a publication without a name. The
    /// client's messages do not wait for it. Only for connected sessions.
    pub fn subscribe_universal(&mut self) -> SubscriptionKey {
        let subscription = SubscriptionKey::from(self.next_key());
        let state = Subscription { id: None, bytes: 0, is_ready: false };
        self.subscriptions.insert(subscription, state);
        subscription
    }

    /// Answers an [`Event::SubscribeAgain`] with `nosub`. The subscription with this id continues.
    pub fn refuse(&mut self, id: &str, error: &DdpError) {
        self.send(ServerMessage::Nosub { id: Some(id), error: Some(error) });
    }

    pub(super) fn process_sub(&mut self, id: String, name: String, params: RawParams, text: &str) {
        // A client that reconnects may repeat itself; Meteor ignores a `sub` whose id is in use.
        if self.subscription_keys.contains_key(&*id) {
            let event = Event::SubscribeAgain { id, name };
            return self.outputs.push_back(Output::Event(event));
        }
        if self.subscription_keys.len() >= self.config.subscriptions_max {
            let error = DdpError::new("too-many-subscriptions", "Too many subscriptions");
            return self.send(ServerMessage::Nosub { id: Some(&id), error: Some(&error) });
        }
        let fits = self.fits(text);
        let Some(bytes) = fits.then(|| self.budget.begin_subscription(text)).flatten() else {
            let reason = "The parameters of the subscriptions take too much memory";
            let error = DdpError::new("too-many-subscriptions", reason);
            return self.send(ServerMessage::Nosub { id: Some(&id), error: Some(&error) });
        };
        let subscription = SubscriptionKey::from(self.next_key());
        let id: Arc<str> = id.into();
        self.subscription_keys.insert(Arc::clone(&id), subscription);
        let state = Subscription { id: Some(id), bytes, is_ready: false };
        self.subscriptions.insert(subscription, state);
        self.blocked_by = Some(Blocker::Subscription(subscription));
        let event = Event::Subscribe { subscription, name, params };
        self.outputs.push_back(Output::Event(event));
    }

    /// Whether a `sub` could begin, but needs more bytes than the session has been given.
    pub(super) fn lacks_bytes(&self, id: &str, text: &str) -> bool {
        let needed = self.budget.needed_with_subscription(text);
        !self.subscription_keys.contains_key(id)
            && self.subscription_keys.len() < self.config.subscriptions_max
            && needed > self.subscription_bytes_given
            && self.fits(text)
    }

    /// Whether there may ever be enough bytes for a `sub`.
    fn fits(&self, text: &str) -> bool {
        self.budget.fits(text, self.config.session_bytes_max, self.subscription_bytes_max)
    }

    /// How many bytes all subscriptions need: their messages, and 1 KiB for each.
    #[must_use]
    pub fn subscription_bytes(&self) -> usize {
        self.budget.subscriptions()
    }

    /// How many bytes must be [given](Self::give_subscription_bytes) before the `sub` that waits for
    /// them can begin; 0 if none does. Messages behind it wait as well, except each `unsub`.
    #[must_use]
    pub fn subscription_bytes_wanted(&self) -> usize {
        let waiting = self.queue.front().filter(|_| self.blocked_by == Some(Blocker::Bytes));
        waiting.map_or(0, |waiting| self.budget.needed_with_subscription(&waiting.text))
    }

    /// How many bytes may be given at most: a `sub` that needs more is refused, as one beyond
    /// [`session_bytes_max`](super::SessionConfig::session_bytes_max) is.
    pub fn set_subscription_bytes_max(&mut self, bytes: usize) {
        self.subscription_bytes_max = bytes;
    }

    /// How many bytes subscriptions may need from now on. Those that there are stay.
    pub fn give_subscription_bytes(&mut self, bytes: usize) {
        self.subscription_bytes_given = bytes;
        self.try_waiting_subscription();
    }

    /// The `sub` that waits for bytes may have enough of them.
    pub(super) fn try_waiting_subscription(&mut self) {
        if self.blocked_by == Some(Blocker::Bytes)
            && self.subscription_bytes_wanted() <= self.subscription_bytes_given
        {
            self.unblock(Blocker::Bytes);
        }
    }

    pub(super) fn process_unsub(&mut self, id: Option<&str>) {
        let key = id.and_then(|id| self.subscription_keys.get(id).copied());
        if let Some(subscription) = key {
            self.end(subscription);
            self.outputs.push_back(Output::Event(Event::Unsubscribe(subscription)));
            self.settle(subscription);
        }
        self.send(ServerMessage::Nosub { id, error: None });
    }

    /// [`Input::Delta`](super::Input::Delta) without going through the outputs: `send` gets what is
    /// to be sent. All outputs must have been polled, or this would overtake them.
    pub fn deliver(
        &mut self,
        subscription: SubscriptionKey,
        source: Source,
        delta: Arc<Delta>,
        send: &mut impl FnMut(Outgoing),
    ) {
        self.assert_drained();
        if self.state != State::Closed && self.has_subscription(subscription) {
            self.merge_box.apply(subscription, source, delta, send);
        }
    }

    /// The same for [`Input::Step`](super::Input::Step).
    pub fn deliver_step(
        &mut self,
        query: LiveQueryKey,
        delta: &Arc<Delta>,
        send: &mut impl FnMut(Outgoing),
    ) {
        self.assert_drained();
        if self.state != State::Closed {
            self.merge_box.step(query, delta, send);
        }
    }

    pub(super) fn handle_delta(
        &mut self,
        subscription: SubscriptionKey,
        source: Source,
        delta: Arc<Delta>,
    ) {
        if self.has_subscription(subscription) {
            self.send_all_documents();
            let outputs = &mut self.outputs;
            self.merge_box.apply(subscription, source, delta, &mut sender(outputs));
            self.leave_rest();
            self.go_on();
        }
    }

    pub(super) fn handle_step(&mut self, query: LiveQueryKey, delta: &Arc<Delta>) {
        self.send_all_documents();
        self.merge_box.step(query, delta, &mut sender(&mut self.outputs));
        self.leave_rest();
        self.go_on();
    }

    pub(super) fn handle_placed(
        &mut self,
        subscription: SubscriptionKey,
        delta: Option<&Arc<Delta>>,
        placement: Placement,
    ) {
        if self.has_subscription(subscription) {
            self.send_all_documents();
            let outputs = &mut self.outputs;
            self.merge_box.place(subscription, delta, placement, &mut sender(outputs));
            self.go_on();
        }
    }

    pub(super) fn handle_direct(&mut self, subscription: SubscriptionKey, direct: &Direct) {
        if self.has_subscription(subscription) {
            direct.send(&mut sender(&mut self.outputs));
        }
    }

    pub(super) fn handle_ready(&mut self, subscription: SubscriptionKey) {
        let state = self.subscriptions.get_mut(&subscription);
        if let Some(state) = state.filter(|state| !state.is_ready) {
            state.is_ready = true;
            // There is nothing to report for a subscription that the client did not ask for.
            if let Some(id) = state.id.clone() {
                self.send_ready(id);
            }
        }
        self.unblock(Blocker::Subscription(subscription));
        self.settle(subscription);
        self.go_on();
    }

    pub(super) fn handle_returned(&mut self, subscription: SubscriptionKey) {
        self.unblock(Blocker::Subscription(subscription));
        self.settle(subscription);
        self.go_on();
    }

    pub(super) fn handle_stop(&mut self, subscription: SubscriptionKey, error: Option<&DdpError>) {
        if let Some(id) = self.end(subscription) {
            // Meteor sends this for universal subscriptions too, without an id.
            self.send(ServerMessage::Nosub { id: id.as_deref(), error });
        }
        self.unblock(Blocker::Subscription(subscription));
        self.settle(subscription);
        self.try_waiting_subscription();
        self.go_on();
    }

    /// Removes a subscription and its documents. Returns the client's id of it, if it existed.
    fn end(&mut self, subscription: SubscriptionKey) -> Option<Option<Arc<str>>> {
        let Subscription { id, bytes, .. } = self.subscriptions.remove(&subscription)?;
        self.budget.end_subscription(bytes);
        if let Some(id) = &id {
            self.subscription_keys.remove(&**id);
            self.retract_ready(id);
        }
        self.send_all_documents();
        self.merge_box.remove(subscription, &mut sender(&mut self.outputs));
        self.leave_rest();
        Some(id)
    }
}

/// Adds what the merge box sends to the outputs.
pub(super) fn sender(outputs: &mut VecDeque<Output>) -> impl FnMut(Outgoing) {
    |outgoing| outputs.push_back(Output::Send(outgoing))
}
