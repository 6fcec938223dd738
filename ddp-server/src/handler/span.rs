//! Spans around handlers, so that a line that one of them logs says what ran, and for whom.

use std::future::Future;
use std::pin::Pin;

use tracing::{Instrument, Span};

use crate::extract::{Connection, Subscription};
use crate::handler::MethodContext;

/// Around a call of a method: `meteor.method{method="tasks.insert" session="…" user="…"}`. Without a
/// client there is no session, and without a login no user.
pub(crate) fn method(context: &MethodContext) -> Span {
    let MethodContext { name, invocation, .. } = context;
    // The macro evaluates the fields only if a subscriber listens.
    tracing::info_span!(
        "meteor.method",
        method = &**name,
        session = invocation.connection().map(Connection::id),
        user = invocation.user_id().as_deref(),
    )
}

/// Around a run of a publication: `meteor.publication{publication="tasks" session="…" user="…"}`.
pub(crate) fn publication(subscription: &Subscription) -> Span {
    tracing::info_span!(
        "meteor.publication",
        publication = subscription.request().log_name(),
        session = subscription.connection().id(),
        user = subscription.user_id().map(|user_id| user_id.as_str()),
    )
}

/// Runs a handler within its span, which costs nothing without a subscriber.
pub(crate) fn within<T: 'static>(
    span: Span,
    handler: impl Future<Output = T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = T> + Send>> {
    if span.is_disabled() { Box::pin(handler) } else { Box::pin(handler.instrument(span)) }
}
