//! What a change means to one client alone, made in pieces.
//!
//! The messages of a step that the client shares with others are there once for all. Its own take memory
//! for this client only, so they are made as it takes them. Until a change is told to its end, the
//! collection's views stay as they are: what is still to be told follows from them.

use std::sync::Arc;

use smallvec::SmallVec;

use super::io::Outgoing;
use crate::id::{DocumentId, SubscriptionKey};
use crate::snapshot::{CollectionName, Delta, Snapshot};

/// How many bytes of messages a piece has, besides what is more of its last message.
pub(crate) const PIECE_BYTES: usize = 16 * 1024;

/// The views that are to take a step, by their positions.
pub(super) type Positions = SmallVec<[usize; 1]>;

/// Messages that are sent, up to as many bytes as a piece has.
pub(super) struct Piece<'a, S> {
    send: &'a mut S,
    left: usize,
}

impl<'a, S: FnMut(Outgoing)> Piece<'a, S> {
    pub(super) fn new(send: &'a mut S, bytes: usize) -> Self {
        Self { send, left: bytes }
    }

    pub(super) fn is_full(&self) -> bool {
        self.left == 0
    }

    pub(super) fn send(&mut self, outgoing: Outgoing) {
        if let Outgoing::Text(text) = &outgoing {
            self.left = self.left.saturating_sub(text.len());
        }
        (self.send)(outgoing);
    }
}

/// What is left of a change whose first pieces were sent.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) collection: CollectionName,
    /// The view that has changed.
    pub(super) position: usize,
    pub(super) rest: Rest,
    pub(super) then: Then,
}

/// The documents of a view whose change is still to be told.
#[derive(Debug)]
pub(super) enum Rest {
    /// Those of a step from this one on.
    Step(Arc<Delta>, usize),
    /// Those after `told` that are not as they were.
    Difference { was: Snapshot, told: Option<DocumentId> },
}

/// What follows when a view's change is told.
#[derive(Debug)]
pub(super) enum Then {
    /// These views take the same step.
    Advance(Arc<Delta>, Positions),
    /// The view goes, and whatever else the subscription shows.
    Remove(SubscriptionKey),
}

impl Unsent {
    /// The subscription that goes, if one does.
    pub(super) fn removes(&self) -> Option<SubscriptionKey> {
        match self.then {
            Then::Advance(..) => None,
            Then::Remove(subscription) => Some(subscription),
        }
    }
}
