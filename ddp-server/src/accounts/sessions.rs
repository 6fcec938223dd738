//! The sessions of a user, and sessions as another user.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::core::{Core, later, now};
use super::handle::AccountsHandle;
use super::handler::Login;
use super::held::{Held, Impersonator};
use super::login::{Call, connection_of};
use super::store::{TokenHash, Tokens};
use crate::ejson::{Date, RawParams};
use crate::error::Error;
use crate::extract::{Connection, Invocation};

/// How long a session as another user lasts at most.
const IMPERSONATION_MAX: Duration = Duration::from_secs(12 * 60 * 60);

/// A connection of a user.
#[derive(Clone)]
#[non_exhaustive]
pub struct UserSession {
    /// The connection, which has its id, its [address](Connection::client_address) and, among its
    /// [headers](Connection::headers), the `user-agent`.
    pub connection: Connection,
    /// When it logged in.
    pub since: Date,
    /// The id of the user who [logged in as](AccountsHandle::login_as) this one, if somebody did.
    pub impersonated_by: Option<String>,
}

impl AccountsHandle {
    /// The connections of this server that are logged in as a user, the newest login first. Those
    /// without a login token, which a method of the application has logged in by
    /// [`Invocation::set_user_id`], are not among them. It looks at all connections of the server.
    #[must_use]
    pub fn sessions(&self, user_id: &str) -> Vec<UserSession> {
        let sessions = self.core.held.sessions(user_id).into_iter().map(|(connection, held)| {
            let impersonated_by = held.impersonated_by.map(|by| by.user_id.to_string());
            UserSession { connection, since: held.since, impersonated_by }
        });
        let mut sessions: Vec<UserSession> = sessions.collect();
        sessions.sort_by_key(|session| std::cmp::Reverse(session.since.millis()));
        sessions
    }

    /// Ends the login token of a connection of this server, and says whether it had one: the
    /// connection is closed, as is every other one with this token, on every server. For all sessions
    /// of a user there is [`logout_user`](Self::logout_user).
    ///
    /// # Errors
    /// If the store fails.
    pub async fn logout_session(&self, connection_id: &str) -> Result<bool, Error> {
        let Some(Held { hash, user_id, .. }) = self.core.held.of_id(connection_id) else {
            return Ok(false);
        };
        let removed = self.core.store.remove_login_tokens(&user_id, &Tokens::One(hash)).await?;
        Ok(removed > 0)
    }

    /// Logs the client of a method in as another user, for support. Who may do that is for the method
    /// to decide:
    ///
    /// ```
    /// use ddp_server::accounts::AccountsHandle;
    /// use ddp_server::extract::{Invocation, Params, UserId};
    /// use ddp_server::{Error, State};
    ///
    /// async fn login_as(
    ///     State(accounts): State<AccountsHandle>,
    ///     invocation: Invocation,
    ///     me: UserId,
    ///     Params((user_id,)): Params<(String,)>,
    /// ) -> Result<(), Error> {
    ///     if me.as_str() != "the id of somebody at the help desk" {
    ///         return Err(Error::client(403, "Only the help desk may do this"));
    ///     }
    ///     accounts.login_as(&invocation, &user_id).await
    /// }
    /// ```
    ///
    /// Hooks are asked and told as for any login, of the type `impersonation`, with
    /// [`impersonated_by`](super::Attempt::impersonated_by); the log tells it at level `info`. The
    /// client gets no token: it is the other user until it disconnects or logs in again, at most for
    /// 12 hours and as long as its own token is good, and cannot have new tokens of that user or end
    /// others. What a page shows follows with
    /// `Meteor.connection.setUserId(id)`.
    ///
    /// # Errors
    /// `Must be logged in` (401), by a login token; `User not found`, `Login forbidden` (403) and those of the hooks; if
    /// no client called the method, or it has unblocked.
    pub async fn login_as(&self, invocation: &Invocation, user_id: &str) -> Result<(), Error> {
        let core = &self.core;
        let connection = connection_of(invocation)?;
        let me = invocation.user_id().ok_or_else(|| Error::client(401, "Must be logged in"))?;
        // It ends with the token of who does it, so there must be one.
        let before = core.held.of(connection).filter(|held| *held.user_id == *me);
        let Some(Held { hash, user_id: my_id, impersonated_by, .. }) = before else {
            return Err(Error::client(401, "Must be logged in by a login token"));
        };
        // Whoever does it as somebody else is still the same person.
        let by = impersonated_by.unwrap_or(Impersonator { user_id: my_id, hash });
        let expires = later(now(), IMPERSONATION_MAX);
        let login = Login::user(user_id).expires(expires).by(by.clone());
        let arguments = RawParams::default();
        let call = Call { invocation, name: "login_as", arguments: &arguments };
        let ended = Box::pin(core.end_attempt(call, "impersonation".into(), Ok(login))).await;
        if ended.is_err() && core.held.of(connection).is_none() {
            // It would stay logged in without a token by which it can be logged out.
            connection.close();
        }
        ended?;
        let session = connection.id();
        tracing::info!(
            user = user_id,
            impersonated_by = &*by.user_id,
            session,
            "logged in as another user"
        );
        if let Some(Held { hash, .. }) = core.held.of(connection) {
            core.forget_with(connection, user_id, hash);
        }
        Ok(())
    }

    /// The id of the user who has [logged in as](Self::login_as) another one on this connection, so
    /// that a method can refuse what only the user itself may do.
    #[must_use]
    pub fn impersonated_by(&self, connection: &Connection) -> Option<String> {
        let held = self.core.held.of(connection)?;
        Some(held.impersonated_by?.user_id.to_string())
    }
}

impl Core {
    /// Removes a token when a connection ends, which nobody could use any longer.
    fn forget_with(self: &Arc<Self>, connection: &Connection, user_id: &str, hash: TokenHash) {
        let (core, user_id) = (Arc::clone(self), user_id.to_owned());
        connection.on_close(move || {
            tokio::spawn(async move {
                let removed = core.store.remove_login_tokens(&user_id, &Tokens::One(hash)).await;
                if let Err(error) = removed {
                    // It ends by itself, later.
                    tracing::warn!(%error, "a token could not be removed");
                }
            });
        });
    }
}

impl fmt::Debug for UserSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserSession")
            .field("connection", &self.connection)
            .field("since", &self.since)
            .field("impersonated_by", &self.impersonated_by)
            .finish()
    }
}
