//! The two ends of observing a live query.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use ddp_core::merge_box::Source;
use ddp_core::session::{Event, Input, Output};
use ddp_core::{DdpError, Delta, Session, SubscriptionKey};

use super::queries::{LiveQuery, Ready};
use crate::courier::Courier;
use crate::mailbox::{Mail, Mailbox};

/// Where a live query's deltas go: a subscription of a session. Cheap to clone.
#[derive(Clone)]
pub struct Observer {
    mailbox: Arc<Mailbox>,
    subscription: SubscriptionKey,
    source: Source,
}

impl Observer {
    pub(crate) fn new(
        mailbox: Arc<Mailbox>,
        subscription: SubscriptionKey,
        source: Source,
    ) -> Self {
        Self { mailbox, subscription, source }
    }

    /// An observer whose documents nobody reads, for benchmarks.
    #[doc(hidden)]
    #[must_use]
    pub fn detached() -> Option<Self> {
        let now = std::time::Instant::now();
        let mut session = Session::new(String::new(), Default::default(), now);
        let connect = r#"{"msg":"connect","version":"1","support":["1"]}"#;
        session.handle_input(Input::Message(now, connect));
        session.handle_input(Input::Message(now, r#"{"msg":"sub","id":"1","name":"detached"}"#));
        loop {
            match session.poll_output() {
                Output::Event(Event::Subscribe { subscription, .. }) => {
                    let mailbox = Arc::new(Mailbox::new(1, 1, Arc::default()));
                    return Some(Self::new(mailbox, subscription, Source::Cursor));
                }
                Output::Timeout(_) => return None,
                _ => {}
            }
        }
    }

    /// The next step of the documents. A session that lags loses steps, not the state that they lead
    /// to.
    fn mail(&self, delta: &Arc<Delta>) -> Mail {
        Mail::Delta(self.subscription, self.source, Arc::clone(delta))
    }

    /// Tells sessions apart.
    pub(super) fn session(&self) -> *const Mailbox {
        Arc::as_ptr(&self.mailbox)
    }

    /// Ends the subscription with an error, since its documents can't be kept up to date any more.
    pub fn fail(&self, error: DdpError) {
        self.mailbox.push(Mail::Stop(self.subscription, Some(Box::new(error))));
    }
}

/// The steps of several queries on their way to sessions, each of which gets all of its own at once.
///
/// If it got one first, and its client then unsubscribed from that query, a document that both have
/// would be shown as it was before in the other.
#[derive(Default)]
pub(super) struct Deliveries {
    /// The queries, by their slots, whose observers go one step on.
    steps: Vec<(usize, Arc<Delta>)>,
    welcomed: Vec<Welcomed>,
}

/// A subscriber that observes a query from now on.
pub(super) struct Welcomed {
    pub(super) slot: usize,
    pub(super) key: u64,
    pub(super) observer: Observer,
    /// Its first documents.
    pub(super) initial: Arc<Delta>,
    /// Told when they have been sent.
    pub(super) ready: Ready,
}

impl Deliveries {
    /// Adds a step for all who observe the query already.
    pub(super) fn step(&mut self, slot: usize, delta: &Arc<Delta>) {
        self.steps.push((slot, Arc::clone(delta)));
    }

    pub(super) fn welcome(&mut self, welcomed: Welcomed) {
        self.welcomed.push(welcomed);
    }

    pub(super) fn send<R>(self, slots: &mut [Option<LiveQuery<R>>]) {
        let mut steps: Vec<(&Observer, &Arc<Delta>)> = Vec::new();
        for (slot, delta) in &self.steps {
            let observers = slots[*slot].iter().flat_map(|live| &live.observers);
            steps.extend(observers.map(|(_, observer)| (observer, delta)));
        }
        steps.extend(self.welcomed.iter().map(|new| (&new.observer, &new.initial)));
        // Stable: the steps of a session stay in order. Fast, since each query's observers are sorted.
        steps.sort_by_key(|(observer, _)| observer.session());
        let mut courier = Courier::default();
        for all in steps.chunk_by(|(a, _), (b, _)| a.session() == b.session()) {
            let mail = all.iter().map(|(observer, delta)| observer.mail(delta));
            let mailbox = &all[0].0.mailbox;
            if mailbox.leave(mail) {
                courier.visit(mailbox);
            }
        }
        drop(courier);
        for Welcomed { slot, key, observer, ready, .. } in self.welcomed {
            if let Some(live) = &mut slots[slot] {
                live.observers.push((key, observer));
                live.is_sorted = false;
            }
            // A subscriber that has gone meanwhile needs no answer.
            let _ = ready.send(Ok(()));
        }
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.subscription).finish()
    }
}

/// Keeps a live query observed until dropped.
pub struct Observation(#[expect(dead_code, reason = "held for its drop")] Box<dyn Any + Send>);

impl Observation {
    /// An observation that ends when `guard` is dropped.
    pub fn new(guard: impl Send + 'static) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observation").finish_non_exhaustive()
    }
}
