//! Logins that began here, at `/_oauth/<service>/start`: what only this browser and this server know of
//! them is in a cookie, so that every server of several can go on.

use axum::http::header::COOKIE;
use axum::http::{HeaderMap, HeaderValue};

use super::state::is_token;
use crate::random;

/// How long a user may take at the provider, in seconds.
const SECONDS: u32 = 600;

/// What a login that began here must show at its end.
#[derive(PartialEq, Eq)]
pub(super) struct Started {
    /// For PKCE (RFC 7636): the provider gives nothing for a code without it.
    pub(super) verifier: String,
    /// What the ID token must have in it.
    pub(super) nonce: String,
}

impl Started {
    pub(super) fn new() -> Self {
        Self { verifier: random::secret(), nonce: random::secret() }
    }

    /// The cookie for the login with this credential token.
    pub(super) fn cookie(&self, place: &CookiePlace<'_>, credential_token: &str) -> HeaderValue {
        let Self { verifier, nonce } = self;
        place.header(&format!("{verifier}.{nonce}.{credential_token}"), SECONDS)
    }

    /// From a browser's cookies, if they are of the login with this credential token.
    pub(super) fn read(headers: &HeaderMap, service: &str, credential_token: &str) -> Option<Self> {
        let name = cookie_name(service);
        let cookies = headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
        let mut values = cookies
            .flat_map(|cookies| cookies.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .filter_map(|(found, value)| (found == name).then_some(value));
        values.find_map(|value| {
            let mut parts = value.split('.');
            let (verifier, nonce, token) = (parts.next()?, parts.next()?, parts.next()?);
            let is_whole = parts.next().is_none() && is_token(verifier) && is_token(nonce);
            (is_whole && token == credential_token)
                .then(|| Self { verifier: verifier.to_owned(), nonce: nonce.to_owned() })
        })
    }
}

/// Where a cookie goes.
pub(super) struct CookiePlace<'a> {
    pub(super) service: &'a str,
    /// That of the callback.
    pub(super) path: &'a str,
    pub(super) is_secure: bool,
}

impl CookiePlace<'_> {
    /// Takes the cookie away.
    pub(super) fn forget(&self) -> HeaderValue {
        self.header("", 0)
    }

    fn header(&self, value: &str, seconds: u32) -> HeaderValue {
        let Self { service, path, is_secure } = self;
        let name = cookie_name(service);
        let secure = if *is_secure { "; Secure" } else { "" };
        // Lax, since the browser comes back from another site.
        let text = format!(
            "{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
        );
        HeaderValue::from_str(&text)
            .expect("names and tokens are letters and digits, paths encoded")
    }
}

fn cookie_name(service: &str) -> String {
    format!("meteor_oauth_{service}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_of_one_service_and_one_login() {
        let place = CookiePlace { service: "google", path: "/_oauth/google", is_secure: true };
        let started = Started::new();
        let cookie = started.cookie(&place, "a-credential-token");
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.ends_with("HttpOnly; SameSite=Lax; Secure"), "{cookie}");
        let pair = cookie.split(';').next().unwrap();
        let headers =
            |text: &str| HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(text).unwrap())]);
        let sent = headers(&format!("a=b; {pair}; c"));
        assert!(Started::read(&sent, "google", "a-credential-token") == Some(started));
        assert!(Started::read(&sent, "google", "another-credential-token").is_none());
        assert!(Started::read(&sent, "github", "a-credential-token").is_none());
        for text in [
            "meteor_oauth_google",
            "meteor_oauth_google=..",
            "=",
            ";;",
            "a=1;meteor_oauth_google=a.b.c.d",
        ] {
            assert!(Started::read(&headers(text), "google", "a-credential-token").is_none());
        }
    }
}
