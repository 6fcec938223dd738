//! The part of a request's headers that is kept.

use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue};

/// The headers that an application may see: those that sockjs-node passes on, and the origin.
const KEPT: [&str; 15] = [
    "origin",
    "referer",
    "x-client-ip",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-cluster-client-ip",
    "via",
    "x-real-ip",
    "x-forwarded-proto",
    "x-ssl",
    "dnt",
    "host",
    "user-agent",
    "accept-language",
];

/// Of these only the first line counts, as in Node. The values of others are joined by commas.
const SINGLE: [&str; 4] = ["origin", "referer", "host", "user-agent"];

/// A longer value is omitted, so that a client cannot make its idle connection costly. Only
/// `x-forwarded-for` keeps its end, which is what proxies append. In bytes of UTF-8.
const VALUE_BYTES_MAX: usize = 4096;

/// The most that all of them take together, with their names.
const BYTES_MAX: usize = 8 * 1024;

/// Has its place before all others: a client must not be able to crowd out what its proxies say.
const FORWARDED: &str = "x-forwarded-for";

/// The headers of a client's opening request that an application may see.
///
/// These say where a client comes from and what it is: `origin`, `referer`, `x-client-ip`, `x-forwarded-for`,
/// `x-forwarded-host`, `x-forwarded-port`, `x-cluster-client-ip`, `via`, `x-real-ip`,
/// `x-forwarded-proto`, `x-ssl`, `dnt`, `host`, `user-agent` and `accept-language`. They are the
/// same as in Meteor, and `origin`. Cookies are not among them, because browsers also send them when a script of
/// another site connects. A header that is empty or longer than 4 KiB is missing; of
/// `x-forwarded-for` the last 4 KiB are kept. All together have 8 KiB: first `x-forwarded-for`, then
/// the others from the shortest to the longest. So one of up to 256 bytes is always there.
///
/// The client can put anything into them. Trust only what your own proxy has set.
///
/// Cheap to clone and small: the values are copied from the request.
#[derive(Clone, PartialEq, Eq)]
pub struct Headers {
    /// One line per header: its name, a colon and the value.
    lines: Arc<str>,
}

impl Headers {
    pub(super) fn keep(request: &HeaderMap) -> Self {
        let mut kept = KEPT.map(|name| (name, value(request, name)));
        let mut order: [usize; KEPT.len()] = std::array::from_fn(|index| index);
        order.sort_by_key(|index| {
            let (name, value) = &kept[*index];
            if *name == FORWARDED { 0 } else { value.len() }
        });
        let mut room = BYTES_MAX;
        for index in order {
            let (name, value) = &mut kept[index];
            match room.checked_sub(line_bytes(name, value)) {
                Some(rest) if value.len() <= VALUE_BYTES_MAX => room = rest,
                _ => value.clear(),
            }
        }
        let mut lines = String::with_capacity(BYTES_MAX - room);
        for (name, value) in kept.iter().filter(|(_, value)| !value.is_empty()) {
            lines.extend([*name, ":", value.as_str(), "\n"]);
        }
        Self { lines: lines.into() }
    }

