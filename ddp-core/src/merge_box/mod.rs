//! What one session's client sees: the union of its subscriptions' documents.
//!
//! Meteor keeps a copy of every document for every client. This merge box keeps an ordered list of
//! [`Snapshot`](crate::Snapshot)s per collection, one for each subscription, and derives the rest:
//! a document is visible if any snapshot has it, and each of its fields comes from the first
//! subscription that has the field, in the order in which they began to show the collection. A
//! collection with another [`PublicationStrategy`] is not merged like that.
//!
//! # Subscriptions that overlap
//!
//! A client may subscribe a thousand times to the same documents. What a step costs does not grow
//! with the square of that:
//!
//! - Subscriptions that show the same live query are one view, however many they are: the first one
//!   has the snapshot, and the others are its shadows, in their places in the order of precedence.
//!   When the first one ends, the next takes over. The live query's [`step`](MergeBox::step) is
//!   needed only once, and is sent unchanged if there is no other view.
//! - For a document of several views, only the fields that differ are looked at, and other views are
//!   asked only until it is certain what the client has. Where an earlier subscription shows the
//!   same fields, as it mostly does, that is one of them.
//! - With more than 64 views, an index tells which of them hold a document, so that those that do
//!   not cost nothing. It takes some 20 bytes for each document of each view. What a change makes of a
//!   document is remembered, too, so that it is compared once, however many views change to the same,
//!   and so are steps: a view that takes one [like](crate::Delta::is_like) that of an earlier view
//!   costs the same however many documents it updates. With fewer views, nothing is kept.
//!
//! Messages that are this client's own are made in pieces of 16 KiB: what a step, the end of a
//! subscription or that of a rerun means beyond the first piece is sent by
//! [`send_more`](MergeBox::send_more).
//!
//! ```
//! use std::collections::BTreeMap;
//! use std::sync::Arc;
//!
//! use ddp_core::merge_box::{Outgoing, Source};
//! use ddp_core::{CollectionName, Document, DocumentId, MergeBox, Snapshot, SubscriptionKey};
//!
//! let tasks = CollectionName::from("tasks");
//! let shown = |field: &str| {
//!     let document = Document::from_fields([(field.into(), "true")]).map(Arc::new);
//!     let documents = BTreeMap::from([(DocumentId::from_string("a"), document)]);
//!     Snapshot::default().advance(&tasks, documents).expect("the document is new")
//! };
//! let (mut merge_box, mut sent) = (MergeBox::default(), Vec::new());
//! let mut send = |outgoing| match outgoing {
//!     Outgoing::Text(text) => sent.push(text),
//!     Outgoing::Shared(delta) => delta.for_each_message(|text| sent.push(text.to_owned())),
//! };
//! // Two subscriptions show other fields of the same document; then the first one ends.
//! let (first, second) = (SubscriptionKey::from(1), SubscriptionKey::from(2));
//! merge_box.apply(first, Source::Cursor, shown("done"), &mut send);
//! merge_box.apply(second, Source::Cursor, shown("urgent"), &mut send);
//! merge_box.remove(first, &mut send);
//! assert_eq!(
//!     sent,
//!     [
//!         r#"{"msg":"added","collection":"tasks","id":"a","fields":{"done":true}}"#,
//!         r#"{"msg":"changed","collection":"tasks","id":"a","fields":{"urgent":true}}"#,
//!         r#"{"msg":"changed","collection":"tasks","id":"a","cleared":["done"]}"#,
//!     ]
//! );
//! ```

mod collection_view;
mod difference;
mod effect;
mod holders;
mod io;
mod pieces;
mod send;
mod strategy;
mod telling;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use collection_view::SessionCollectionView;
use difference::Difference;
pub use io::{Direct, Outgoing, Place, Placement, Source};
use litemap::LiteMap;
pub(crate) use pieces::PIECE_BYTES;
use pieces::{Piece, Unsent};
pub use strategy::{PublicationStrategies, PublicationStrategy};

use crate::id::{DocumentId, LiveQueryKey, SubscriptionKey};
use crate::snapshot::{CollectionName, Delta};

/// All views of one session.
#[derive(Debug)]
pub struct MergeBox {
    strategies: PublicationStrategies,
    collections: Views,
    /// While subscriptions are rerun and nothing is sent.
    held: Option<Box<Held>>,
    /// What is left of the last change.
    left: Option<Box<Left>>,
    piece_bytes: usize,
}

impl Default for MergeBox {
    fn default() -> Self {
        Self::new(PublicationStrategies::default())
    }
}

/// What is left of a change.
#[derive(Debug)]
enum Left {
    Change(Unsent),
    /// The differences of these collections.
    Release(VecDeque<Difference>),
}

