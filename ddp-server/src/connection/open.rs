//! The connections of a server.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::extract::Connection;

/// All open connections, and whether more are accepted.
pub(crate) struct OpenConnections {
    open: Mutex<HashMap<Arc<str>, Connection>>,
    count: watch::Sender<usize>,
    closing: watch::Sender<bool>,
}

impl Default for OpenConnections {
    fn default() -> Self {
        Self {
            open: Mutex::default(),
            count: watch::Sender::new(0),
            closing: watch::Sender::new(false),
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

    /// All currently open connections.
    pub(crate) fn all(&self) -> Vec<Connection> {
        self.open.lock().values().cloned().collect()
    }

    pub(crate) fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Closes all current and future connections, and waits until they are gone. Each limits its
    /// own end to `close_timeout`.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        for connection in self.all() {
            connection.close();
        }
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Whether the server is closing.
    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Completes when the server starts closing.
    pub(crate) async fn closing(&self) {
        let mut closing = self.closing.subscribe();
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = closing.wait_for(|closing| *closing).await;
    }
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
