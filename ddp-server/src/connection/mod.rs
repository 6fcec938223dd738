//! A client's connection: its session, its transport, and what is waiting for it.
//!
//! ```text
//!             steps of live queries, results of handlers
//!                               │
//!  client ◄─► transport ◄─► driver ◄─ mailbox ◄─ couriers, handlers
//!                               │
//!                            session
//! ```
//!
//! The connection's task polls the driver. Couriers, which bring one change to many sessions,
//! borrow it for that. The life of a slow client:
//!
//! | | what happens |
//! |---|---|
//! | keeps up | each step is sent as it comes |
//! | lagging | its socket is full: nothing is read from it, and if too many steps are waiting, only
//! the newest of each subscription are kept; once it takes something, it is sent the difference |
//! | stalled | it takes nothing at all; after `write_timeout` it is disconnected |
//! | gone | publications end, and whatever was waiting is dropped; methods run to their end |

pub(crate) mod check;
mod delivery;
mod driver;
mod end;
pub(crate) mod handlers;
mod inbound;
mod input;
pub(crate) mod kept;
pub(crate) mod mail;
pub(crate) mod mailbox;
pub(crate) mod open;
mod outbound;
pub(crate) mod results;
#[cfg(all(test, feature = "testing"))]
mod tests;
mod together;
mod tray;
mod waits;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Instant;

use ddp_core::Session;
use tracing::{Instrument, Span};

use self::driver::Driver;
use self::handlers::Running;
use self::mailbox::Mailbox;
use crate::arrivals::Stage;
use crate::extract::Connection;
use crate::random;
use crate::registry::Registry;
use crate::transport::AnyTransport;
use crate::transport::open::ConnectionInfo;

/// Serves one client from its opening to its end. The future is all that its task keeps, so what is
/// used only at the beginning stays out of it.
pub(crate) fn run(
    registry: Arc<Registry>,
    transport: AnyTransport,
    mut info: ConnectionInfo,
) -> impl Future<Output = ()> + Send + 'static {
    let id = random::id();
    let (path, protocol) = (std::mem::take(&mut info.path), info.protocol);
    let config = &registry.config;
    let counters = Arc::clone(&registry.counters);
    counters.connections_opened.add(1);
    let (deltas_max, exact_max) = (config.outbox_deltas_max, config.outbox_messages_max);
    let mailbox = Arc::new(Mailbox::new(deltas_max, exact_max, counters));
    let address = info.address();
    let connection = Connection::new(&id, info, Arc::clone(&mailbox));
    let span = opened(&connection, path, protocol);
    let registration = registry.open.register(&connection);
    let closed = Closed(connection.clone(), span);
    let session = Session::new(id, Arc::clone(&registry.session_config), Instant::now());
    let running = Running::new(Arc::clone(&registry), connection, address.clone());
    let arrival = registry.arrivals.arrive(Stage::Session);
    let driver = Driver::new(session, running, transport, Arc::clone(&mailbox), registry, address);
    mailbox.seat(Box::new(driver));
    async move {
        // Dropped in this order: the connection counts until its `on_close` has run.
        let (closed, _registration) = (&closed, &registration);
        let driven = poll_fn(|cx| closed.1.in_scope(|| mailbox.poll_driver(cx)));
        arrival.run(driven, || mailbox.has_settled()).await;
        if let Some(driver) = mailbox.unseat() {
            driver.end().instrument(closed.1.clone()).await;
        }
    }
}

/// Logs that a client has connected. Returns the span for everything logged on its connection:
/// `meteor.connection{session="…" client="…" transport="…"}`.
fn opened(connection: &Connection, path: String, protocol: &str) -> Span {
    let session = connection.id();
    let client = connection.client_address();
    let span = tracing::info_span!("meteor.connection", session, client, transport = protocol);
    let user_agent = connection.headers().get("user-agent");
    tracing::debug!(parent: &span, session, path, user_agent, "opened");
    span
}

/// Logs the end of a connection, however it ends.
struct Closed(Connection, Span);

impl Drop for Closed {
    fn drop(&mut self) {
        self.1.in_scope(|| self.0.closed());
    }
}