/// What must be known to send the difference.
#[derive(Debug)]
struct Held {
    /// What the client has been sent.
    before: Views,
    /// The documents that were placed since then, in order.
    order: LiteMap<CollectionName, Vec<DocumentId>>,
}

/// There are few, and they are adjacent in memory, because each change searches them.
type Views = LiteMap<CollectionName, SessionCollectionView>;

impl MergeBox {
    /// A merge box without documents.
    #[must_use]
    pub fn new(strategies: PublicationStrategies) -> Self {
        let (collections, held, left) = Default::default();
        Self { strategies, collections, held, left, piece_bytes: PIECE_BYTES }
    }

    /// The same with pieces of so many bytes, and what is more of the last message of each. Each has a
    /// message at least.
    #[must_use]
    pub const fn in_pieces_of(mut self, bytes: usize) -> Self {
        self.piece_bytes = if bytes > 0 { bytes } else { 1 };
        self
    }

    /// Brings a subscription's documents to the state after the delta.
    ///
    /// A delta that does not start at the subscription's version is not an error: an older one is
    /// ignored, and for one further ahead (the session lagged, and steps were dropped) the client
    /// is sent the difference between what it has and the delta's snapshot.
    ///
    /// Messages that are not shared may be sent only in part: see [`has_more`](Self::has_more).
    pub fn apply(
        &mut self,
        subscription: SubscriptionKey,
        source: Source,
        delta: Arc<Delta>,
        send: &mut impl FnMut(Outgoing),
    ) {
        self.send_all(send);
        let (is_held, bytes) = (self.held.is_some(), self.piece_bytes);
        let view = self.view(delta.collection());
        if is_held && view.is_tracked() {
            view.note((subscription, source), &delta);
            self.forget_places(&delta);
        } else {
            let unsent = view.apply((subscription, source), &delta, &mut Piece::new(send, bytes));
            self.leave(unsent);
        }
    }

    /// Brings a live query to the state after the delta, for all subscriptions that
    /// [show](Self::apply) it. If there are none, nothing happens.
    pub fn step(
        &mut self,
        query: LiveQueryKey,
        delta: &Arc<Delta>,
        send: &mut impl FnMut(Outgoing),
    ) {
        self.send_all(send);
        let Some(view) = self.collections.get_mut(delta.collection()) else { return };
        if self.held.is_some() && view.is_tracked() {
            view.note_step(query, delta);
            self.forget_places(delta);
        } else {
            let unsent = view.step(query, delta, &mut Piece::new(send, self.piece_bytes));
            self.leave(unsent);
        }
    }

