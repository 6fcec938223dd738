//! `method`, `result` and `updated`.

use super::Session;
use super::io::{Event, Output};
use super::state::{Blocker, Call};
use crate::ejson::RawParams;
use crate::error::DdpError;
use crate::id::CallKey;
use crate::message::ServerMessage;

impl Session {
    pub(super) fn process_method(
        &mut self,
        id: String,
        method: String,
        params: RawParams,
        random_seed: Option<String>,
        text: &str,
    ) {
        let call = CallKey::from(self.next_key());
        let bytes = self.budget.begin_call(text);
        self.calls.insert(call, Call { id, bytes, has_result: false, is_updated: false });
        self.blocked_by = Some(Blocker::Method(call));
        let event = Event::Call { call, method, params, random_seed };
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn handle_result(&mut self, key: CallKey, result: Result<Option<String>, DdpError>) {
        if let Some(call) = self.calls.get_mut(&key).filter(|call| !call.has_result) {
            call.has_result = true;
            let result = result.as_ref().map(Option::as_deref);
            let text = ServerMessage::Result { id: &call.id, result }.to_text();
            self.push_message(text, true);
            self.shrink(key);
            self.forget_finished(key);
        }
        self.unblock(Blocker::Method(key));
    }

    /// As in Meteor, `updated` comes first.
    pub(super) fn handle_finished(
        &mut self,
        key: CallKey,
        result: Result<Option<String>, DdpError>,
    ) {
        let is_new = |call: &&Call| !call.has_result && !call.is_updated;
        let Some(call) = self.calls.get(&key).filter(is_new).filter(|_| self.rerun.is_none())
        else {
            self.handle_updated(key);
            return self.handle_result(key, result);
        };
        let result = result.as_ref().map(Option::as_deref);
        let updated = ServerMessage::Updated { methods: &[&call.id] }.to_text();
        let result = ServerMessage::Result { id: &call.id, result }.to_text();
        self.push_message(updated, false);
        self.push_message(result, true);
        self.forget(key);
        self.blocked_by.take_if(|blocker| *blocker == Blocker::Method(key));
        self.process_queue();
    }

    /// A call has its result. It may wait long for its `updated`, but its parameters are gone.
    fn shrink(&mut self, key: CallKey) {
        let others = self.calls.iter().filter(|(other, _)| **other != key);
        let others = others.map(|(_, call)| call.bytes);
        let Some(call) = self.calls.get(&key) else { return };
        let bytes = self.budget.shrink_call(call.bytes, &call.id, others);
        if let Some(call) = self.calls.get_mut(&key) {
            call.bytes = bytes;
        }
    }

    pub(super) fn handle_updated(&mut self, key: CallKey) {
        if let Some(call) = self.calls.get_mut(&key).filter(|call| !call.is_updated) {
            call.is_updated = true;
            let text = ServerMessage::Updated { methods: &[&call.id] }.to_text();
            if self.hold_updated(key) {
                return;
            }
            self.push_message(text, true);
            self.forget_finished(key);
        }
    }

    fn forget_finished(&mut self, key: CallKey) {
        let is_finished = |call: &Call| call.has_result && call.is_updated;
        if self.calls.get(&key).is_some_and(is_finished) && !self.holds_updated(key) {
            self.forget(key);
            self.process_queue();
        }
    }

    fn forget(&mut self, key: CallKey) {
        if let Some(call) = self.calls.remove(&key) {
            self.budget.end_call(call.bytes, self.calls.values().map(|call| call.bytes));
        }
    }

    /// Sends the `updated` of calls that were held back by a rerun.
    pub(super) fn release_updated(&mut self, keys: &[CallKey]) {
        let ids = keys.iter().filter_map(|key| self.calls.get(key).map(|call| call.id.clone()));
        let ids: Vec<String> = ids.collect();
        if !ids.is_empty() {
            let methods: Vec<&str> = ids.iter().map(String::as_str).collect();
            self.send(ServerMessage::Updated { methods: &methods });
        }
        for key in keys {
            if self.calls.get(key).is_some_and(|call| call.has_result) {
                self.forget(*key);
            }
        }
    }
}
