//! The two ends of observing a live query.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use ddp_core::merge_box::Source;
use ddp_core::session::{Event, Input, Output};
use ddp_core::{DdpError, Delta, Session, SubscriptionKey};

use super::queries::Ready;
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
                    let mailbox = Arc::new(Mailbox::new(1, 1));
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

    /// Ends the subscription with an error, since its documents can't be kept up to date any more.
    pub fn fail(&self, error: DdpError) {
        self.mailbox.push(Mail::Stop(self.subscription, Some(error)));
    }
}

/// The steps of several queries on their way to sessions, each of which gets all of its own at once.
///
/// If it got one first, and its client then unsubscribed from that query, a document that both have
/// would be shown as it was before in the other.
#[derive(Default)]
pub(super) struct Deliveries {
    steps: Vec<(Observer, Arc<Delta>)>,
    /// Subscribers for which these are the first documents.
    welcomed: Vec<Ready>,
}

impl Deliveries {
    pub(super) fn add(&mut self, observer: &Observer, delta: &Arc<Delta>) {
        self.steps.push((observer.clone(), Arc::clone(delta)));
    }

    /// Adds the first documents of a subscriber, who is told when they have been sent.
    pub(super) fn welcome(&mut self, observer: &Observer, initial: &Arc<Delta>, ready: Ready) {
        self.add(observer, initial);
        self.welcomed.push(ready);
    }

    pub(super) fn send(mut self) {
        let mailbox = |observer: &Observer| Arc::as_ptr(&observer.mailbox);
        // Stable: the steps of a session stay in order.
        self.steps.sort_by_key(|(observer, _)| mailbox(observer));
        for all in self.steps.chunk_by(|(a, _), (b, _)| mailbox(a) == mailbox(b)) {
            if let Some((observer, _)) = all.first() {
                observer.mailbox.push_all(all.iter().map(|(observer, delta)| observer.mail(delta)));
            }
        }
        for ready in self.welcomed {
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
