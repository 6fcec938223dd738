//! `sub`, `ready`, `nosub` and `unsub`.

use std::sync::Arc;

use super::{Blocker, Event, Output, Session, SubscriptionKey};
use crate::ejson::Ejson;
use crate::error::DdpError;
use crate::merge_box::Source;
use crate::message::ServerMessage;
use crate::snapshot::Delta;

impl Session {
    pub(super) fn process_sub(&mut self, id: String, name: String, params: Vec<Ejson>) {
        // A client that reconnects may repeat itself; Meteor ignores a `sub` whose id is in use.
        if self.subscription_keys.contains_key(&id) {
            return;
        }
        if self.subscriptions.len() >= self.config.subscriptions_max {
            let error = DdpError::new("too-many-subscriptions", "Too many subscriptions");
            return self.send(ServerMessage::Nosub { id: Some(&id), error: Some(&error) });
        }
        let subscription = SubscriptionKey(self.next_key());
        self.subscription_keys.insert(id.clone(), subscription);
        self.subscriptions.insert(subscription, super::Subscription { id, is_ready: false });
        self.blocked_by = Some(Blocker::Subscription(subscription));
        let event = Event::Subscribe { subscription, name, params };
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn process_unsub(&mut self, id: Option<&str>) {
        let key = id.and_then(|id| self.subscription_keys.get(id).copied());
        if let Some(subscription) = key {
            self.end(subscription);
            self.outputs.push_back(Output::Event(Event::Unsubscribe(subscription)));
        }
        self.send(ServerMessage::Nosub { id, error: None });
    }

    pub(super) fn handle_delta(
        &mut self,
        subscription: SubscriptionKey,
        source: Source,
        delta: &Arc<Delta>,
    ) {
        if self.subscriptions.contains_key(&subscription) {
            let outputs = &mut self.outputs;
            self.merge_box.apply(subscription, source, delta, &mut |outgoing| {
                outputs.push_back(Output::Send(outgoing));
            });
        }
    }

    pub(super) fn handle_ready(&mut self, subscription: SubscriptionKey) {
        let state = self.subscriptions.get_mut(&subscription);
        if let Some(state) = state.filter(|state| !state.is_ready) {
            state.is_ready = true;
            let text = ServerMessage::Ready { subs: &[&state.id] }.to_text();
            self.outputs.push_back(Output::Send(super::Outgoing::Text(text)));
        }
        self.unblock(Blocker::Subscription(subscription));
    }

    pub(super) fn handle_stop(&mut self, subscription: SubscriptionKey, error: Option<&DdpError>) {
        if let Some(id) = self.end(subscription) {
            self.send(ServerMessage::Nosub { id: Some(&id), error });
        }
        self.unblock(Blocker::Subscription(subscription));
    }

    /// Takes a subscription and its documents away; the client's id of it, if it existed.
    fn end(&mut self, subscription: SubscriptionKey) -> Option<String> {
        let id = self.subscriptions.remove(&subscription)?.id;
        self.subscription_keys.remove(&id);
        let outputs = &mut self.outputs;
        self.merge_box.remove(subscription, &mut |outgoing| {
            outputs.push_back(Output::Send(outgoing));
        });
        Some(id)
    }
}
