//! Why a request has no user.

use std::fmt;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::error::Error;

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
