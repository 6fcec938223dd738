//! One collection of one session, like Meteor's `SessionCollectionView`.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use super::holders::{Holders, MANY};
use super::io::{Outgoing, Placement, Source};
use super::pieces::{Piece, Positions, Rest, Unsent};
use super::send::send_placed;
use super::strategy::PublicationStrategy;
use super::view::{View, ViewKey};
use crate::document::Document;
use crate::id::{DocumentId, LiveQueryKey, SubscriptionKey};
use crate::snapshot::{CollectionName, Delta, Snapshot};

/// What each subscription of a session shows of one collection.
#[derive(Debug)]
pub(crate) struct SessionCollectionView {
    strategy: PublicationStrategy,
    /// How many of the views are shadows.
    shadows: u32,
    /// In order of precedence. Usually only one, which then needs no memory of its own.
    views: SmallVec<[View; 1]>,
    /// If there are many views. A view that is alone has none.
    holders: Option<Box<Holders>>,
}

impl SessionCollectionView {
    pub(crate) fn new(strategy: PublicationStrategy) -> Self {
        Self { strategy, shadows: 0, views: SmallVec::new(), holders: None }
    }

    pub(crate) fn strategy(&self) -> PublicationStrategy {
        self.strategy
    }

    pub(super) fn views(&self) -> &[View] {
        &self.views
    }

    pub(super) fn holders(&self) -> Option<&Holders> {
        self.holders.as_deref()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.views.is_empty()
    }

    /// Whether we must know what the client has of the collection.
    pub(crate) fn is_tracked(&self) -> bool {
        self.strategy != PublicationStrategy::NoMergeNoHistory
    }

    pub(super) fn apply(
        &mut self,
        view: ViewKey,
        delta: &Arc<Delta>,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) -> Option<Unsent> {
        let position = self.enter(view);
        self.advance_all(smallvec![position], delta, piece)
    }

    /// A step of a live query, for all subscriptions that show it.
    pub(super) fn step(
        &mut self,
        query: LiveQueryKey,
        delta: &Arc<Delta>,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) -> Option<Unsent> {
        self.advance_all(self.showing(query), delta, piece)
    }

    /// Has a view take a step, and sends that if the client gets it unchanged. Otherwise returns what
    /// is to be told of it.
    pub(super) fn advance(
        &mut self,
        position: usize,
        delta: &Arc<Delta>,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) -> Option<Rest> {
        let snapshot = &self.views[position].snapshot;
        if delta.to() <= snapshot.version() {
            return None;
        }
        let is_next = delta.from() == snapshot.version();
        if is_next && self.is_alone() {
            self.views[position].snapshot = delta.after().clone();
            if !delta.changes().is_empty() {
                piece.send(Outgoing::Shared(Arc::clone(delta)));
            }
            return None;
        }
        let was = snapshot.clone();
        self.begin_change(position, delta.after().clone());
        if !is_next {
            return Some(Rest::Difference { was, told: None });
        }
        (!self.is_repeated(position, delta)).then(|| Rest::Step(Arc::clone(delta), 0))
    }

    /// Records a subscription's step without sending anything yet.
    pub(crate) fn note(&mut self, view: ViewKey, delta: &Delta) {
        let position = self.enter(view);
        self.note_at(position, delta);
    }

    /// Records a live query's step without sending anything yet.
    pub(crate) fn note_step(&mut self, query: LiveQueryKey, delta: &Delta) {
        for position in self.showing(query) {
            self.note_at(position, delta);
        }
    }

    fn note_at(&mut self, position: usize, delta: &Delta) {
        if delta.to() > self.views[position].snapshot.version() {
            // The index is made anew when something is sent again.
            self.holders = None;
            self.views[position].snapshot = delta.after().clone();
        }
    }

