//! The cookie: what is read from it, and how it is set.

use std::time::{Duration, SystemTime};

use axum::http::HeaderMap;
use axum::http::request::Parts;

use super::limit::Limit;
use super::site::{Origin, Site, site};
use crate::ejson::Date;
use crate::transport::cookies::values;
use crate::transport::open::ConnectionInfo;

/// The name that Meteor has for it.
const NAME: &str = "meteor_login_token";

/// The longest token that a cookie can have, in bytes.
pub(in crate::accounts) const TOKEN_BYTES_MAX: usize = 512;

/// The furthest end of a cookie, which is further than any browser keeps one.
const LIFETIME_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How cookies of this application are set, and when they are believed.
pub(in crate::accounts) struct Cookies {
    /// That of `ROOT_URL`.
    origin: Option<Origin>,
    /// The path of `ROOT_URL`, so that other applications of the host do not get the token.
    path: String,
    pub(super) limit: Option<Limit>,
}

/// What a request has of the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::accounts) enum Sent<'a> {
    Nothing,
    Token(&'a str),
    /// There are two tokens, and one of them may be somebody else's; or it cannot be one.
    Unusable,
}

impl Cookies {
    pub(in crate::accounts) fn new(root_url: &str, is_limited: bool) -> Self {
        let (_, rest) = root_url.split_once("://").unwrap_or(("", root_url));
        let path = rest.find('/').map_or("", |at| &rest[at..]).trim_end_matches('/');
        let fits = |byte: u8| byte.is_ascii_graphic() && !b";,?#\"\\".contains(&byte);
        let path = if path.is_empty() || !path.bytes().all(fits) { "/" } else { path };
        Self {
            origin: Origin::of_url(root_url),
            path: path.to_owned(),
            limit: is_limited.then(Limit::default),
        }
    }

    /// Whose page makes a request.
    pub(in crate::accounts) fn site(&self, request: &Parts) -> Site {
        site(request, self.origin.as_ref())
    }

    /// The value of `Set-Cookie` for a token that [can be in one](is_token).
    pub(super) fn set(&self, info: &ConnectionInfo, token: &str, expires: Date) -> String {
        let latest = SystemTime::now() + LIFETIME_MAX;
        let expires = expires.to_system_time().unwrap_or(latest).min(latest);
        self.line(info, token, expires)
    }

    /// The value of `Set-Cookie` that removes it.
    pub(super) fn clear(&self, info: &ConnectionInfo) -> String {
        self.line(info, "", SystemTime::UNIX_EPOCH)
    }

    fn line(&self, info: &ConnectionInfo, value: &str, expires: SystemTime) -> String {
        let is_https = self.origin.as_ref().is_some_and(Origin::is_https);
        let secure = if info.is_secure || is_https { "; Secure" } else { "" };
        let (path, expires) = (&self.path, httpdate::fmt_http_date(expires));
        format!("{NAME}={value}; Path={path}; Expires={expires}; HttpOnly{secure}; SameSite=Strict")
    }
}

/// Reads the cookie of a request.
pub(in crate::accounts) fn sent(headers: &HeaderMap) -> Sent<'_> {
    let mut found = Sent::Nothing;
    for value in values(headers, NAME) {
        let value = std::str::from_utf8(value).unwrap_or("?");
        found = match found {
            _ if !is_token(value) => Sent::Unusable,
            Sent::Nothing => Sent::Token(value),
            Sent::Token(other) if other == value => found,
            Sent::Token(_) | Sent::Unusable => Sent::Unusable,
        };
        if found == Sent::Unusable {
            break;
        }
    }
    found
}

/// Whether a text can be in a cookie as it is; those of tokens can.
pub(super) fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+/=".contains(&byte);
    !text.is_empty() && text.len() <= TOKEN_BYTES_MAX && text.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use axum::http::header::COOKIE;

    use super::*;

    #[test]
    fn one_token_is_read_and_two_are_none() {
        let table: [(&[&'static str], Sent<'_>); 12] = [
            (&[], Sent::Nothing),
            (&["a=b; c=d"], Sent::Nothing),
            (&["meteor_login_token="], Sent::Nothing),
            (&["meteor_login_tokens=a; xmeteor_login_token=b"], Sent::Nothing),
            (&["meteor_login_token=abc"], Sent::Token("abc")),
            (&["a=b;meteor_login_token=a-_c ;c=d"], Sent::Token("a-_c")),
            (&["meteor_login_token=abc; meteor_login_token=abc"], Sent::Token("abc")),
            (&["meteor_login_token=abc; meteor_login_token=abd"], Sent::Unusable),
            (&["meteor_login_token=abc", "meteor_login_token=abd"], Sent::Unusable),
            (&["meteor_login_token=abd; meteor_login_token=\u{7f}"], Sent::Unusable),
            (&["meteor_login_token=a%0D%0Ab"], Sent::Unusable),
            (&["meteor_login_token=\"abc\"; meteor_login_token=abc"], Sent::Unusable),
        ];
        for (lines, expected) in table {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(
                    COOKIE,
                    HeaderValue::from_bytes(line.as_bytes()).unwrap_or_else(|_| {
                        // No request has such a line.
                        HeaderValue::from_static("meteor_login_token=?")
                    }),
                );
            }
            assert_eq!(sent(&headers), expected, "{lines:?}");
        }
        let long = format!("meteor_login_token={}", "a".repeat(TOKEN_BYTES_MAX + 1));
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::try_from(long).unwrap())]);
        assert_eq!(sent(&headers), Sent::Unusable);
    }

    #[test]
    fn the_path_is_that_of_the_application() {
        let info = ConnectionInfo::of_nobody();
        for (root_url, path, is_secure) in [
            ("http://localhost:3000/", "/", false),
            ("https://app.example", "/", true),
            ("https://app.example/tasks/", "/tasks", true),
            ("https://app.example/a;b/", "/", true),
            ("https://app.example/a\r\nb/", "/", true),
            ("app.example/tasks/", "/tasks", false),
        ] {
            let line = Cookies::new(root_url, true).set(&info, "abc", Date::from_millis(0));
            let secure = if is_secure { "; Secure" } else { "" };
            let expected = format!(
                "meteor_login_token=abc; Path={path}; Expires=Thu, 01 Jan 1970 00:00:00 GMT; \
                 HttpOnly{secure}; SameSite=Strict"
            );
            assert_eq!(line, expected);
        }
        // A token that ends after all years that such a line can have.
        let line =
            Cookies::new("", true).set(&info, "abc", Date::from_millis(8_000_000_000_000_000));
        assert!(line.contains("; Expires="), "{line}");
    }
}
