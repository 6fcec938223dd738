//! An attempt to log in, as hooks see it.

use std::fmt;
use std::sync::Arc;

use ddp_core::DdpError;

use super::store::User;
use crate::ejson::{Ejson, Object, RawParams};
use crate::error::Error;
use crate::extract::Connection;

/// An attempt to log in: the argument of Meteor's login hooks. `Debug` leaves out its arguments, which
/// have passwords and tokens in them.
#[derive(Clone)]
#[non_exhaustive]
pub struct Attempt {
    /// The service: `password`, `resume`, or the name of a
    /// [handler](super::Accounts::register_login_handler).
    pub r#type: Arc<str>,
    /// Whether it succeeds, as far as is known.
    pub allowed: bool,
    /// Why it does not.
    pub error: Option<Arc<Error>>,
    /// Who logs in, if that is known.
    pub user: Option<User>,
    /// The method that was called, such as `login` or `createUser`.
    pub method_name: &'static str,
    /// The connection that it was called on; `None` if no client called it.
    pub connection: Option<Connection>,
    /// The id of the user who [logs in as](super::AccountsHandle::login_as) this one, if somebody does.
    pub impersonated_by: Option<Arc<str>>,
    pub(super) arguments: RawParams,
}

impl Attempt {
    /// The method's arguments as the client sent them, with its password or token. They take up to
    /// thirty times the memory of what was sent.
    #[must_use]
    pub fn method_arguments(&self) -> Vec<Ejson> {
        self.arguments.read().unwrap_or_default()
    }

    /// Refuses it, unless it is refused already.
    pub(super) fn forbid(&mut self) {
        self.allowed = false;
        self.error.get_or_insert_with(|| Arc::new(Error::client(403, "Login forbidden")));
    }

    pub(super) fn fail(&mut self, error: Error) {
        self.allowed = false;
        self.error = Some(Arc::new(error));
    }

    /// The error that ends it.
    pub(super) fn into_error(self) -> Error {
        let error = self.error.unwrap_or_else(|| Arc::new(Error::client(403, "Login forbidden")));
        // A hook may have kept it.
        Arc::try_unwrap(error).unwrap_or_else(|error| match error.code() {
            Some(code) => {
                let details = error.details().map(str::to_owned);
                let reason = error.reason().unwrap_or_default();
                DdpError { details, ..DdpError::new(code.clone(), reason) }.into()
            }
            None => Error::internal(error.to_string()),
        })
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("type", &self.r#type)
            .field("allowed", &self.allowed)
            .field("error", &self.error)
            .field("user", &self.user.as_ref().map(|user| &user.id))
            .field("method_name", &self.method_name)
            .field("connection", &self.connection)
            .field("impersonated_by", &self.impersonated_by)
            .finish_non_exhaustive()
    }
}

/// A logout: the argument of Meteor's `onLogout`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Logout {
    /// Who logged out; `None` if nobody was logged in, or the user is gone.
    pub user: Option<User>,
    /// The connection that is logged out.
    pub connection: Option<Connection>,
}

/// A user that a client wants to be created: the arguments of Meteor's `onCreateUser`.
#[derive(Clone)]
#[non_exhaustive]
pub struct Creation {
    /// What the client or the server gave to `createUser`, but for the password. A client can put
    /// anything into it.
    pub options: Ejson,
    /// The user as it will be, without a profile: without a hook, that is `options.profile`.
    pub user: User,
    /// What login services tell of the user, by their names: Meteor's `user.services`. It is empty if
    /// the user has a password instead.
    pub services: Object,
}

impl fmt::Debug for Creation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Creation").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A token by which a user can log in, for an application that sends it by another way than mail: the
/// argument of Meteor's `onCreateLoginToken`. `Debug` does not show it.
#[derive(Clone)]
#[non_exhaustive]
pub struct CreatedLoginToken {
    /// The token. It is good with the user's name or id; those that are mailed are others.
    pub token: String,
    /// Whose it is.
    pub user_id: String,
}

impl fmt::Debug for CreatedLoginToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedLoginToken").field("user_id", &self.user_id).finish_non_exhaustive()
    }
}
