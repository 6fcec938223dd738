//! Whose pages may connect.

use std::fmt;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::{HeaderName, ORIGIN, REFERER};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The origins whose pages may connect, for
/// [`ServerConfig::allowed_origins`](crate::ServerConfig::allowed_origins); by default any.
///
/// A browser tells by the header `Origin` which page wants to connect, and a page cannot change
/// that. Programs that are not browsers may say anything or nothing, and are not kept out.
///
/// ```
/// use ddp_server::{Origins, ServerConfig};
///
/// # fn main() -> Result<(), ddp_server::NotAnOrigin> {
/// let mut config = ServerConfig::default();
/// config.allowed_origins = Origins::only(["https://app.example.com", "http://localhost:3000"])?;
/// assert!(Origins::only(["app.example.com"]).is_err(), "an origin begins with a scheme");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Origins(Option<Arc<[String]>>);

/// Text that is not an origin, which no browser could ever send.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an origin: write scheme, host and, unless it is the usual one, the port, such as \
     https://app.example.com"
)]
pub struct NotAnOrigin(String);

impl Origins {
    /// Any origin.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Only these, such as `https://app.example.com`, and clients that are not browsers. That of the
    /// server's own pages must be among them.
    ///
    /// # Errors
    /// If one of them is not an origin.
    pub fn only<T: Into<String>>(
        origins: impl IntoIterator<Item = T>,
    ) -> Result<Self, NotAnOrigin> {
        let origins = origins.into_iter().map(|origin| checked(origin.into()));
        Ok(Self(Some(origins.collect::<Result<_, _>>()?)))
    }

    /// Whether any origin may connect.
    pub(crate) fn is_any(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the page that makes this request may.
    pub(super) fn allow(&self, request: &HeaderMap) -> bool {
        let Some(allowed) = &self.0 else { return true };
        if let Some(origin) = text(request, &ORIGIN) {
            return is_among(allowed, origin);
        }
        // A script or a frame is loaded without `Origin`; then browsers tell what it is to the page.
        match text(request, &SEC_FETCH_SITE) {
            None | Some("same-origin" | "none") => true,
            Some(_) => {
                let referer = text(request, &REFERER).and_then(origin_of);
                referer.is_some_and(|origin| is_among(allowed, origin))
            }
        }
    }

    /// Whether a browser says by `Origin` that a script of a page of these origins makes this request, so
    /// that its cookies were not sent along for somebody else. False if any may connect.
    ///
    /// `Sec-Fetch-Site: same-origin` is not enough: links and images on the server's own origin have it as
    /// well, and whoever wrote them has chosen the name of a SockJS session. Forms have an `Origin`, but are
    /// documents.
    pub(super) fn vouch_for(&self, request: &HeaderMap) -> bool {
        let Some(allowed) = &self.0 else { return false };
        let by_script =
            matches!(text(request, &SEC_FETCH_DEST), None | Some("empty" | "websocket"));
        by_script && text(request, &ORIGIN).is_some_and(|origin| is_among(allowed, origin))
    }

    /// The origins for a header that lists them.
    #[cfg(feature = "sockjs")]
    pub(super) fn listed(&self) -> Option<String> {
        self.0.as_ref().map(|origins| origins.join(" "))
    }
}

/// A header that can be there once. What is not text, or there twice, is nothing that a browser sends.
pub(crate) fn text<'a>(request: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = request.get_all(name).iter();
    let value = values.next()?;
    Some(if values.next().is_some() { "?" } else { value.to_str().unwrap_or("?") })
}

fn is_among(allowed: &[String], origin: &str) -> bool {
    allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

/// The origin of a URL.
fn origin_of(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    url.get(..scheme.len() + 3 + host.len())
}

fn checked(origin: String) -> Result<String, NotAnOrigin> {
    let is_origin = origin.split_once("://").is_some_and(|(scheme, host)| {
        let is_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        !scheme.is_empty()
            && scheme.bytes().all(is_scheme)
            && !host.is_empty()
            && host.bytes().all(is_host)
            && !(scheme == "http" && host.ends_with(":80"))
            && !(scheme == "https" && host.ends_with(":443"))
    });
    if is_origin { Ok(origin) } else { Err(NotAnOrigin(origin)) }
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(origins) => f.debug_list().entries(origins.iter()).finish(),
            None => f.write_str("any"),
        }
    }
}

/// As [`Display`](fmt::Display): a `main` that returns the error shows this.
impl fmt::Debug for NotAnOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn request(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut request = HeaderMap::new();
        for (name, value) in headers {
            request.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        request
    }

    #[test]
    fn only_listed_pages_are_allowed() {
        let only = Origins::only(["https://app.example", "http://localhost:3000"]).unwrap();
        let table: [(&[(&str, &str)], bool); 15] = [
            (&[], true),
            (&[("origin", "https://app.example")], true),
            (&[("origin", "HTTPS://APP.example")], true),
            (&[("origin", "http://localhost:3000")], true),
            (&[("origin", "http://app.example")], false),
            (&[("origin", "https://app.example.evil")], false),
            (&[("origin", "https://app.example:444")], false),
            (&[("origin", "null")], false),
            (&[("origin", "")], false),
            (&[("origin", "https://app.example"), ("origin", "https://evil.example")], false),
            (&[("origin", "https://app.example"), ("origin", "https://app.example")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "cross-site"), ("referer", "https://evil.example/")], false),
            (&[("sec-fetch-site", "cross-site"), ("referer", "https://app.example/a?b")], true),
        ];
        for (headers, is_allowed) in table {
            assert_eq!(only.allow(&request(headers)), is_allowed, "{headers:?}");
            assert!(Origins::any().allow(&request(headers)));
        }
        assert!(!only.allow(&request(&[("sec-fetch-site", "cross-site")])));
        let none = Origins::only::<&str>([]).unwrap();
        assert!(none.allow(&request(&[])) && !none.allow(&request(&[("origin", "https://a.b")])));
    }

    #[test]
    fn what_no_browser_sends_is_no_origin() {
        for sound in ["https://a.example", "http://[::1]:3000", "capacitor://localhost"] {
            assert!(Origins::only([sound]).is_ok(), "{sound}");
        }
        for wrong in [
            "",
            "*",
            "a.example",
            "https://",
            "https://a.example/",
            "https://a.example/path",
            "https://a.example:443",
            "http://a.example:80",
            "https://a b",
            "https://*.a.example",
        ] {
            let error = Origins::only([wrong]).unwrap_err().to_string();
            assert!(error.contains("is not an origin: write scheme, host"), "{error}");
        }
    }
}
