//! What a change means to one client alone, made in pieces.
//!
//! The messages of a step that the client shares with others are there once for all. Its own take memory
//! for this client only, so they are made as it takes them. Until a change is told to its end, the
//! collection's views stay as they are: what is still to be told follows from them.

use std::sync::Arc;

use smallvec::SmallVec;

use super::collection_view::SessionCollectionView;
use super::io::Outgoing;
use super::send::send_change;
use crate::id::{DocumentId, SubscriptionKey};
use crate::snapshot::{CollectionName, Delta, DocumentChange, Sides, Snapshot};

/// How many bytes of messages a piece has, besides what is more of its last message.
pub(super) const PIECE_BYTES: usize = 16 * 1024;

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
    position: usize,
    rest: Rest,
    then: Then,
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

impl SessionCollectionView {
    /// Tells what is left, and returns what is left after that.
    pub(super) fn go_on(
        &mut self,
        unsent: Unsent,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) -> Option<Unsent> {
        let Unsent { collection, position, rest, then } = unsent;
        if let Some(rest) = self.tell(&collection, position, rest, piece) {
            return Some(Unsent { collection, position, rest, then });
        }
        match then {
            Then::Advance(delta, positions) => self.advance_all(positions, &delta, piece),
            Then::Remove(subscription) => {
                self.remove_view(position);
                self.remove(&collection, subscription, piece)
            }
        }
    }

    /// Has these views take a step, one after the other: what one of them means to the client depends on
    /// the others.
    pub(super) fn advance_all(
        &mut self,
        positions: Positions,
        delta: &Arc<Delta>,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) -> Option<Unsent> {
        let mut positions = positions.into_iter();
        while let Some(position) = positions.next() {
            let Some(rest) = self.advance(position, delta, piece) else { continue };
            if let Some(rest) = self.tell(delta.collection(), position, rest, piece) {
                let collection = delta.collection().clone();
                let then = Then::Advance(Arc::clone(delta), positions.collect());
                return Some(Unsent { collection, position, rest, then });
            }
        }
        None
    }

    /// Tells that the view at `position` has lost all documents, as a subscription's end wants it.
    pub(super) fn tell_gone(
        &mut self,
        collection: &CollectionName,
        position: usize,
        was: Snapshot,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) -> Option<Unsent> {
        let subscription = self.views()[position].subscription;
        let rest = Rest::Difference { was, told: None };
        let rest = self.tell(collection, position, rest, piece)?;
        let then = Then::Remove(subscription);
        Some(Unsent { collection: collection.clone(), position, rest, then })
    }

    /// Sends the effects of a view's change until the piece is full, and returns what is left.
    fn tell(
        &mut self,
        collection: &CollectionName,
        position: usize,
        rest: Rest,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) -> Option<Rest> {
        match rest {
            Rest::Step(delta, told) => {
                for (index, change) in delta.changes().iter().enumerate().skip(told) {
                    if piece.is_full() {
                        return Some(Rest::Step(Arc::clone(&delta), index));
                    }
                    let DocumentChange { id, before, after } = change;
                    let change = (id, before.as_ref(), after.as_ref());
                    self.tell_one(collection, position, change, piece);
                }
            }
            Rest::Difference { was, told } => {
                let is = self.views()[position].snapshot.clone();
                let mut last = None;
                for change in was.changes_to(&is, told.as_ref()) {
                    if piece.is_full() {
                        let told = last.cloned().or(told);
                        return Some(Rest::Difference { was: was.clone(), told });
                    }
                    last = Some(change.0);
                    self.tell_one(collection, position, change, piece);
                }
            }
        }
        None
    }

    fn tell_one(
        &mut self,
        collection: &CollectionName,
        position: usize,
        (id, before, after): Sides<'_>,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) {
        #[cfg(test)]
        LOOKED_AT.set(LOOKED_AT.get() + 1);
        self.note_holder(position, id, before.is_some(), after.is_some());
        if self.is_hidden(position, id, before, after) {
            return;
        }
        let (before, after) = self.effect(id, position, before, after);
        let send = &mut |outgoing| piece.send(outgoing);
        send_change(collection, id, before.as_ref(), after.as_ref(), send);
    }
}

#[cfg(test)]
thread_local! {
    static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many changes of a document were looked at on this thread.
#[cfg(test)]
pub(super) fn looked_at() -> usize {
    LOOKED_AT.get()
}
