//! Tells a client what changes of its views mean, piece by piece.

use std::sync::Arc;

use super::collection_view::SessionCollectionView;
use super::io::Outgoing;
use super::pieces::{Piece, Positions, Rest, Then, Unsent};
use super::send::send_change;
use crate::id::DocumentId;
use crate::snapshot::{CollectionName, Delta, DocumentChange, Sides, Snapshot};

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
                let mut last: Option<&DocumentId> = None;
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