    /// Whether the last change has only been sent in part. Before the next one, the rest is sent at
    /// once.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.left.is_some()
    }

    /// Sends the next piece of it: at least 16 KiB of messages, unless it is the last one.
    pub fn send_more(&mut self, send: &mut impl FnMut(Outgoing)) {
        let mut piece = Piece::new(send, self.piece_bytes);
        match self.left.take().map(|left| *left) {
            None => {}
            Some(Left::Release(differences)) => self.tell_differences(differences, &mut piece),
            Some(Left::Change(unsent)) => {
                let Some(view) = self.collections.get_mut(&unsent.collection) else { return };
                let removes = unsent.removes();
                let unsent = view.go_on(unsent, &mut piece);
                self.leave(unsent);
                if let Some(subscription) = removes.filter(|_| !self.has_more()) {
                    self.remove_rest(subscription, &mut piece);
                }
            }
        }
    }

    fn leave(&mut self, unsent: Option<Unsent>) {
        self.left = unsent.map(|unsent| Box::new(Left::Change(unsent)));
    }

    /// Nobody is to be sent the rest of it any more.
    pub(crate) fn forget_more(&mut self) {
        self.left = None;
    }

    fn send_all(&mut self, send: &mut impl FnMut(Outgoing)) {
        while self.has_more() {
            self.send_more(send);
        }
    }

    /// Puts a document that the publication handles by hand in its place in an ordered collection.
    /// If the document is also new or changed, `delta` is the step from the subscription's version,
    /// and must be about this document alone.
    pub fn place(
        &mut self,
        subscription: SubscriptionKey,
        delta: Option<&Arc<Delta>>,
        placement: Placement,
        send: &mut impl FnMut(Outgoing),
    ) {
        self.send_all(send);
        let is_held = self.held.is_some();
        let view = self.view(&placement.collection);
        let key = (subscription, Source::ByHand);
        if is_held && view.is_tracked() {
            if let Some(delta) = delta {
                view.note(key, delta);
                self.forget_places(delta);
            }
            self.note_place(placement);
        } else {
            view.place(key, delta, &placement, send);
        }
    }

    /// Removes a subscription's documents. What that means may be sent only in part: see
    /// [`has_more`](Self::has_more).
    pub fn remove(&mut self, subscription: SubscriptionKey, send: &mut impl FnMut(Outgoing)) {
        self.send_all(send);
        self.remove_rest(subscription, &mut Piece::new(send, self.piece_bytes));
    }

    fn remove_rest(
        &mut self,
        subscription: SubscriptionKey,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) {
        let is_held = self.held.is_some();
        for (collection, view) in self.collections.iter_mut() {
            if is_held {
                view.forget(subscription);
            } else if let Some(unsent) = view.remove(collection, subscription, piece) {
                self.left = Some(Box::new(Left::Change(unsent)));
                return;
            }
        }
        self.collections.retain(|_, view| !view.is_empty());
    }

    /// From now on nothing is sent: the client's documents stay unchanged while the subscriptions
    /// run again under other keys, starting without documents. `renamed` gives the new key of each. What
    /// is left of the last change is still sent.
    ///
    /// Collections with the strategy that remembers nothing go on as before.
    pub fn hold(
        &mut self,
        renamed: &BTreeMap<SubscriptionKey, SubscriptionKey>,
        send: &mut impl FnMut(Outgoing),
    ) {
        self.send_all(send);
        let mut before = std::mem::take(&mut self.collections);
        before.retain(|_, view| view.is_tracked());
        let held =
            self.held.get_or_insert_with(|| Box::new(Held { before, order: LiteMap::new() }));
        held.order.clear();
        for (_, view) in held.before.iter_mut() {
            view.rename(renamed);
        }
    }

    /// Sends the difference between what the client had been sent before [`hold`](Self::hold) and
    /// what the subscriptions show now, perhaps only in part: see [`has_more`](Self::has_more). From now
    /// on everything is sent again.
    pub fn release(&mut self, send: &mut impl FnMut(Outgoing)) {
        self.send_all(send);
        let Some(held) = self.held.take() else { return };
        let Held { mut before, mut order } = *held;
        let mut differences = VecDeque::new();
        for (collection, after) in self.collections.iter().filter(|(_, view)| view.is_tracked()) {
            let before = before.remove(collection);
            let before = before.unwrap_or_else(|| SessionCollectionView::new(after.strategy()));
            let order = order.remove(collection).unwrap_or_default();
            differences.push_back(Difference::new(collection.clone(), before, after, order));
        }
        for (collection, gone) in before {
            let after = SessionCollectionView::new(gone.strategy());
            differences.push_back(Difference::new(collection, gone, &after, Vec::new()));
        }
        self.tell_differences(differences, &mut Piece::new(send, self.piece_bytes));
    }

    fn tell_differences(
        &mut self,
        mut differences: VecDeque<Difference>,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) {
        while let Some(difference) = differences.front_mut() {
            let is_told = match self.collections.get(&difference.collection) {
                Some(after) => difference.tell(after, piece),
                None => difference.tell(&difference.nothing(), piece),
            };
            if !is_told {
                self.left = Some(Box::new(Left::Release(differences)));
                return;
            }
            differences.pop_front();
        }
    }

    fn view(&mut self, collection: &CollectionName) -> &mut SessionCollectionView {
        if !self.collections.contains_key(collection) {
            let strategy = self.strategies.of(collection);
            self.collections.insert(collection.clone(), SessionCollectionView::new(strategy));
        }
        self.collections.get_mut(collection).expect("inserted above")
    }

    /// Records a place without sending anything yet.
    fn note_place(&mut self, placement: Placement) {
        let Some(held) = &mut self.held else { return };
        let Placement { collection, id, place } = placement;
        if !held.order.contains_key(&collection) {
            held.order.insert(collection.clone(), Vec::new());
        }
        let order = held.order.get_mut(&collection).expect("inserted above");
        order.retain(|other| *other != id);
        let next = place.next();
        let at = next.and_then(|next| order.iter().position(|id| id == next));
        order.insert(at.unwrap_or(order.len()), id);
    }

    /// Documents that are gone have no place any more, should they come back.
    fn forget_places(&mut self, delta: &Delta) {
        let Some(held) = &mut self.held else { return };
        let Some(order) = held.order.get_mut(delta.collection()) else { return };
        let Some(view) = self.collections.get(delta.collection()) else { return };
        let gone = delta.changes().iter().filter(|change| change.after.is_none());
        let gone: BTreeSet<_> = gone.map(|change| &change.id).collect();
        let is_shown =
            |id: &DocumentId| view.views().iter().any(|view| view.snapshot.get(id).is_some());
        order.retain(|id| !gone.contains(id) || is_shown(id));
    }
}
