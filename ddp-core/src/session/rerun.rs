//! Changing a session's user: all subscriptions run again, and only the difference is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Session;
use super::io::{Event, Output};
use super::state::Blocker;
use super::subscriptions::sender;
use crate::id::{CallKey, SubscriptionKey};
use crate::message::ServerMessage;

impl Session {
    /// Gives every subscription a new key, under which it starts without documents. A rerun in
    /// progress starts over.
    pub(super) fn handle_rerun(&mut self) {
        let old = std::mem::take(&mut self.subscriptions);
        let mut renamed = BTreeMap::new();
        // Those that the client asked for come first, as in Meteor.
        let (named, universal): (Vec<_>, Vec<_>) =
            old.into_iter().partition(|(_, subscription)| subscription.id.is_some());
        for (old, mut subscription) in named.into_iter().chain(universal) {
            let new = SubscriptionKey::from(self.next_key());
            renamed.insert(old, new);
            if let Some(id) = &subscription.id {
                self.subscription_keys.insert(Arc::clone(id), new);
            }
            subscription.is_ready = false;
            self.subscriptions.insert(new, subscription);
        }
        if let Some(Blocker::Subscription(old)) = self.blocked_by
            && let Some(new) = renamed.get(&old)
        {
            self.blocked_by = Some(Blocker::Subscription(*new));
        }
        self.send_all_documents();
        self.merge_box.hold(&renamed, &mut sender(&mut self.outputs));
        let rerun = self.rerun.get_or_insert_default();
        rerun.waiting = renamed.values().copied().collect();
        rerun.ready.clear();
        self.outputs.push_back(Output::Event(Event::Rerun(renamed)));
        self.finish_rerun();
        self.go_on();
    }

    /// Sends `ready`, or keeps it until the rerun is over.
    pub(super) fn send_ready(&mut self, id: Arc<str>) {
        match &mut self.rerun {
            Some(rerun) => rerun.ready.push(id),
            None => self.send(ServerMessage::Ready { subs: &[&id] }),
        }
    }

    /// Cancels the `ready` of a subscription that has ended.
    pub(super) fn retract_ready(&mut self, id: &str) {
        if let Some(rerun) = &mut self.rerun {
            rerun.ready.retain(|other| **other != *id);
        }
    }

    /// Keeps an `updated` until the rerun is over, since the call's writes may be held back.
    /// Returns false if there is no rerun.
    pub(super) fn hold_updated(&mut self, call: CallKey) -> bool {
        if let Some(rerun) = &mut self.rerun {
            rerun.updated.push(call);
        }
        self.rerun.is_some()
    }

    pub(super) fn holds_updated(&self, call: CallKey) -> bool {
        self.rerun.as_ref().is_some_and(|rerun| rerun.updated.contains(&call))
    }

    /// The rerun no longer waits for this subscription.
    pub(super) fn settle(&mut self, subscription: SubscriptionKey) {
        if let Some(rerun) = &mut self.rerun {
            rerun.waiting.remove(&subscription);
            self.finish_rerun();
        }
    }

    fn finish_rerun(&mut self) {
        let Some(rerun) = self.rerun.take_if(|rerun| rerun.waiting.is_empty()) else { return };
        self.send_all_documents();
        self.merge_box.release(&mut sender(&mut self.outputs));
        self.leave_rest();
        let subs: Vec<&str> = rerun.ready.iter().map(|id| &**id).collect();
        if !subs.is_empty() {
            self.send(ServerMessage::Ready { subs: &subs });
        }
        self.release_updated(&rerun.updated);
        self.outputs.push_back(Output::Event(Event::RerunDone));
    }
}
