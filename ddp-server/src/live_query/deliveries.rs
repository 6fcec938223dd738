//! The steps of several queries on their way to sinks.

use std::sync::Arc;

use ddp_core::{DdpError, Delta};
use futures::channel::oneshot;

use super::courier::Courier;
use super::observer::Observer;
use super::sink::Step;

/// The steps of several queries on their way to sinks; each sink gets all of its steps at once.
///
/// If it got one first, and its client then unsubscribed from that query, a document that both have
/// would be shown as it was before in the other.
#[derive(Default)]
pub(super) struct Deliveries {
    /// The queries, by their slots, whose observers go one step on.
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
    /// Told when they have been sent.
    pub(super) ready: Ready,
}

/// Tells a subscriber that it has been given its first documents, or why it never will.
pub(super) type Ready = oneshot::Sender<Result<(), DdpError>>;

/// Who observes each query, by the queries' slots.
pub(super) trait Observers {
    fn of(&self, slot: usize) -> &[(u64, Observer)];
}

impl Deliveries {
    /// Adds a step for all who observe the query already.
    pub(super) fn step(&mut self, slot: usize, delta: &Arc<Delta>) {
        self.steps.push((slot, Arc::clone(delta)));
    }

    pub(super) fn welcome(&mut self, welcomed: Welcomed) {
        self.welcomed.push(welcomed);
    }

    /// Sends everything; returns the observers that now observe a query.
    pub(super) fn send(self, observers: &impl Observers) -> Vec<Welcomed> {
        let mut steps: Vec<Step<'_>> = Vec::new();
        for (slot, delta) in &self.steps {
            let observers = observers.of(*slot).iter();
            steps.extend(observers.map(|(_, observer)| observer.step(delta)));
        }
        steps.extend(self.welcomed.iter().map(|new| new.observer.step(&new.initial)));
        // Stable: the steps of a sink stay in order. Fast, since each query's observers are sorted.
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
