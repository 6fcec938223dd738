//! The logged-in user.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// The id of the user who is logged in on the connection: Meteor's `this.userId`.
///
/// A handler that takes it requires a user: without one the client gets the error `not-authorized`.
/// Take `Option<UserId>` to serve everyone. A method logs its connection in with
/// [`Invocation::set_user_id`](super::Invocation::set_user_id).
///
/// A method gets the user at the time it starts, and a publication the user it runs for: when the
/// user changes, publications run again.
///
/// ```
/// use ddp_server::extract::{Invocation, Params, UserId};
/// use ddp_server::{Error, Server};
///
/// async fn login(invocation: Invocation, Params((token,)): Params<(String,)>) -> Result<(), Error> {
///     // An application looks the token up.
///     if token != "secret" {
///         return Err(Error::client(403, "Unknown token"));
///     }
///     invocation.set_user_id(Some("ada")).await
/// }
///
/// # #[cfg(not(feature = "testing"))]
/// # fn main() {}
/// # #[cfg(feature = "testing")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// use ddp_server::testing::Client;
///
/// let server = Server::builder()
///     .method("login", login)
///     .method("whoAmI", async |user: UserId| Ok::<_, Error>(user.to_string()))
///     .build();
/// let client = Client::connect(&server).await;
/// assert!(client.call::<String>("whoAmI", ()).await.is_err());
/// client.call::<()>("login", ("secret",)).await?;
/// assert_eq!(client.call::<String>("whoAmI", ()).await?, "ada");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for UserId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<UserId> for String {
    fn from(id: UserId) -> Self {
        id.as_str().to_owned()
    }
}

impl Deref for UserId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
