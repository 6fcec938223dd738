//! Documents that are made into messages piece by piece.

use super::Session;
use super::state::Blocker;
use super::subscriptions::sender;

impl Session {
    /// Makes the next piece, and goes on with what waits for the last one.
    pub(super) fn send_more(&mut self) {
        self.merge_box.send_more(&mut sender(&mut self.first_outputs));
        if self.has_more() {
            return;
        }
        if self.blocked_by == Some(Blocker::Bytes) {
            self.let_unsubs_pass();
        }
        self.process_queue();
    }

    /// The documents are to change again: what is left of the last change comes first, however much it
    /// is. Whoever drains the session after each input never has any left.
    pub(super) fn send_all_documents(&mut self) {
        while self.has_more() {
            self.merge_box.send_more(&mut sender(&mut self.first_outputs));
        }
    }

    /// The documents have changed: what else there is to send comes after the rest of that.
    pub(super) fn leave_rest(&mut self) {
        if self.has_more() {
            self.first_outputs.append(&mut self.outputs);
        }
    }

    pub(super) fn assert_drained(&self) {
        let is_drained = self.outputs.is_empty() && self.first_outputs.is_empty();
        debug_assert!(is_drained && !self.has_more(), "outputs precede what is delivered");
    }
}