    /// The value of a header, whose name may be in upper or lower case.
    ///
    /// If a header has several lines, their values are joined by commas. A value that is not UTF-8
    /// is read as ISO 8859-1.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The names, in lower case, and the values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        // A value may contain colons, but neither it nor a name can contain a line break.
        self.lines.lines().filter_map(|line| line.split_once(':'))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// What a header takes of what is kept; nothing if it has no value.
fn line_bytes(name: &str, value: &str) -> usize {
    if value.is_empty() { 0 } else { name.len() + value.len() + ":\n".len() }
}

/// The value of a header, decoded; empty if there is none.
fn value(request: &HeaderMap, name: &str) -> String {
    let values = request.get_all(name).iter().map(HeaderValue::as_bytes);
    let count = if SINGLE.contains(&name) { 1 } else { usize::MAX };
    let values: Vec<&[u8]> = values.take(count).collect();
    let value = text(values.join(&b", "[..]));
    if name == FORWARDED { end(value) } else { value }
}

/// As many whole addresses from the end as fit: a client must not be able to hide what its proxies
/// say behind what it says itself.
fn end(mut value: String) -> String {
    let Some(excess) = value.len().checked_sub(VALUE_BYTES_MAX + 1) else { return value };
    if let Some(comma) = value.as_bytes()[excess..].iter().position(|byte| *byte == b',') {
        value.drain(..=excess + comma);
        value.drain(..value.len() - value.trim_ascii_start().len());
    }
    value
}

fn text(value: Vec<u8>) -> String {
    String::from_utf8(value)
        .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn keep(lines: &[(&'static str, &[u8])]) -> Headers {
        let mut request = HeaderMap::new();
        for (name, value) in lines {
            let value = HeaderValue::from_bytes(value).expect("a header value");
            request.append(HeaderName::from_static(name), value);
        }
        Headers::keep(&request)
    }

    #[test]
    fn what_is_not_listed_is_not_kept() {
        let headers = keep(&[
            ("host", b"[::1]:3000"),
            ("cookie", b"secret=1"),
            ("origin", b"https://app.example"),
            ("authorization", b"Basic eA=="),
            ("accept-language", b"de, en;q=0.5"),
        ]);
        let kept: Vec<_> = headers.iter().collect();
        let origin = ("origin", "https://app.example");
        assert_eq!(kept, [origin, ("host", "[::1]:3000"), ("accept-language", "de, en;q=0.5")]);
        assert_eq!(headers.get("Accept-LANGUAGE"), Some("de, en;q=0.5"));
        for name in ["cookie", "authorization", "", "hos", "host:[::1]"] {
            assert_eq!(headers.get(name), None, "{name}");
        }
        let shown = r#"{"origin": "https://app.example", "host": "[::1]:3000", "accept-language": "de, en;q=0.5"}"#;
        assert_eq!(format!("{headers:?}"), shown);
        assert_eq!(keep(&[]).iter().count(), 0);
    }

    #[test]
    fn every_listed_header_is_kept() {
        for name in KEPT {
            let headers = keep(&[(name, b"value")]);
            assert_eq!(headers.get(name), Some("value"));
        }
    }

    #[test]
    fn repeated_headers_are_joined_or_the_first_one_counts() {
        let headers = keep(&[
            ("x-forwarded-for", b"192.0.2.1"),
            ("user-agent", b"first"),
            ("x-forwarded-for", b"192.0.2.2, 192.0.2.3"),
            ("user-agent", b"second"),
        ]);
        assert_eq!(headers.get("x-forwarded-for"), Some("192.0.2.1, 192.0.2.2, 192.0.2.3"));
        assert_eq!(headers.get("user-agent"), Some("first"));
    }

    #[test]
    fn values_of_any_bytes_are_text() {
        let table: [(&[u8], Option<&str>); 5] = [
            (b"caf\xe9", Some("caf\u{e9}")),
            ("caf\u{e9}".as_bytes(), Some("caf\u{e9}")),
            (b"a:b\tc\x85d", Some("a:b\tc\u{85}d")),
            (b"\xe2\x80\xa8", Some("\u{2028}")),
            (b"", None),
        ];
        for (value, expected) in table {
            assert_eq!(keep(&[("user-agent", value)]).get("user-agent"), expected, "{value:x?}");
        }
    }

    #[test]
    fn long_values_are_left_out() {
        let (fits, long) = ([b'x'; VALUE_BYTES_MAX], [b'x'; VALUE_BYTES_MAX + 1]);
        assert_eq!(keep(&[("via", &fits)]).get("via").map(str::len), Some(VALUE_BYTES_MAX));
        let headers = keep(&[("referer", &long), ("via", &fits), ("via", b"x"), ("dnt", b"1")]);
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("dnt", "1")]);
    }

    #[test]
    fn a_client_cannot_hide_the_address_that_a_proxy_appends() {
        let (long, name) = ([b'x'; 3000], "x-forwarded-for");
        let headers = keep(&[(name, &long), (name, &long), (name, b"192.0.2.1,192.0.2.2")]);
        let kept = headers.get(name).expect("the end");
        assert!(kept.len() <= VALUE_BYTES_MAX && kept.ends_with("x, 192.0.2.1,192.0.2.2"));
        assert_eq!(kept.split(',').count(), 3, "an address is kept as a whole");
        let endless = [b'x'; VALUE_BYTES_MAX + 1];
        assert_eq!(keep(&[(name, &endless)]).get(name), None);
    }

    #[test]
    fn all_together_are_bounded_and_the_short_ones_are_there() {
        let (short, long) = ([b'x'; 256], [b'x'; VALUE_BYTES_MAX]);
        for name in KEPT {
            let lines = KEPT.map(|other| (other, if other == name { &short[..] } else { &long }));
            let headers = keep(&lines);
            assert!(headers.lines.len() <= 8 * 1024, "{name}");
            assert_eq!(headers.get(name).map(str::len), Some(256), "{name}");
            assert!(headers.get("x-forwarded-for").is_some(), "{name}");
        }
        // Nothing is left out without need.
        let fits = [("via", &long[..]), ("referer", &[b'x'; 4000]), ("dnt", b"1")];
        assert_eq!(keep(&fits).iter().count(), 3);
    }

    #[test]
    fn values_are_measured_as_they_are_kept() {
        let (fits, long) = ([0xe9; VALUE_BYTES_MAX / 2], [0xe9; VALUE_BYTES_MAX / 2 + 1]);
        let headers = keep(&[("via", &long), ("user-agent", &fits)]);
        assert_eq!(headers.get("via"), None);
        assert_eq!(headers.get("user-agent").map(str::len), Some(VALUE_BYTES_MAX));
        let headers = keep(&KEPT.map(|name| (name, &[0xe9; 1500][..])));
        assert_eq!(headers.iter().count(), 2);
        let addresses = [&long[..], b",192.0.2.1"].concat();
        assert_eq!(
            keep(&[("x-forwarded-for", &addresses)]).get("x-forwarded-for"),
            Some("192.0.2.1")
        );
    }

    #[test]
    fn a_copy_leaves_the_request_behind() {
        let buffer = bytes::Bytes::from(b"dnt: 1\r\nuser-agent: x".to_vec());
        let value = HeaderValue::from_maybe_shared(buffer.slice(20..)).expect("a header value");
        let mut request = HeaderMap::new();
        request.insert("user-agent", value);
        let headers = Headers::keep(&request);
        assert!(!buffer.is_unique(), "a value of the request shares the buffer");
        drop(request);
        assert!(buffer.is_unique());
        assert_eq!(headers.get("user-agent"), Some("x"));
    }
}
