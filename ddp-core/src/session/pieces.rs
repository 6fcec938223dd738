//! Documents that are made into messages piece by piece.
//!
//! What there is to say has three parts, in this order: the pieces that are made, what is left of the
//! documents, and all other outputs. While documents are left, no message of the client is processed.
//! Whatever may leave none or some goes on with the queue, or nobody would.

use std::collections::VecDeque;

use super::Session;
use super::io::Output;
use super::state::Blocker;
use super::subscriptions::sender;
use crate::merge_box::Outgoing;
use crate::message::decode;

/// What an output takes for this session alone.
fn output_bytes(output: &Output) -> usize {
    match output {
        Output::Send(Outgoing::Text(text)) => text.len(),
        _ => 0,
    }
}

/// A queue of more outputs is not kept when it is empty.
const OUTPUTS_KEPT: usize = 64;

impl Session {
    /// What comes before the other outputs, while there is any.
    #[cold]
    fn next_of_pieces(&mut self) -> Option<Output> {
        loop {
            if let Some(pieces) = &mut self.pieces {
                let next = pieces.pop_front();
                if pieces.is_empty() {
                    self.pieces = None;
                }
                return next;
            }
            if self.merge_box.has_more() {
                self.send_piece();
            } else if !self.outputs.is_empty() || !std::mem::take(&mut self.is_held) {
                return None;
            }
            self.go_on();
        }
    }

    /// The next output, if there is one.
    pub(super) fn next_output(&mut self) -> Option<Output> {
        if (self.pieces.is_some() || self.has_more())
            && let Some(next) = self.next_of_pieces()
        {
            return Some(next);
        }
        let next = self.outputs.pop_front();
        if next.is_none() && self.outputs.capacity() > OUTPUTS_KEPT {
            self.outputs = VecDeque::new();
        }
        next
    }

    fn send_piece(&mut self) {
        let mut pieces = self.pieces.take().unwrap_or_default();
        self.merge_box.send_more(&mut sender(&mut pieces));
        self.pieces = Some(pieces).filter(|pieces| !pieces.is_empty());
    }

    /// The documents are to change again: what is left of the last change comes first, however much it
    /// is. Whoever drains the session before each input never has any left.
    pub(super) fn send_all_documents(&mut self) {
        while self.merge_box.has_more() {
            self.send_piece();
        }
    }

    /// The documents have changed: what else there is to send comes after the rest of that.
    pub(super) fn leave_rest(&mut self) {
        if self.merge_box.has_more() && !self.outputs.is_empty() {
            self.pieces.get_or_insert_default().append(&mut self.outputs);
        }
    }

    /// Goes on with messages that wait, unless documents are left.
    pub(super) fn go_on(&mut self) {
        if self.has_more() {
            return;
        }
        if self.blocked_by == Some(Blocker::Bytes) {
            self.let_unsubs_pass();
        }
        self.process_queue();
    }

    /// What is left of the documents is not sent any more, nor what was to follow them.
    pub(super) fn forget_rest(&mut self) {
        self.is_held = false;
        if self.merge_box.has_more() {
            self.merge_box.forget_more();
            self.outputs.retain(|output| matches!(output, Output::Event(_)));
        }
    }

    /// Processes a message that waited. If what such messages made is a piece, the others wait until
    /// that is taken: one input may have many of them go on.
    pub(super) fn process_waiting(&mut self, text: &str, made: &mut usize) {
        self.budget.pop_waiting(text);
        let before = self.outputs.len();
        self.process(decode::decode(text), text);
        let new = self.outputs.iter().skip(before);
        *made += new.map(output_bytes).sum::<usize>();
        // During a rerun no documents change, so little is made.
        self.is_held |= *made >= self.config.piece_bytes && self.rerun.is_none();
    }

    pub(super) fn assert_drained(&self) {
        let is_drained = self.outputs.is_empty() && self.pieces.is_none();
        debug_assert!(is_drained && !self.has_more(), "outputs precede what is delivered");
    }
}
