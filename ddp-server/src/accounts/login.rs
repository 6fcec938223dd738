//! How a login goes, once it is known who logs in.
//!
//! The order is Meteor's: all `validateLoginAttempt` hooks, then the token, then the user of the
//! connection, whose subscriptions run again, then the `onLogin` hooks, then the result.

use std::sync::Arc;

use tokio::time::Instant;

use super::attempt::Attempt;
use super::core::{Core, now, session_expired, until};
use super::handler::{Login, Resumed, Who};
use super::held::{Impersonator, Look, Pending};
use super::store::{LoginToken, Selector, TokenGuard, User};
use super::token::Token;
use crate::ejson::{Ejson, Object, RawParams};
use crate::error::Error;
use crate::extract::{Connection, Invocation};

/// A call of a method that logs in.
pub(super) struct Call<'a> {
    pub(super) invocation: &'a Invocation,
    pub(super) name: &'static str,
    pub(super) arguments: &'a RawParams,
}

impl Core {
    /// Ends an attempt to log in: with the result for the client, or with its error.
    pub(super) async fn end_attempt(
        &self,
        call: Call<'_>,
        kind: Arc<str>,
        found: Result<Login, Error>,
    ) -> Result<Ejson, Error> {
        let mut login = found.unwrap_or_else(|error| Login::failed(None, error));
        let connection = call.invocation.connection();
        let error = login.error.take().map(Arc::new);
        let mut attempt = Attempt {
            r#type: kind,
            allowed: error.is_none(),
            error,
            user: None,
            method_name: call.name,
            connection: connection.cloned(),
            impersonated_by: login.impersonated_by.as_ref().map(|by| Arc::clone(&by.user_id)),
            arguments: call.arguments.clone(),
        };
        let who = std::mem::replace(&mut login.user, Who::Unknown);
        match self.load(who).await {
            Ok(user) => attempt.user = user,
            Err(error) => attempt.fail(error),
        }
        match &attempt.user {
            Some(user) if !user.is_active && attempt.allowed => attempt.forbid(),
            None if attempt.allowed => attempt.fail(self.refusal("User not found")),
            _ => {}
        }
        self.hooks.validate_login(&mut attempt).await;
        let options = std::mem::take(&mut login.options);
        if let Some(user) = attempt.user.as_ref().filter(|_| attempt.allowed) {
            match self.log_in(call.invocation, &user.id, login).await {
                Ok((token, stored)) => {
                    let result = self.result(&user.id, token, &stored, options, &attempt.r#type);
                    self.hooks.login(&attempt).await;
                    return Ok(result);
                }
                Err(error) => attempt.fail(error),
            }
        }
        self.hooks.login_failure(&attempt).await;
        Err(attempt.into_error())
    }

    async fn load(&self, who: Who) -> Result<Option<User>, Error> {
        match who {
            Who::Unknown => Ok(None),
            Who::Is(user) => Ok(Some(*user)),
            Who::Id(id) => self.store.find_user(&Selector::Id(id)).await,
        }
    }

    /// Gives the connection its token and its user.
    async fn log_in(
        &self,
        invocation: &Invocation,
        user_id: &str,
        login: Login,
    ) -> Result<(Token, LoginToken), Error> {
        let connection = connection_of(invocation)?;
        let (token, stored) = match login.resumed {
            Some(Resumed { token, stored, pending }) => {
                self.hold(pending, user_id, &stored, None);
                (token, stored)
            }
            None => {
                if login.expires.is_some_and(|expires| expires <= now()) {
                    return Err(session_expired());
                }
                let token = Token::random();
                let stored = Self::login_token(token.hash(), login.expires);
                let pending = self.held.begin(connection, &stored.hash);
                if self.store.add_login_token(user_id, &stored, &login.guard).await? {
                    self.hold(pending, user_id, &stored, login.impersonated_by);
                } else {
                    return Err(match login.guard {
                        TokenGuard::Password(_) | TokenGuard::NoPassword => {
                            self.refusal("Incorrect password")
                        }
                        _ => Error::client(403, "Login forbidden"),
                    });
                }
                (token, stored)
            }
        };
        if let Err(error) = invocation.set_user_id(Some(user_id)).await {
            // The connection is not the user's, so it has no token of the user either.
            self.held.take(connection);
            return Err(error);
        }
        Ok((token, stored))
    }

    /// Stores a login token which the connection then holds. False if the guard does not hold.
    pub(super) async fn add_token(
        &self,
        connection: &Connection,
        user_id: &str,
        token: &LoginToken,
        guard: &TokenGuard,
    ) -> Result<bool, Error> {
        let pending = self.held.begin(connection, &token.hash);
        let is_added = self.store.add_login_token(user_id, token, guard).await?;
        if is_added {
            self.hold(pending, user_id, token, None);
        }
        Ok(is_added)
    }

    fn hold(
        &self,
        pending: Pending,
        user_id: &str,
        token: &LoginToken,
        impersonated_by: Option<Impersonator>,
    ) {
        let ends = token.expires.map(|date| Instant::now() + until(date));
        if pending.hold(user_id, ends, impersonated_by) == Look::Again {
            self.watch.doubt_user(user_id.to_owned());
        }
    }

    /// `{id, token, tokenExpires, …, type}`.
    fn result(
        &self,
        user_id: &str,
        token: Token,
        stored: &LoginToken,
        options: Object,
        kind: &str,
    ) -> Ejson {
        let mut result = self.token_result(user_id, token, stored);
        result.extend(options);
        result.insert("type".to_owned(), kind.into());
        Ejson::Object(result)
    }

    /// `{id, token, tokenExpires}`.
    pub(super) fn token_result(&self, user_id: &str, token: Token, stored: &LoginToken) -> Object {
        Object::from_iter([
            ("id".to_owned(), user_id.into()),
            ("token".to_owned(), token.reveal().into()),
            ("tokenExpires".to_owned(), Ejson::Date(self.token_expires(stored))),
        ])
    }
}

/// The connection that a method was called on.
pub(super) fn connection_of(invocation: &Invocation) -> Result<&Connection, Error> {
    invocation.connection().ok_or_else(|| {
        Error::internal("the server itself called a method that is about its connection")
    })
}