    /// Puts a document in its place, after the step that made or changed it.
    pub(crate) fn place(
        &mut self,
        view: ViewKey,
        delta: Option<&Arc<Delta>>,
        placement: &Placement,
        send: &mut impl FnMut(Outgoing),
    ) {
        let Placement { collection, id, place } = placement;
        let position = self.enter(view);
        self.keep_holders();
        if let Some(holders) = &mut self.holders {
            holders.begin_change(position);
        }
        let before = self.views[position].snapshot.get(id).cloned();
        if let Some(delta) = delta
            && delta.to() > self.views[position].snapshot.version()
        {
            self.views[position].snapshot = delta.after().clone();
        }
        let after = self.views[position].snapshot.get(id).cloned();
        self.note_holder(position, id, before.is_some(), after.is_some());
        let (before, after) = self.effect(id, position, before.as_ref(), after.as_ref());
        send_placed(collection, id, place, before.as_ref(), after.as_ref(), send);
    }

    pub(super) fn remove(
        &mut self,
        collection: &CollectionName,
        subscription: SubscriptionKey,
        piece: &mut Piece<'_, impl FnMut(Outgoing)>,
    ) -> Option<Unsent> {
        while let Some(position) = self.position_of(subscription) {
            if self.is_shadow(position) {
                self.remove_shadow(position);
                continue;
            }
            match self.heir(position) {
                Some(heir) if heir == position + 1 => {
                    // It has the same precedence over all others.
                    self.views[position].subscription = self.views[heir].subscription;
                    self.remove_shadow(heir);
                    continue;
                }
                Some(heir) => self.bequeath(position, heir),
                None => {}
            }
            if self.is_tracked() {
                let gone = self.views[position].snapshot.clone();
                self.begin_change(position, Snapshot::default());
                let unsent = self.tell_gone(collection, position, gone, piece);
                if unsent.is_some() {
                    return unsent;
                }
            }
            self.remove_view(position);
        }
        self.keep_holders();
        None
    }

    /// Removes a subscription's documents without sending anything.
    pub(crate) fn forget(&mut self, subscription: SubscriptionKey) {
        self.holders = None;
        while let Some(position) = self.position_of(subscription) {
            if self.is_shadow(position) {
                self.remove_shadow(position);
                continue;
            }
            if let Some(heir) = self.heir(position) {
                self.bequeath(position, heir);
            }
            self.remove_view(position);
        }
    }

    pub(crate) fn rename(&mut self, renamed: &BTreeMap<SubscriptionKey, SubscriptionKey>) {
        for view in &mut self.views {
            if let Some(new) = renamed.get(&view.subscription) {
                view.subscription = *new;
            }
        }
    }

    /// The view in which a subscription's steps are recorded: its own, or that of an earlier
    /// subscription that shows the same live query.
    fn enter(&mut self, key: ViewKey) -> usize {
        let lead = match key.1 {
            Source::LiveQuery(query) if self.shares_views() => self.lead(query),
            _ => None,
        };
        let own = self.views.iter().position(|view| view.key() == key);
        if own.is_none() {
            let view = View::new(key);
            if let Some(holders) = &mut self.holders {
                holders.push(&view);
            }
            self.views.push(view);
            self.shadows += u32::from(lead.is_some());
        }
        lead.or(own).unwrap_or(self.views.len() - 1)
    }

    /// The views in which a live query's steps are recorded.
    fn showing(&self, query: LiveQueryKey) -> Positions {
        if self.shares_views() {
            return self.lead(query).into_iter().collect();
        }
        let shows = |position: &usize| self.views[*position].live_query() == Some(query);
        (0..self.views.len()).filter(shows).collect()
    }

    /// Whether a live query that several subscriptions show is one view. Without merging, the client
    /// is sent each one's documents.
    fn shares_views(&self) -> bool {
        self.strategy == PublicationStrategy::ServerMerge
    }

    /// The first view of a live query; all others are its shadows.
    fn lead(&self, query: LiveQueryKey) -> Option<usize> {
        match &self.holders {
            Some(holders) => holders.leading(query),
            None => self.views.iter().position(|view| view.live_query() == Some(query)),
        }
    }

    fn position_of(&self, subscription: SubscriptionKey) -> Option<usize> {
        self.views.iter().position(|view| view.subscription == subscription)
    }

    fn is_shadow(&self, position: usize) -> bool {
        let query = self.views[position].live_query().filter(|_| self.shadows > 0);
        query.is_some_and(|query| self.lead(query) != Some(position))
    }

