//! How a connection ends.

use std::future::poll_fn;
use std::sync::Arc;

use ddp_core::Session;
use ddp_core::session::CloseReason;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::handlers::Running;
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::waits::REMEDY;
use crate::extract::Connection;
use crate::log::Count;
use crate::registry::Registry;
use crate::transport::{Transport, TransportError};

/// The code for a client that is given up, from the application's range.
const BEHIND: u16 = 3000;

/// The WebSocket close code for "try again later", from IANA's registry.
const TRY_AGAIN_LATER: u16 = 1013;

/// The code and reason with which Meteor's server ends a connection, by WebSocket and by SockJS.
pub(super) const CLOSED: (u16, &str) = (1000, "Normal closure");

/// How a connection ends.
pub(super) enum End {
    /// The client closed, broke the WebSocket protocol, or is gone.
    Gone,
    /// The server ends it with the closing handshake.
    Close(u16, String),
    /// The client takes nothing.
    Stalled,
}

impl End {
    /// The session wants it.
    pub(super) fn closing(registry: &Registry, session: &str, reason: CloseReason) -> Self {
        if reason == CloseReason::HeartbeatTimeout {
            registry.counters.disconnected_silent.add(1);
        }
        tracing::debug!(session, %reason, "closing");
        Self::Close(CLOSED.0, CLOSED.1.to_owned())
    }

    /// The client of this session is gone, with an error if its connection was lost.
    pub(super) fn gone(session: &str, error: Option<TransportError>) -> Self {
        match error {
            Some(error) => tracing::debug!(session, %error, "connection lost"),
            None => tracing::debug!(session, "closed by the client"),
        }
        Self::Gone
    }

    /// Too much waits for the client of this session.
    pub(super) fn behind(registry: &Registry, session: &str) -> Self {
        registry.counters.disconnected_behind.add(1);
        let messages_max = registry.config.outbox_messages_max;
        let more: Count = |_, _, count| {
            tracing::info!(count, "disconnected: too far behind");
        };
        if registry.log.admits("disconnected: too far behind", "", "", more) {
            tracing::info!(session, messages_max, "disconnected: too far behind");
        }
        Self::Close(BEHIND, "too far behind".to_owned())
    }

    /// A `sub` of this client has waited for memory for too long.
    pub(super) fn waited(registry: &Registry, connection: &Connection) -> Self {
        registry.counters.disconnected_waiting.add(1);
        let more: Count = |_, _, count| {
            tracing::warn!(count, "disconnected: a subscription waited for memory for a minute");
        };
        let what = "disconnected: a subscription waited for memory";
        if registry.log.admits(what, "", "", more) {
            let (session, client) = (connection.id(), connection.client_address());
            tracing::warn!(
                session,
                client,
                remedy = REMEDY,
                "disconnected: a subscription waited for memory for a minute"
            );
        }
        Self::Close(TRY_AGAIN_LATER, "no memory for a subscription".to_owned())
    }

    /// Ends the connection.
    pub(super) fn finish(
        self,
        session: Session,
        running: Running,
        mut outbound: Outbound,
        inbound: Inbound,
        registry: Arc<Registry>,
    ) -> BoxFuture<'static, ()> {
        async move {
            match self {
                Self::Gone => {}
                Self::Close(code, reason) => outbound.transport.close(code, &reason),
                Self::Stalled => return gave_up(&registry, session.id()),
            }
            // Publications end now, not when the client has answered.
            drop(running);
            drop(session);
            // What waits for the socket counts for as long as it is there.
            let counted = inbound.leave(&outbound);
            let closed = poll_fn(|cx| outbound.transport.poll_closed(cx));
            // A client that does not answer, or a broken socket, is simply dropped.
            let _ = tokio::time::timeout(registry.config.close_timeout, closed).await;
            drop(outbound);
            drop(counted);
        }
        .boxed()
    }
}

/// The client of this session took nothing for too long.
fn gave_up(registry: &Registry, session: &str) {
    registry.counters.disconnected_stalled.add(1);
    let timeout = registry.config.write_timeout;
    let more: Count = |_, _, count| {
        tracing::info!(count, "disconnected: took nothing");
    };
    if registry.log.admits("disconnected: took nothing", "", "", more) {
        tracing::info!(session, ?timeout, "disconnected: took nothing");
    }
}
