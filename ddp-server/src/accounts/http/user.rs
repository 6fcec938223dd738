//! The user of a request, for routes of the application.

use std::fmt;

use axum::body::Body;
use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::cookie::{Sent, TOKEN_BYTES_MAX, sent};
use super::site::Site;
use crate::accounts::core::{Core, now};
use crate::accounts::handle::AccountsHandle;
use crate::accounts::store::User;
use crate::accounts::token::Token;
use crate::ejson::Date;
use crate::error::Error;
use crate::extract::UserId;

/// Why a request has no user. As a response it is that of Meteor's `accounts-express`: 401 with
/// `{"error": "Unauthorized"}`, `"Invalid token"` or `"Token expired"`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Unauthorized {
    /// There is no token, or only a cookie that a page of another site has sent along.
    NoToken,
    /// Nobody has this token.
    InvalidToken,
    /// It was somebody's.
    ExpiredToken,
    /// The store failed; the log says so. The response is 500 with `{"error": "server_error"}`.
    Failed(Error),
}

impl AccountsHandle {
    /// The user who sends an HTTP request, by `Authorization: Bearer <login token>` or, with
    /// [`use_http_only_cookies`](crate::accounts::Accounts::use_http_only_cookies), by the cookie. It is
    /// one read of the store. In routes, take [`UserId`] or [`User`] as an argument instead.
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

impl<S> FromRequestParts<S> for User
where
    AccountsHandle: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Unauthorized;

    async fn from_request_parts(request: &mut Parts, state: &S) -> Result<Self, Unauthorized> {
        AccountsHandle::from_ref(state).authenticate(request).await
    }
}

impl<S> FromRequestParts<S> for UserId
where
    AccountsHandle: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Unauthorized;

    async fn from_request_parts(request: &mut Parts, state: &S) -> Result<Self, Unauthorized> {
        let user = AccountsHandle::from_ref(state).authenticate(request).await?;
        Ok(user.id.as_str().into())
    }
}

/// Without a token, or with one that is nobody's, there is nobody.
impl<S> OptionalFromRequestParts<S> for User
where
    AccountsHandle: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Unauthorized;

    async fn from_request_parts(
        request: &mut Parts,
        state: &S,
    ) -> Result<Option<Self>, Unauthorized> {
        match AccountsHandle::from_ref(state).authenticate(request).await {
            Ok(user) => Ok(Some(user)),
            Err(failed @ Unauthorized::Failed(_)) => Err(failed),
            Err(_) => Ok(None),
        }
    }
}

/// Without a token, or with one that is nobody's, there is nobody.
impl<S> OptionalFromRequestParts<S> for UserId
where
    AccountsHandle: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Unauthorized;

    async fn from_request_parts(
        request: &mut Parts,
        state: &S,
    ) -> Result<Option<Self>, Unauthorized> {
        let user: Option<User> =
            <User as OptionalFromRequestParts<S>>::from_request_parts(request, state).await?;
        Ok(user.map(|user| user.id.as_str().into()))
    }
}

impl fmt::Display for Unauthorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoToken => "Unauthorized",
            Self::InvalidToken => "Invalid token",
            Self::ExpiredToken => "Token expired",
            Self::Failed(_) => "server_error",
        })
    }
}

impl std::error::Error for Unauthorized {}

impl IntoResponse for Unauthorized {
    fn into_response(self) -> Response {
        if matches!(self, Self::Failed(_)) {
            return answer(StatusCode::INTERNAL_SERVER_ERROR, &[("error", &self.to_string())]);
        }
        let mut response = answer(StatusCode::UNAUTHORIZED, &[("error", &self.to_string())]);
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        response
    }
}

/// An object of texts, as JSON that nobody keeps.
pub(super) fn answer(status: StatusCode, members: &[(&str, &str)]) -> Response {
    let members = members.iter().map(|(name, text)| ((*name).to_owned(), (*text).into()));
    let body = serde_json::Value::Object(members.collect()).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
