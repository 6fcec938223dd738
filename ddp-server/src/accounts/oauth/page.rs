//! The page at the end: it hands the secret to the client, and closes or goes back.

use axum::body::Body;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Response, StatusCode};
use serde_json::json;

use super::app::AppUrl;
use super::state::{LoginState, LoginStyle};

/// Where clients look for a secret that no window could hand them.
const STORAGE_PREFIX: &str = "Meteor.oauth.credentialSecret-";

/// Scripts that do what those of Meteor's `oauth` do, which are in a client's bundle: no bundle is
/// needed here.
pub(super) const POPUP_SCRIPT: &str = include_str!("end_of_popup_response.js");
pub(super) const REDIRECT_SCRIPT: &str = include_str!("end_of_redirect_response.js");

const TEMPLATE: &str = r###"<!DOCTYPE html>
<html>
<head>
  <meta charset="utf-8">
  <title>Login</title>
</head>
<body>
  <p id="completedText" hidden>Login completed. <a href="#" id="loginCompleted">Click here</a> to close this window.</p>
  <div id="config" hidden>##CONFIG##</div>
  <script type="text/javascript" src="##SCRIPT##"></script>
</body>
</html>
"###;

/// The page for a login that ended, with a secret if it ended well.
pub(super) fn page(app: &AppUrl, state: &LoginState, secret: Option<&str>) -> Response<Body> {
    let name = match state.style {
        LoginStyle::Popup => "popup",
        LoginStyle::Redirect => "redirect",
    };
    let script = format!("{}/packages/oauth/end_of_{name}_response.js", app.prefix());
    let text = TEMPLATE
        .replace("##SCRIPT##", &escape(&script).replace("&#x2F;", "/"))
        .replace("##CONFIG##", &config(app, state, secret));
    html(text)
}

/// What the script is told, as JSON within HTML.
fn config(app: &AppUrl, state: &LoginState, secret: Option<&str>) -> String {
    let redirect_url = app.destination(state.redirect_url.as_deref());
    json!({
        "setCredentialToken": secret.is_some(),
        "credentialToken": escape(&state.credential_token),
        "credentialSecret": secret.map(escape),
        "storagePrefix": STORAGE_PREFIX,
        "redirectUrl": escape(&redirect_url),
        "isCordova": state.is_cordova,
    })
    .to_string()
}

/// For HTML and its attributes. The slash, so that no tag ends.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#x27;"),
            '/' => escaped.push_str("&#x2F;"),
            '`' => escaped.push_str("&#x60;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A page that nobody keeps, frames or learns the address of.
pub(super) fn html(text: String) -> Response<Body> {
    let policy = "default-src 'none'; script-src 'self'; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    respond(
        StatusCode::OK,
        "text/html; charset=utf-8",
        text,
        &[(CONTENT_SECURITY_POLICY, policy), (CACHE_CONTROL, "no-store")],
    )
}

pub(super) fn script(text: &'static str) -> Response<Body> {
    let kind = "application/javascript; charset=utf-8";
    respond(StatusCode::OK, kind, text.to_owned(), &[(CACHE_CONTROL, "max-age=3600")])
}

/// Why there is no page, for people.
pub(super) fn refusal(status: StatusCode, text: &str) -> Response<Body> {
    respond(status, "text/plain; charset=utf-8", text.to_owned(), &[(CACHE_CONTROL, "no-store")])
}

fn respond(
    status: StatusCode,
    kind: &'static str,
    text: String,
    more: &[(HeaderName, &'static str)],
) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let always = [
        (CONTENT_TYPE, kind),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // The address has the code and the state in it.
        (REFERRER_POLICY, "no-referrer"),
    ];
    for (name, value) in always.iter().chain(more) {
        response.headers_mut().insert(name.clone(), HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_configuration_can_leave_it() {
        let hostile = r#"</div><script>alert('1')</script>"`&##SCRIPT##"#;
        let app = AppUrl::new("https://app.example/");
        for is_cordova in [true, false] {
            let state = LoginState {
                style: LoginStyle::Popup,
                credential_token: hostile.to_owned(),
                is_cordova,
                redirect_url: Some(format!("https://app.example/{hostile}?{hostile}#{hostile}")),
            };
            let text = config(&app, &state, Some(hostile));
            assert!(!text.contains(['<', '>', '\'', '`', '/']), "{text}");
            let told: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(told["credentialSecret"], escape(hostile));
            assert_eq!(told["isCordova"], is_cordova);
        }
    }
}