    /// The shadow that shows a view's live query when the view is gone.
    fn heir(&self, position: usize) -> Option<usize> {
        let query = self.views[position].live_query().filter(|_| self.shadows > 0)?;
        let is_heir = |heir: &usize| self.views[*heir].live_query() == Some(query);
        (position + 1..self.views.len()).find(is_heir)
    }

    /// Makes a shadow the view of a live query. The one that was is to be removed.
    fn bequeath(&mut self, position: usize, heir: usize) {
        let lead = &mut self.views[position];
        let snapshot = lead.snapshot.clone();
        let source = std::mem::replace(&mut lead.source, Source::Cursor);
        if let (Some(holders), Source::LiveQuery(query)) = (&mut self.holders, source) {
            holders.lead(query, heir);
            snapshot.iter().for_each(|(id, _)| holders.set(heir, id, true));
        }
        self.views[heir].snapshot = snapshot;
        self.shadows -= 1;
    }

    fn remove_shadow(&mut self, position: usize) {
        self.shadows -= 1;
        self.remove_view(position);
    }

    /// Removes a view that shows nothing.
    pub(super) fn remove_view(&mut self, position: usize) {
        let view = self.views.remove(position);
        if let Some(holders) = &mut self.holders {
            holders.remove(position, &view);
        }
    }

    /// How many views are no shadows.
    fn distinct(&self) -> usize {
        self.views.len() - self.shadows as usize
    }

    /// Whether the client gets a subscription's steps unchanged.
    fn is_alone(&self) -> bool {
        match self.strategy {
            PublicationStrategy::ServerMerge | PublicationStrategy::NoMergeMulti => {
                self.distinct() == 1
            }
            PublicationStrategy::NoMerge | PublicationStrategy::NoMergeNoHistory => true,
        }
    }

    /// Makes the index if there are now many views, and drops it if there are few.
    fn keep_holders(&mut self) {
        let asks_others = match self.strategy {
            PublicationStrategy::ServerMerge | PublicationStrategy::NoMergeMulti => true,
            PublicationStrategy::NoMerge | PublicationStrategy::NoMergeNoHistory => false,
        };
        if self.holders.is_none() && asks_others && self.distinct() > MANY {
            self.holders = Some(Box::new(Holders::new(&self.views)));
        } else if self.holders.is_some() && self.distinct() <= MANY / 2 {
            self.holders = None;
        }
    }

    pub(super) fn note_holder(
        &mut self,
        position: usize,
        id: &DocumentId,
        held: bool,
        holds: bool,
    ) {
        if let Some(holders) = &mut self.holders
            && held != holds
        {
            holders.set(position, id, holds);
        }
    }

    /// Replaces a view's snapshot by `next`. The effects of that are to be sent.
    fn begin_change(&mut self, position: usize, next: Snapshot) {
        self.keep_holders();
        self.views[position].snapshot = next;
        if let Some(holders) = &mut self.holders {
            holders.begin_change(position);
        }
    }

    /// Whether the client need not learn of a view's step, however many documents it changes, since
    /// an earlier view is known to have taken a step like it.
    fn is_repeated(&mut self, position: usize, delta: &Delta) -> bool {
        let Some(holders) = &mut self.holders else { return false };
        // What comes is to be noted, and what goes may have been seen here.
        self.strategy == PublicationStrategy::ServerMerge
            && delta.only_updates()
            && holders.begin_to_take(position, delta)
    }

    /// Whether an earlier view is known to show a document just as the one that changes does now, so
    /// that the client need not learn of the change.
    pub(super) fn is_hidden(
        &mut self,
        position: usize,
        id: &DocumentId,
        before: Option<&Arc<Document>>,
        after: Option<&Arc<Document>>,
    ) -> bool {
        let (Some(holders), Some(after)) = (&mut self.holders, after) else { return false };
        self.strategy == PublicationStrategy::ServerMerge
            && holders.begin_to_show(position, id, after)
            // A field that goes may have been seen here.
            && before.is_none_or(|before| after.has_fields_of(before))
    }
}
