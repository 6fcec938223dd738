//! The connections of a server, and its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::extract::Connection;

/// How much longer it takes to tell one client more to go: a thousand go in a second.
const PACE: Duration = Duration::from_millis(1);

/// How long clients may take for the closing handshake if nothing is waited for.
const AT_ONCE: Duration = Duration::from_millis(500);

/// All open connections, and whether more are accepted.
pub(crate) struct OpenConnections {
    open: Mutex<HashMap<Arc<str>, Connection>>,
    count: watch::Sender<usize>,
    /// Methods that have tasks of their own, also those whose clients have left.
    methods: watch::Sender<usize>,
    phase: watch::Sender<Phase>,
    /// Whether nothing is waited for any longer.
    is_urgent: watch::Sender<bool>,
}

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    /// Clients are told to go, one after the other; each goes when its methods have ended.
    Draining,
    Closed,
}

/// How long a server that closes waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For methods under way.
    pub(crate) methods: Duration,
    /// From the first client that is told to go to the last one.
    pub(crate) spread: Duration,
}

impl Default for OpenConnections {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            count: watch::Sender::new(0),
            methods: watch::Sender::new(0),
            phase: watch::Sender::new(Phase::Open),
            is_urgent: watch::Sender::new(false),
        }
    }
}

impl OpenConnections {
    /// Registers a connection until the returned value is dropped.
    pub(crate) fn register(self: &Arc<Self>, connection: &Connection) -> Registration {
        let mut open = self.open.lock();
        open.insert(Arc::clone(connection.shared_id()), connection.clone());
        self.count.send_replace(open.len());
        drop(open);
        if self.is_closing() {
            connection.close();
        }
        Registration { connections: Arc::clone(self), id: Arc::clone(connection.shared_id()) }
    }

    /// Counts a method until the returned value is dropped.
    pub(crate) fn begin_method(self: &Arc<Self>) -> RunningMethod {
        self.methods.send_modify(|count| *count += 1);
        RunningMethod(Arc::clone(self))
    }

    /// How many have not ended.
    #[cfg(all(test, feature = "testing"))]
    pub(crate) fn methods(&self) -> usize {
        *self.methods.borrow()
    }

    /// All currently open connections.
    pub(crate) fn all(&self) -> Vec<Connection> {
        self.open.lock().values().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Closes all current and future connections, and waits until they are gone: each is told to go
    /// in its turn, and goes when its methods have ended, or at the latest when patience is at its
    /// end. Closing goes on if nobody waits for it any longer.
    pub(crate) async fn close(self: &Arc<Self>, patience: Patience) {
        if self.advance(Phase::Draining) {
            tokio::spawn(Arc::clone(self).run_close(patience));
        }
        self.closed().await;
    }

    /// The same at once, also if it is closing already.
    pub(crate) async fn close_now(self: &Arc<Self>) {
        self.is_urgent.send_replace(true);
        self.close(Patience { methods: Duration::ZERO, spread: Duration::ZERO }).await;
    }

    async fn run_close(self: Arc<Self>, patience: Patience) {
        tokio::select! {
            biased;
            () = self.urgent() => {
                self.close_all();
                // Whoever does not answer in time is left.
                let _ = timeout(AT_ONCE, zero(&self.count)).await;
            }
            () = self.drain(patience) => {}
        }
        self.advance(Phase::Closed);
    }

    async fn drain(&self, patience: Patience) {
        let clients = self.all();
        let all = u32::try_from(clients.len()).unwrap_or(u32::MAX);
        let pace = PACE.min(patience.spread / all.max(1));
        let begun = Instant::now();
        for (number, client) in (0..).zip(clients) {
            sleep_until(begun + pace * number).await;
            client.drain();
        }
        let ended = async { tokio::join!(zero(&self.count), zero(&self.methods)) };
        if timeout(patience.methods, ended).await.is_err() {
            let (clients, methods) = (self.count(), *self.methods.borrow());
            tracing::warn!(clients, methods, "closing without waiting any longer for methods");
            self.close_all();
        }
        // Each limits its own end to `close_timeout`.
        zero(&self.count).await;
    }

    fn close_all(&self) {
        for client in self.all() {
            client.close();
        }
    }

    /// Whether this begins the phase, and it was not reached before.
    fn advance(&self, to: Phase) -> bool {
        self.phase.send_if_modified(|phase| *phase < to && std::mem::replace(phase, to) < to)
    }

    /// Whether the server is closing.
    pub(crate) fn is_closing(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Completes when the server starts closing.
    pub(crate) async fn closing(&self) {
        self.wait_for(Phase::Draining).await;
    }

    /// Completes when the server has closed.
    pub(crate) async fn closed(&self) {
        self.wait_for(Phase::Closed).await;
    }

    /// Completes when nothing is to be waited for any longer.
    pub(crate) async fn urgent(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.is_urgent.subscribe().wait_for(|is_urgent| *is_urgent).await;
    }

    async fn wait_for(&self, phase: Phase) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }
}

/// Waits until nothing is left.
async fn zero(count: &watch::Sender<usize>) {
    // The sender is borrowed, so waiting cannot fail.
    let _ = count.subscribe().wait_for(|count| *count == 0).await;
}

pub(crate) struct Registration {
    connections: Arc<OpenConnections>,
    id: Arc<str>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        let connection = open.remove(&self.id);
        self.connections.count.send_replace(open.len());
        drop(open);
        drop(connection);
    }
}

/// A method that the server's end waits for.
pub(crate) struct RunningMethod(Arc<OpenConnections>);

impl Drop for RunningMethod {
    fn drop(&mut self) {
        self.0.methods.send_modify(|count| *count -= 1);
    }
}
