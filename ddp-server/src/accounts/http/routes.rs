//! `/_accounts/cookie/set`, `refresh` and `clear`, by which Meteor's clients keep their token in a
//! cookie that no script can read.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::cookie::{Cookies, Sent, is_token, sent};
use super::site::Site;
use super::unauthorized::{Unauthorized, answer};
use crate::accounts::handle::AccountsHandle;
use crate::transport::open::ConnectionInfo;

/// The most bytes of a body.
const BODY_BYTES_MAX: usize = 4096;

/// The routes, if the cookie is on.
pub(in crate::accounts) fn routes(accounts: AccountsHandle) -> Router {
    Router::new()
        .route("/_accounts/cookie/set", post(set))
        .route("/_accounts/cookie/refresh", get(refresh))
        .route("/_accounts/cookie/clear", post(clear))
        .with_state(accounts)
}

type Answered = Result<Response, Refusal>;

/// What each of them looks at first.
fn begin<'a>(
    accounts: &'a AccountsHandle,
    request: &Parts,
    is_write: bool,
) -> Result<(&'a Cookies, ConnectionInfo), Refusal> {
    let cookies = accounts.core.cookies.as_ref();
    let cookies = cookies.ok_or(Refusal(StatusCode::NOT_FOUND, "not_found"))?;
    let info = ConnectionInfo::of_request(request);
    if cookies.limit.as_ref().is_some_and(|limit| !limit.admits(info.address())) {
        return Err(Refusal(StatusCode::TOO_MANY_REQUESTS, "rate_limited"));
    }
    match cookies.site(request) {
        Site::Own => {}
        Site::Unknown if !is_write => {}
        Site::Unknown | Site::Other => return Err(Refusal(StatusCode::FORBIDDEN, "cross_origin")),
    }
    Ok((cookies, info))
}

async fn set(State(accounts): State<AccountsHandle>, request: Request) -> Answered {
    let (request, body) = request.into_parts();
    let (cookies, info) = begin(&accounts, &request, true)?;
    let token = token(&request, body).await?;
    match accounts.core.user_of_token(&token).await {
        Ok((_, expires)) => Ok(with_cookie(done(), &cookies.set(&info, &token, expires))),
        Err(failed @ Unauthorized::Failed(_)) => Ok(failed.into_response()),
        Err(_) => Err(Refusal(StatusCode::UNAUTHORIZED, "invalid_token")),
    }
}

/// The token that a client wants to keep.
async fn token(request: &Parts, body: Body) -> Result<String, Refusal> {
    let header = |name| request.headers.get(name).and_then(|value| value.to_str().ok());
    let kind = header(CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default();
    if !kind.trim().eq_ignore_ascii_case("application/json") {
        return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"));
    }
    let declared = header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if declared.is_some_and(|length| length > BODY_BYTES_MAX as u64) {
        return Err(TOO_LARGE);
    }
    let body = to_bytes(body, BODY_BYTES_MAX).await.map_err(|_| TOO_LARGE)?;
    let body: serde_json::Value = serde_json::from_slice(&body)
        .map_err(|_| Refusal(StatusCode::BAD_REQUEST, "invalid_body"))?;
    let token = body.get("token").and_then(|token| token.as_str());
    let token = token.filter(|token| is_token(token));
    token.map(str::to_owned).ok_or(Refusal(StatusCode::BAD_REQUEST, "invalid_token"))
}

async fn refresh(State(accounts): State<AccountsHandle>, request: Request) -> Answered {
    let (request, _) = request.into_parts();
    let (cookies, info) = begin(&accounts, &request, false)?;
    let invalid = || {
        let response = Refusal(StatusCode::UNAUTHORIZED, "invalid_cookie").into_response();
        with_cookie(response, &cookies.clear(&info))
    };
    let token = match sent(&request.headers) {
        Sent::Token(token) => token,
        Sent::Unusable => return Ok(invalid()),
        Sent::Nothing => {
            let no_store = [(CACHE_CONTROL, HeaderValue::from_static("no-store"))];
            return Ok((StatusCode::NO_CONTENT, no_store).into_response());
        }
    };
    Ok(match accounts.core.user_of_token(token).await {
        Ok((_, expires)) => {
            let expires = expires.to_iso().unwrap_or_default();
            let members = [("token", token), ("tokenExpires", expires.as_str())];
            let mut response = answer(StatusCode::OK, &members);
            response.headers_mut().insert(VARY, HeaderValue::from_static("Cookie"));
            response
        }
        Err(failed @ Unauthorized::Failed(_)) => failed.into_response(),
        Err(_) => invalid(),
    })
}

async fn clear(State(accounts): State<AccountsHandle>, request: Request) -> Answered {
    let (request, _) = request.into_parts();
    let (cookies, info) = begin(&accounts, &request, true)?;
    Ok(with_cookie(done(), &cookies.clear(&info)))
}

/// Why a request is refused.
#[derive(Clone, Copy)]
struct Refusal(StatusCode, &'static str);

const TOO_LARGE: Refusal = Refusal(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large");

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, error) = self;
        let mut response = answer(status, &[("error", error)]);
        if status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body is not read.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

fn done() -> Response {
    let mut response = answer(StatusCode::OK, &[]);
    *response.body_mut() = Body::from(r#"{"ok":true}"#);
    response
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    // Neither a token nor the path has anything else than visible ASCII.
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}
