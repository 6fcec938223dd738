//! Mail that was taken from the mailbox and is not handled yet.
//!
//! To encode a large result takes a thread tens of milliseconds, so it waits for its
//! [turn](LargeMessages::turn), as large messages of clients do and among them, and whatever is behind it
//! waits with it. Meanwhile the session handles messages and writes.

use std::collections::VecDeque;
use std::task::{Context, Poll};

use futures::FutureExt;

use super::mail::Mail;
use super::mailbox::Mailbox;
use crate::transport::large::TURN_BYTES;
use crate::transport::{Address, LargeMessages, NextTurn, Turn};

#[derive(Debug, Default)]
pub(super) struct Tray {
    pub(super) mail: VecDeque<Mail>,
    /// What the large result that is next waits for.
    waits: Option<Box<NextTurn>>,
    /// The turn of the one that is being encoded.
    turn: Option<Box<Turn>>,
}

impl Tray {
    /// Whether there is mail that waits for nothing.
    pub(super) fn is_ready(&self) -> bool {
        self.mail.front().is_some_and(|next| !is_large(next))
    }

    /// Whether a large result waits for its turn. One that is given must be taken at once.
    pub(super) fn waits(&self) -> bool {
        self.waits.is_some()
    }

    /// Takes what is in the mailbox, if nothing is here. False if there is nothing to handle now.
    pub(super) fn poll(
        &mut self,
        mailbox: &Mailbox,
        large: &LargeMessages,
        address: Option<&Address>,
        cx: &mut Context<'_>,
    ) -> bool {
        if self.mail.is_empty() && !mailbox.take(&mut self.mail) {
            return false;
        }
        if self.is_ready() {
            return true;
        }
        let ask = || Box::new(large.turn(address));
        let Poll::Ready(turn) = self.waits.get_or_insert_with(ask).poll_unpin(cx) else {
            return false;
        };
        (self.waits, self.turn) = (None, Some(Box::new(turn)));
        true
    }

    /// Nothing is taken for a while. A turn would be given all the same, and nobody else could have it.
    pub(super) fn pause(&mut self) {
        self.waits = None;
    }

    /// What was handled has been encoded.
    pub(super) fn end_turn(&mut self) {
        self.turn = None;
    }

    /// Whether the memory of a result is next, which is taken with the result.
    pub(super) fn has_room_next(&self) -> bool {
        matches!(self.mail.front(), Some(Mail::Room(_)))
    }

    /// The next piece of mail, up to one that must be the first that is handled: a change of the user,
    /// before which everything must be done that the session wants done for earlier mail, and a large
    /// result, which has a turn of its own, unless the connection is about to end.
    pub(super) fn next(&mut self, is_first: bool, is_ending: bool) -> Option<Mail> {
        let has_turn = self.turn.is_some() || is_ending;
        self.mail.pop_front_if(|next| match next {
            Mail::SetUser(..) => is_first,
            next if is_large(next) => is_first && has_turn,
            _ => true,
        })
    }
}

/// Whether it takes long to encode.
fn is_large(mail: &Mail) -> bool {
    let (Mail::Result(_, result) | Mail::Finished(_, result)) = mail else { return false };
    matches!(result, Ok(Some(text)) if text.len() > TURN_BYTES)
}
