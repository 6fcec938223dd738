//! Whose page makes a request.
//!
//! Browsers send cookies along with requests that pages of other sites make, unless the cookie says
//! otherwise and the browser knows that. Whose page it is, is told by `Sec-Fetch-Site` and, in browsers
//! without it, `Origin`: no page can set either.

use axum::http::header::{HOST, HeaderName, ORIGIN};
use axum::http::request::Parts;

use crate::transport::open::ConnectionInfo;
use crate::transport::origin::text;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whose page makes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::accounts) enum Site {
    /// The application's.
    Own,
    /// Nobody says: the address bar, or no browser.
    Unknown,
    /// Another one's, of the same domain perhaps.
    Other,
}

/// Scheme and host, in lower case and without a usual port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin(String);

impl Origin {
    /// That of a URL of HTTP.
    pub(super) fn of_url(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        Self::new(scheme, rest.split(['/', '?', '#']).next()?)
    }

    fn new(scheme: &str, host: &str) -> Option<Self> {
        let (scheme, host) = (scheme.to_ascii_lowercase(), host.to_ascii_lowercase());
        let port = match scheme.as_str() {
            "http" => ":80",
            "https" => ":443",
            _ => return None,
        };
        let host = host.strip_suffix(port).unwrap_or(&host);
        (!host.is_empty()).then(|| Self(format!("{scheme}://{host}")))
    }

    pub(super) fn is_https(&self) -> bool {
        self.0.starts_with("https:")
    }
}

/// A request is of the application's own page if the browser says so, or if its origin is that of
/// `ROOT_URL` or where the request went to.
pub(super) fn site(request: &Parts, root: Option<&Origin>) -> Site {
    match text(&request.headers, &SEC_FETCH_SITE) {
        Some("same-origin") => return Site::Own,
        Some("none") | None => {}
        Some(_) => return Site::Other,
    }
    let Some(origin) = text(&request.headers, &ORIGIN) else { return Site::Unknown };
    match Origin::of_url(origin) {
        Some(origin) if root == Some(&origin) || of_host(request).as_ref() == Some(&origin) => {
            Site::Own
        }
        _ => Site::Other,
    }
}

/// Where the request went to, as far as this server can tell.
fn of_host(request: &Parts) -> Option<Origin> {
    let is_secure = ConnectionInfo::of_request(request).is_secure;
    let host = text(&request.headers, &HOST)?;
    Origin::new(if is_secure { "https" } else { "http" }, host)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn the_application_s_own_page_is_told_from_others() {
        let root = Origin::of_url("https://App.example:443/tasks/");
        let table: [(&[(&str, &str)], Site); 17] = [
            (&[], Site::Unknown),
            (&[("sec-fetch-site", "none")], Site::Unknown),
            (&[("sec-fetch-site", "same-origin")], Site::Own),
            (&[("sec-fetch-site", "same-site")], Site::Other),
            (&[("sec-fetch-site", "cross-site")], Site::Other),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://app.example")], Site::Other),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")], Site::Other),
            (&[("origin", "https://app.example")], Site::Own),
            (&[("origin", "HTTPS://APP.EXAMPLE")], Site::Own),
            (&[("origin", "http://app.example")], Site::Other),
            (&[("origin", "https://app.example.evil.example")], Site::Other),
            (&[("origin", "https://evil.example/https://app.example")], Site::Other),
            (&[("origin", "null")], Site::Other),
            (&[("origin", "https://app.example"), ("origin", "https://evil.example")], Site::Other),
            (&[("origin", "http://inner.example:3000"), ("host", "inner.example:3000")], Site::Own),
            (&[("origin", "https://inner.example"), ("host", "inner.example")], Site::Other),
            (&[("origin", "http://inner.example"), ("host", "inner.example:80")], Site::Own),
        ];
        for (headers, expected) in table {
            let mut request = Request::new(()).into_parts().0;
            for (name, value) in headers {
                request.headers.append(HeaderName::from_static(name), value.parse().unwrap());
            }
            assert_eq!(site(&request, root.as_ref()), expected, "{headers:?}");
        }
        assert!(
            Origin::of_url("ftp://a.example").is_none() && Origin::of_url("https://").is_none()
        );
    }
}
