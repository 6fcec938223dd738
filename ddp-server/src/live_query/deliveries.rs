//! The steps of several queries on their way to sinks.

use std::sync::Arc;

use ddp_core::{DdpError, Delta, LiveQueryKey};
use futures::channel::oneshot;

use super::courier::Courier;
use super::observer::Observer;
use super::sink::Step;

/// The steps of several queries on their way to sinks; each sink gets all of its steps at once.
///
/// If it got one first, and its client then unsubscribed from that query, the other query would
/// show a common document in its older state.
#[derive(Default)]
pub(super) struct Deliveries {
    /// The queries, by slot, whose observers get a step.
    steps: Vec<(usize, Arc<Delta>)>,
    welcomed: Vec<Welcomed>,
}

/// A new observer of a query.
pub(super) struct Welcomed {
    pub(super) slot: usize,
    pub(super) key: u64,
    pub(super) observer: Observer,
    /// Its first documents.
    pub(super) initial: Arc<Delta>,
    /// Notified when they have been sent.
    pub(super) ready: Ready,
}

/// Notifies a subscriber that it has its first documents, or why it never will.
pub(super) type Ready = oneshot::Sender<Result<(), DdpError>>;

/// Who observes each query, by the queries' slots.
pub(super) trait Observers {
    fn key(&self, slot: usize) -> LiveQueryKey;

    /// Those of one sink come one after the other.
    fn of(&self, slot: usize) -> &[(u64, Observer)];
}

impl Deliveries {
    /// Adds a step for everyone who already observes the query.
    pub(super) fn step(&mut self, slot: usize, delta: &Arc<Delta>) {
        self.steps.push((slot, Arc::clone(delta)));
    }

    pub(super) fn welcome(&mut self, welcomed: Welcomed) {
        self.welcomed.push(welcomed);
    }

    /// Sends everything; returns the observers that now observe a query.
    pub(super) fn send(mut self, observers: &impl Observers) -> Vec<Welcomed> {
        // Mostly as clients came to them: a change that is shown by a session's earlier subscription
        // costs nothing in a later one, but not the other way around.
        self.steps.sort_by_key(|(slot, _)| observers.key(*slot));
        let mut steps: Vec<Step<'_>> = Vec::new();
        for (slot, delta) in &self.steps {
            let query = observers.key(*slot);
            let sinks = observers.of(*slot).chunk_by(|(_, a), (_, b)| a.address() == b.address());
            steps.extend(sinks.map(|of_one| of_one[0].1.step(query, delta)));
        }
        steps.extend(self.welcomed.iter().map(|new| {
            let query = observers.key(new.slot);
            new.observer.welcome(query, &new.initial)
        }));
        // A stable sort keeps the steps of a sink in order. It is fast, since each query's
        // observers are sorted already.
        steps.sort_by_key(Step::address);
        let mut courier = Courier::default();
        for all in steps.chunk_by(|a, b| a.address() == b.address()) {
            let sink = all[0].sink;
            if sink.leave(all) {
                courier.visit(sink);
            }
        }
        drop(courier);
        self.welcomed
    }
}
