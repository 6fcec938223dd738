//! Where browsers come from providers, and where logins may begin.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request};
use axum::http::header::{ALLOW, HeaderValue, LOCATION, SET_COOKIE};
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use axum::routing::{any, get};

use super::page::{self, POPUP_SCRIPT, REDIRECT_SCRIPT};
use super::parameters::Parameters;
use super::started::{CookiePlace, Started};
use super::state::LoginState;
use crate::accounts::core::Core;
use crate::transport::open::ConnectionInfo;

/// The routes, if there is a service: at the root, and below the application's path.
pub(in crate::accounts) fn router(core: &Arc<Core>) -> Router {
    let logins = &core.oauth;
    let mut router = Router::new();
    if !logins.has_services() {
        return router;
    }
    let mut prefixes = vec!["", logins.app.prefix()];
    prefixes.dedup();
    for prefix in prefixes {
        let (ends, begins) = (Arc::clone(core), Arc::clone(core));
        let end = any(move |Path(service): Path<String>, request: Request| async move {
            Box::pin(end(&ends, &service, request)).await
        });
        let begin = get(move |Path(service): Path<String>, request: Request| async move {
            Box::pin(begin(&begins, &service, request)).await
        });
        router = router
            .route(&format!("{prefix}/_oauth/{{service}}"), end)
            .route(&format!("{prefix}/_oauth/{{service}}/start"), begin);
        for (name, text) in [("popup", POPUP_SCRIPT), ("redirect", REDIRECT_SCRIPT)] {
            let path = format!("{prefix}/packages/oauth/end_of_{name}_response.js");
            router = router.route(&path, get(async move || page::script(text)));
        }
    }
    router
}

const UNKNOWN_SERVICE: &str = "There is no such login service.\n";
const UNKNOWN_STATE: &str = "The state is missing, or of no login of this application.\n";

/// The browser comes from the provider.
async fn end(core: &Core, service: &str, request: Request) -> Response<Body> {
    let logins = &core.oauth;
    let Some(service) = logins.service(service) else {
        return page::refusal(StatusCode::NOT_FOUND, UNKNOWN_SERVICE);
    };
    // Not HEAD either: a code works once.
    if !matches!(*request.method(), Method::GET | Method::POST) {
        let mut response = page::refusal(StatusCode::METHOD_NOT_ALLOWED, "GET or POST.\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        return response;
    }
    let (headers, body) = request.into_parts();
    let Ok(_share) = share(core, &headers) else { return too_many() };
    let request = Request::from_parts(headers.clone(), body);
    let parameters = match Parameters::read(request).await {
        Ok(parameters) => parameters,
        Err(status) => return page::refusal(status, "The request cannot be read.\n"),
    };
    let Some(state) = parameters.get("state").and_then(LoginState::read) else {
        return page::refusal(StatusCode::BAD_REQUEST, UNKNOWN_STATE);
    };
    let name = &**service.name();
    let started = Started::read(&headers.headers, name, &state.credential_token);
    let is_started = started.is_some();
    let secret = logins.finish(&core.log, service, &parameters, &state, started).await;
    let mut response = match (parameters.get("only_credential_secret_for_test"), &secret) {
        (Some(_), secret) => page::html(secret.clone().unwrap_or_default()),
        (None, secret) => page::page(&logins.app, &state, secret.as_deref()),
    };
    if is_started {
        let path = logins.app.callback_path(name);
        let place = CookiePlace { service: name, path: &path, is_secure: logins.app.is_secure() };
        response.headers_mut().insert(SET_COOKIE, place.forget());
    }
    response
}

/// A place of those that the client's address has, until it is dropped. Clients whose address is not known
/// share those of all.
fn share(core: &Core, request: &Parts) -> Result<impl Sized + use<>, ()> {
    let address = ConnectionInfo::of_request(request).address();
    address.map(|address| core.oauth.shares.take(address).ok_or(())).transpose()
}

fn too_many() -> Response<Body> {
    let text = "Too many logins come from your address. Please try again later.\n";
    page::refusal(StatusCode::TOO_MANY_REQUESTS, text)
}

/// A login begins here: the browser is sent on to the provider.
async fn begin(core: &Core, service: &str, request: Request) -> Response<Body> {
    let logins = &core.oauth;
    let Some(service) = logins.service(service) else {
        return page::refusal(StatusCode::NOT_FOUND, UNKNOWN_SERVICE);
    };
    let (request, body) = request.into_parts();
    let Ok(_share) = share(core, &request) else { return too_many() };
    let request = Request::from_parts(request, body);
    let parameters = match Parameters::read(request).await {
        Ok(parameters) => parameters,
        Err(status) => return page::refusal(status, "The request cannot be read.\n"),
    };
    let state = parameters.get("state").and_then(|text| Some((text, LoginState::read(text)?)));
    let Some((text, state)) = state else {
        return page::refusal(StatusCode::BAD_REQUEST, UNKNOWN_STATE);
    };
    let started = Started::new();
    let name = &**service.name();
    let url = match logins.begin(service, text, &started).await {
        Ok(url) => url,
        Err(failure) => {
            core.log.line("a login cannot begin", name, failure.why(), |service, why, count| {
                tracing::warn!(service, why, count, "a login cannot begin");
            });
            let text = "The login service does not answer. Please try again later.\n";
            return page::refusal(StatusCode::SERVICE_UNAVAILABLE, text);
        }
    };
    let path = logins.app.callback_path(name);
    let place = CookiePlace { service: name, path: &path, is_secure: logins.app.is_secure() };
    let mut response = page::refusal(StatusCode::FOUND, "");
    let url = HeaderValue::from_str(url.as_str()).expect("an address is of ASCII letters");
    response.headers_mut().insert(LOCATION, url);
    response.headers_mut().insert(SET_COOKIE, started.cookie(&place, &state.credential_token));
    response
}
