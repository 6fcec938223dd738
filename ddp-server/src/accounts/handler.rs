//! Login handlers: what makes a user of the argument of `login`.

use std::fmt;
use std::sync::Arc;

use super::held::{Impersonator, Pending};
use super::hooks::{Hook, hook};
use super::options::AMBIGUOUS;
use super::store::{LoginToken, TokenGuard, User};
use super::token::Token;
use crate::ejson::{Date, Ejson, Object};
use crate::error::Error;
use crate::extract::{Connection, Invocation};
use crate::write_fence::WriteFence;

/// What a client gave to `login`. `Debug` does not show it.
#[derive(Clone)]
pub struct LoginRequest {
    pub(super) options: Arc<Object>,
    pub(super) connection: Option<Connection>,
    pub(super) fence: WriteFence,
    is_ambiguous: bool,
}

impl LoginRequest {
    pub(super) fn new(options: Object, invocation: &Invocation, is_ambiguous: bool) -> Self {
        let connection = invocation.connection().cloned();
        let fence = invocation.fence().clone();
        Self { options: Arc::new(options), connection, fence, is_ambiguous }
    }

    /// The client's argument, an object. It can hold anything.
    #[must_use]
    pub fn options(&self) -> &Object {
        &self.options
    }

    /// A text of the client's argument.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.options.get(name).and_then(Ejson::as_str)
    }

    /// The connection; `None` if the server itself called `login`.
    #[must_use]
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_ref()
    }

    /// The error (403) for a client that is not who it says it is. With [ambiguous
    /// errors](super::Accounts::ambiguous_error_messages) it has the text that is the same for all reasons.
    #[must_use]
    pub fn refusal(&self, reason: &str) -> Error {
        Error::client(403, if self.is_ambiguous { AMBIGUOUS } else { reason })
    }
}

impl fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginRequest").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// What a login handler found out: who logs in.
#[derive(Debug)]
pub struct Login {
    pub(super) user: Who,
    pub(super) error: Option<Error>,
    pub(super) options: Object,
    pub(super) expires: Option<Date>,
    pub(super) guard: TokenGuard,
    pub(super) resumed: Option<Resumed>,
    /// Who logs in as the user, if that is somebody else.
    pub(super) impersonated_by: Option<Impersonator>,
}

/// A token that is stored already.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) token: Token,
    pub(super) stored: LoginToken,
    pub(super) pending: Pending,
}

/// Who logs in.
#[derive(Debug)]
pub(super) enum Who {
    Unknown,
    Id(String),
    Is(Box<User>),
}

impl Login {
    fn of(user: Who) -> Self {
        let (error, options, expires, resumed, impersonated_by) = Default::default();
        let guard = TokenGuard::Active;
        Self { user, error, options, expires, guard, resumed, impersonated_by }
    }

    /// The user with this id logs in.
    #[must_use]
    pub fn user(id: impl Into<String>) -> Self {
        Self::of(Who::Id(id.into()))
    }

    /// Nobody logs in, and hooks are told that this user wanted to.
    #[must_use]
    pub fn refused(user_id: Option<String>, error: Error) -> Self {
        Self { error: Some(error), ..Self::of(user_id.map_or(Who::Unknown, Who::Id)) }
    }

    /// Merges these into the result that the client gets.
    #[must_use]
    pub fn options(mut self, options: Object) -> Self {
        self.options = options;
        self
    }

    /// The login token ends then, if not before: no later than what the client logged in with. Connections
    /// that hold it then are closed; a client that connects again is told that its session has expired.
    #[must_use]
    pub fn expires(mut self, expires: Date) -> Self {
        self.expires = Some(expires);
        self
    }

    /// The user logs in only if this still holds as the login token is stored; unless it is told otherwise,
    /// if the user is active.
    #[must_use]
    pub fn guard(mut self, guard: TokenGuard) -> Self {
        self.guard = guard;
        self
    }

    pub(super) fn by(mut self, impersonator: Impersonator) -> Self {
        self.impersonated_by = Some(impersonator);
        self
    }

    pub(super) fn known(user: User, guard: TokenGuard) -> Self {
        Self { guard, ..Self::of(Who::Is(Box::new(user))) }
    }

    pub(super) fn failed(user: Option<User>, error: Error) -> Self {
        let user = user.map_or(Who::Unknown, |user| Who::Is(Box::new(user)));
        Self { error: Some(error), ..Self::of(user) }
    }

    /// The user of a token that is stored already.
    pub(super) fn resumed(user: User, resumed: Resumed) -> Self {
        Self { resumed: Some(resumed), ..Self::known(user, TokenGuard::Active) }
    }
}

/// A login handler with its name, for [`Accounts::login_handler`](super::Accounts::login_handler): one that a
/// library brings along.
#[derive(Clone)]
pub struct LoginHandler {
    pub(super) name: Arc<str>,
    pub(super) handle: Hook<LoginRequest, Result<Option<Login>, Error>>,
    pub(super) cookie: Option<Box<str>>,
}

impl LoginHandler {
    /// An async function that is given what a client gave to `login`, and returns who logs in, or `None` if
    /// this is for another handler. The name is the `type` of its logins.
    #[must_use]
    pub fn new<F, Fut>(name: &str, handler: F) -> Self
    where
        F: Fn(LoginRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<Login>, Error>> + Send + 'static,
    {
        Self { name: name.into(), handle: hook(handler), cookie: None }
    }

    /// The handler looks at this [cookie of the connection](Connection::cookie), which the server then
    /// [keeps](crate::ServerBuilder::keep_cookie).
    #[must_use]
    pub fn cookie(mut self, name: &str) -> Self {
        self.cookie = Some(name.into());
        self
    }
}

impl fmt::Debug for LoginHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginHandler")
            .field("name", &self.name)
            .field("cookie", &self.cookie)
            .finish_non_exhaustive()
    }
}
