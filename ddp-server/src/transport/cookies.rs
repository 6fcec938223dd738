//! Cookies of the request that opens a connection.
//!
//! Browsers send them along whichever page connects, so they are kept only if the application says which,
//! and only of requests by scripts of pages of the allowed origins.

use std::fmt;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

use super::origin::Origins;

/// A longer value is omitted, so that a client cannot make its idle connection costly.
const VALUE_BYTES_MAX: usize = 8 * 1024;

/// The cookies of the opening request that the application has named. `Debug` does not show their values.
#[derive(Clone, Default)]
pub(crate) struct Cookies(Box<[(Arc<str>, Box<str>)]>);

impl Cookies {
    /// Those of these names, if a browser says that one of these origins makes the request. The values are
    /// copied from it.
    pub(super) fn keep(request: &HeaderMap, names: &[Arc<str>], origins: &Origins) -> Self {
        if names.is_empty() || !origins.vouch_for(request) {
            return Self::default();
        }
        let kept = |name: &Arc<str>| Some((Arc::clone(name), only(request, name)?.into()));
        Self(names.iter().filter_map(kept).collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(kept, _)| **kept == *name).map(|(_, value)| &**value)
    }
}

impl fmt::Debug for Cookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

/// The values that a request has of a cookie, as they were sent and without empty ones.
pub(crate) fn values<'a>(
    request: &'a HeaderMap,
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let lines = request.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let values = pairs.filter_map(move |pair| {
        pair.trim_ascii().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
    });
    values.filter(|value| !value.is_empty())
}

/// The value of a cookie, if there is one and it is visible ASCII. Of two different ones, either may be
/// somebody else's.
fn only<'a>(request: &'a HeaderMap, name: &'a str) -> Option<&'a str> {
    let mut values = values(request, name);
    let value = values.next()?;
    let fits = value.len() <= VALUE_BYTES_MAX && value.iter().all(u8::is_ascii_graphic);
    let is_only = values.all(|other| other == value);
    std::str::from_utf8(value).ok().filter(|_| fits && is_only)
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    const PAGE: (&str, &str) = ("origin", "https://app.example");

    fn request(headers: &[(&'static str, &str)]) -> HeaderMap {
        let mut request = HeaderMap::new();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a header value");
            request.append(HeaderName::from_static(name), value);
        }
        request
    }

    fn kept(headers: &[(&'static str, &str)]) -> Cookies {
        let origins = Origins::only(["https://app.example"]).expect("an origin");
        Cookies::keep(&request(headers), &["sessionid".into()], &origins)
    }

    #[test]
    fn only_cookies_that_are_named_are_kept() {
        let cookies = kept(&[PAGE, ("cookie", "csrftoken=a; sessionid=b:c.d-_; sessionids=e")]);
        assert_eq!(cookies.get("sessionid"), Some("b:c.d-_"));
        for other in ["csrftoken", "sessionids", "session", "SESSIONID", ""] {
            assert_eq!(cookies.get(other), None, "{other}");
        }
        assert_eq!(format!("{cookies:?}"), r#"{"sessionid"}"#);
        let headers = request(&[PAGE, ("cookie", "sessionid=b")]);
        let origins = Origins::only(["https://app.example"]).expect("an origin");
        assert_eq!(Cookies::keep(&headers, &[], &origins).get("sessionid"), None);
    }

    #[test]
    fn they_are_kept_only_of_pages_that_are_allowed() {
        let cookie = ("cookie", "sessionid=b");
        let table: [(&[(&'static str, &str)], bool); 19] = [
            (&[PAGE], true),
            (&[("origin", "HTTPS://APP.example")], true),
            (&[PAGE, ("sec-fetch-site", "same-site")], true),
            (&[PAGE, ("sec-fetch-dest", "empty"), ("sec-fetch-mode", "cors")], true),
            (&[PAGE, ("sec-fetch-dest", "websocket")], true),
            // Links, images, scripts and frames on the server's own origin, and a form.
            (&[("sec-fetch-site", "same-origin")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "document")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "image")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "script")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "empty")], false),
            (&[PAGE, ("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "document")], false),
            (&[PAGE, PAGE], false),
            // Whoever says nothing may be an old browser.
            (&[], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("sec-fetch-site", "same-site"), ("referer", "https://app.example/a")], false),
            (&[("referer", "https://app.example/a")], false),
            (&[("origin", "https://evil.example"), ("sec-fetch-site", "same-origin")], false),
            (&[("origin", "null")], false),
            (&[("origin", "https://app.example.evil.example")], false),
        ];
        for (headers, is_kept) in table {
            let headers = [headers, &[cookie]].concat();
            assert_eq!(kept(&headers).get("sessionid").is_some(), is_kept, "{headers:?}");
            let any = Cookies::keep(&request(&headers), &["sessionid".into()], &Origins::any());
            assert_eq!(any.get("sessionid"), None, "{headers:?}");
        }
    }

    #[test]
    fn a_value_that_may_be_somebody_else_s_or_is_too_long_is_missing() {
        let fits = format!("sessionid={}", "x".repeat(VALUE_BYTES_MAX));
        let table: [(&[&str], Option<&str>); 9] = [
            (&["sessionid=a; sessionid=a"], Some("a")),
            (&["sessionid=; sessionid=a"], Some("a")),
            (&["a=b;sessionid=a;c=d", "e=f"], Some("a")),
            (&["sessionid=a; sessionid=b"], None),
            (&["sessionid=a", "sessionid=b"], None),
            (&["sessionid=a b"], None),
            (&["sessionid="], None),
            (&[&fits], fits.strip_prefix("sessionid=")),
            (&[&format!("{fits}x")], None),
        ];
        for (lines, expected) in table {
            let lines = lines.iter().map(|line| ("cookie", *line));
            let headers: Vec<_> = [PAGE].into_iter().chain(lines).collect();
            assert_eq!(kept(&headers).get("sessionid"), expected, "{headers:?}");
        }
    }
}
