//! The user of an HTTP request.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::core::{Core, now};
use super::handle::AccountsHandle;
use super::http::{Sent, Site, TOKEN_BYTES_MAX, Unauthorized, sent};
use super::store::User;
use super::token::Token;
use crate::ejson::Date;

impl AccountsHandle {
    /// The user who sends an HTTP request, by `Authorization: Bearer <login token>` or, with
    /// [`use_http_only_cookies`](crate::accounts::Accounts::use_http_only_cookies), by the cookie. It is
    /// one read of the store. In routes, take [`UserId`](crate::extract::UserId) or [`User`] as an
    /// argument instead.
    ///
    /// The cookie is believed only if no other site's page can have sent it along: what may change
    /// something (all but GET, HEAD and OPTIONS) needs `Sec-Fetch-Site: same-origin` or the
    /// application's `Origin`.
    ///
    /// # Errors
    /// If there is no such user.
    pub async fn authenticate(&self, request: &Parts) -> Result<User, Unauthorized> {
        let token = self.token(request)?;
        Ok(self.core.user_of_token(token).await?.0)
    }

    fn token<'a>(&self, request: &'a Parts) -> Result<&'a str, Unauthorized> {
        if let Some(token) = bearer(&request.headers)? {
            return Ok(token);
        }
        let Some(cookies) = &self.core.cookies else { return Err(Unauthorized::NoToken) };
        let token = match sent(&request.headers) {
            Sent::Nothing => return Err(Unauthorized::NoToken),
            Sent::Unusable => return Err(Unauthorized::InvalidToken),
            Sent::Token(token) => token,
        };
        match cookies.site(request) {
            Site::Own => Ok(token),
            Site::Unknown if request.method.is_safe() => Ok(token),
            Site::Unknown | Site::Other => Err(Unauthorized::NoToken),
        }
    }
}

impl Core {
    /// The user who has a login token, and when it ends.
    pub(super) async fn user_of_token(&self, token: &str) -> Result<(User, Date), Unauthorized> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Unauthorized::InvalidToken);
        }
        let found = self.store.find_login_token(&Token::sent(token.to_owned()).hash()).await;
        let found = found.map_err(|error| {
            self.log.line(
                "a token could not be looked up",
                "http",
                error.to_string(),
                |_, error, count| {
                    tracing::error!(error, count, "a token could not be looked up");
                },
            );
            Unauthorized::Failed(error)
        })?;
        let (user, stored) = found.ok_or(Unauthorized::InvalidToken)?;
        let expires = self.token_expires(&stored);
        if expires <= now() {
            return Err(Unauthorized::ExpiredToken);
        }
        Ok((user, expires))
    }
}

/// The token of `Authorization: Bearer`, if that is how the request authenticates.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Unauthorized> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let Ok(value) = value.to_str() else { return Err(Unauthorized::InvalidToken) };
    let Some((scheme, token)) = value.split_once(' ') else { return Ok(None) };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    match token.trim() {
        _ if values.next().is_some() => Err(Unauthorized::InvalidToken),
        "" => Err(Unauthorized::NoToken),
        token => Ok(Some(token)),
    }
}
