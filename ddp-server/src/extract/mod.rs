//! What handlers may take as arguments.

mod by_hand;
mod connection;
mod invocation;
mod params;
mod subscription;
mod user_id;

pub use connection::Connection;
pub use invocation::Invocation;
pub use params::Params;
pub use subscription::Subscription;
pub use user_id::UserId;

pub use axum::extract::{FromRef, State};

use crate::error::Error;

/// An argument of a handler, made from the context `C` of the call ([`PublicationContext`] or
/// [`MethodContext`]) and the application's state `S`.
///
/// [`PublicationContext`]: crate::PublicationContext
/// [`MethodContext`]: crate::MethodContext
pub trait FromContext<C, S>: Sized {
    /// Makes the argument.
    ///
    /// # Errors
    /// What the client gets instead of a run of the handler.
    fn from_context(context: &C, state: &S) -> Result<Self, Error>;
}

impl<C, S, T: FromRef<S>> FromContext<C, S> for State<T> {
    fn from_context(_: &C, state: &S) -> Result<Self, Error> {
        Ok(Self(T::from_ref(state)))
    }
}
