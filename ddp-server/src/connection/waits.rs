//! Tells the operator who waits for memory.

use super::results::For;
use crate::extract::Connection;
use crate::log::{Count, Log};
use crate::registry::Registry;

/// What helps clients whose subscriptions find no memory.
pub(super) const REMEDY: &str = "raise sessions_bytes_max; behind a proxy, set forwarded_count, or all \
    clients count as one address";

/// The same for calls.
const REMEDY_FOR_CALLS: &str = "raise large_messages_bytes_max; behind a proxy, set forwarded_count, \
    or all clients count as one address";

/// A `sub` of this client waits for memory from now on.
pub(super) fn sub(registry: &Registry, connection: &Connection) {
    registry.counters.subscriptions_waited.add(1);
    let more: Count = |_, _, count| {
        tracing::warn!(count, "subscriptions wait for memory");
    };
    if registry.log.admits("a subscription waits for memory", "", "", more) {
        let (session, client) = (connection.id(), connection.client_address());
        tracing::warn!(session, client, remedy = REMEDY, "a subscription waits for memory");
    }
}

/// A call of this method by this client waits from now on.
pub(super) fn call(log: &Log, connection: &Connection, method: &str, waits_for: For) {
    let (session, client) = (connection.id(), connection.client_address());
    match waits_for {
        For::Memory => {
            let more: Count = |method, _, count| {
                tracing::warn!(method, count, "calls wait for memory of their results");
            };
            if log.admits("a call waits for memory of its result", method, "", more) {
                let remedy = REMEDY_FOR_CALLS;
                tracing::warn!(
                    method,
                    session,
                    client,
                    remedy,
                    "a call waits for memory of its result"
                );
            }
        }
        For::First => {
            let more: Count = |method, _, count| {
                tracing::info!(method, count, "calls wait for the first result of their method");
            };
            if log.admits("a call waits for the first result of its method", method, "", more) {
                tracing::info!(
                    method,
                    session,
                    client,
                    "a call waits for the first result of its method"
                );
            }
        }
    }
}
