//! What handlers may take as arguments.
//!
//! A handler names what it needs, in any order:
//!
//! ```
//! use ddp_server::extract::{Params, UserId};
//! use ddp_server::{Collection, Cursor, Error, MemoryCollection, Server, State, field};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Task {
//!     owner: String,
//!     text: String,
//! }
//! type Tasks = MemoryCollection<Task>;
//!
//! async fn mine(State(tasks): State<Tasks>, user: UserId) -> Cursor<Task> {
//!     tasks.find().filter(field("owner").eq(user.as_str()))
//! }
//!
//! async fn insert(
//!     State(tasks): State<Tasks>,
//!     user: UserId,
//!     Params((text,)): Params<(String,)>,
//! ) -> Result<String, Error> {
//!     tasks.insert(&Task { owner: user.into(), text })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Error> {
//! let server = Server::builder()
//!     .publish("tasks.mine", mine)
//!     .method("tasks.insert", insert)
//!     .with_state(MemoryCollection::new(&Collection::new("tasks")));
//!
//! // The server calls without a user, so `UserId` refuses.
//! let refused = server.call::<String>("tasks.insert", ("Water the plants",)).await.unwrap_err();
//! assert_eq!(refused.reason(), Some("You must be logged in"));
//! # Ok(())
//! # }
//! ```

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
/// An implementation may be an `async fn`, so a guard can query the database before the handler
/// runs. Arguments are made one after another, in the handler's order.
///
/// [`PublicationContext`]: crate::PublicationContext
/// [`MethodContext`]: crate::MethodContext
///
/// A guard:
///
/// ```
/// use std::collections::HashSet;
/// use std::sync::Arc;
///
/// use ddp_server::extract::{FromContext, UserId};
/// use ddp_server::{Error, MethodContext, Server};
///
/// #[derive(Clone)]
/// struct App {
///     admins: Arc<HashSet<String>>,
/// }
///
/// struct Admin;
///
/// impl FromContext<MethodContext, App> for Admin {
///     async fn from_context(context: &MethodContext, app: &App) -> Result<Self, Error> {
///         let user = UserId::from_context(context, app).await?;
///         if !app.admins.contains(user.as_str()) {
///             return Err(Error::client("not-authorized", "Only admins may do this"));
///         }
///         Ok(Self)
///     }
/// }
///
/// let server = Server::builder()
///     .method("rebuild", async |_: Admin| Ok::<_, Error>("done"))
///     .with_state(App { admins: Arc::default() });
/// # let _ = server;
/// ```
///
/// # When a right ends
///
/// A guard of a publication decides for the moment of subscribing. It is asked again only when the
/// user changes, so a subscription outlives the right that allowed it. Where a right can end, let the
/// query's predicate decide, which is live; or follow the document that grants the right by
/// [`Cursor::observe`](crate::Cursor::observe) and end the subscription by [`Subscription::error`].
/// `examples/src/bin/membership.rs` has such a guard; "Permissions" in the guide `operations` of
/// `ddp-postgres` has the other ways.
pub trait FromContext<C, S>: Sized {
    /// Makes the argument.
    ///
    /// # Errors
    /// The error that the client gets; the handler does not run.
    fn from_context(context: &C, state: &S) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Says which of the client's arguments this one takes, if it takes any.
    fn describe(_signature: &mut Signature) {}
}
