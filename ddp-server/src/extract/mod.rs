//! What handlers may take as arguments.

mod arguments;
mod by_hand;
pub(crate) mod connection;
pub(crate) mod invocation;
mod params;
pub(crate) mod subscription;
mod user_id;

pub use connection::Connection;
pub use invocation::Invocation;
pub use params::Params;
pub use subscription::Subscription;
pub use user_id::UserId;

pub use axum::extract::{FromRef, State};

use std::future::Future;

use crate::error::Error;
use crate::signature::Signature;

/// An argument of a handler, made from the context `C` of the call ([`PublicationContext`] or
/// [`MethodContext`]) and the application's state `S`.
///
/// An implementation may be an `async fn`, so that a guard can ask the database before the handler
/// runs. Arguments are made one after the other, in the order in which the handler takes them.
///
/// [`PublicationContext`]: crate::PublicationContext
/// [`MethodContext`]: crate::MethodContext
pub trait FromContext<C, S>: Sized {
    /// Makes the argument.
    ///
    /// # Errors
    /// What the client gets instead of a run of the handler.
    fn from_context(context: &C, state: &S) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Says which of the client's arguments this one takes, if it takes any.
    fn describe(_signature: &mut Signature) {}
}
