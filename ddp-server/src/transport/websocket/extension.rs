//! The negotiation of permessage-deflate (RFC 7692 section 7.1).

use axum::http::{HeaderMap, header::SEC_WEBSOCKET_EXTENSIONS};

/// The extension's name (section 7).
const NAME: &str = "permessage-deflate";

/// At most this many offers are considered; browsers make one.
const OFFERS_MAX: usize = 32;

/// The header violates the grammar of RFC 6455 section 9.1, so the handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The answer to the first acceptable offer of permessage-deflate; `None` declines them all.
///
/// Neither side ever keeps its window: our frames are compressed once for all clients, and no
/// connection has memory for the client's. An offer that demands a smaller server window is
/// declined, since shared frames use the largest. A client may use any window.
pub(super) fn negotiate(headers: &HeaderMap) -> Result<Option<&'static str>, Malformed> {
    let mut answer = None;
    let mut offers = 0;
    for value in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        let mut rest = Scanner(value.as_bytes());
        loop {
            rest.skip_spaces();
            // Empty elements of a list are ignored (RFC 9110 section 5.6.1.2).
            if rest.take(b',') {
                continue;
            }
            if rest.0.is_empty() {
                break;
            }
            let offered = rest.offer()?;
            offers += 1;
            if answer.is_none() && offers <= OFFERS_MAX {
                answer = offered;
            }
        }
    }
    Ok(answer)
}

/// The parameters of an offer; each may be given once.
#[derive(Debug, Default)]
struct Offer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: bool,
    is_declined: bool,
}

impl Offer {
    /// Checks a parameter. An unknown or repeated one, or a bad value, declines the offer (section
    /// 7).
    fn parameter(&mut self, name: &[u8], value: Option<&[u8]>) {
        let is_repeated = match (name, value) {
            (b"server_no_context_takeover", None) => {
                std::mem::replace(&mut self.server_no_context_takeover, true)
            }
            (b"client_no_context_takeover", None) => {
                std::mem::replace(&mut self.client_no_context_takeover, true)
            }
            (b"server_max_window_bits", Some(value)) => match window_bits(value) {
                Some(bits) => self.server_max_window_bits.replace(bits).is_some(),
                None => true,
            },
            (b"client_max_window_bits", value) => {
                let is_bad = value.is_some_and(|value| window_bits(value).is_none());
                std::mem::replace(&mut self.client_max_window_bits, true) || is_bad
            }
            _ => true,
        };
        self.is_declined |= is_repeated;
    }

    fn answer(&self) -> Option<&'static str> {
        match self.server_max_window_bits {
            _ if self.is_declined => None,
            None => {
                Some("permessage-deflate; server_no_context_takeover; client_no_context_takeover")
            }
            // A demanded parameter must be confirmed (section 7.1.2.1).
            Some(15) => Some(
                "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
                 server_max_window_bits=15",
            ),
            Some(_) => None,
        }
    }
}

/// The base-2 logarithm of a window's size: 8 to 15 without leading zeros (section 7.1.2).
fn window_bits(value: &[u8]) -> Option<u8> {
    match value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// The unread rest of a header's value.
struct Scanner<'a>(&'a [u8]);

impl<'a> Scanner<'a> {
    /// One extension with its parameters; the answer if it is an acceptable offer.
    fn offer(&mut self) -> Result<Option<&'static str>, Malformed> {
        let is_ours = self.token()?.eq_ignore_ascii_case(NAME.as_bytes());
        let mut offer = Offer::default();
        loop {
            self.skip_spaces();
            if self.0.is_empty() || self.0[0] == b',' {
                return Ok(if is_ours { offer.answer() } else { None });
            }
            if !self.take(b';') {
                return Err(Malformed);
            }
            self.skip_spaces();
            let name = self.token()?;
            self.skip_spaces();
            let value = if self.take(b'=') {
                self.skip_spaces();
                Some(self.value()?)
            } else {
                None
            };
            offer.parameter(name, value);
        }
    }

    /// A token, quoted or not. Inside quotes it must be a token, too; escapes, which a token never
    /// needs, are not supported.
    fn value(&mut self) -> Result<&'a [u8], Malformed> {
        if !self.take(b'"') {
            return self.token();
        }
        let value = self.token()?;
        if self.take(b'"') { Ok(value) } else { Err(Malformed) }
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.0.iter().position(|byte| !is_token(*byte)).unwrap_or(self.0.len());
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        if token.is_empty() { Err(Malformed) } else { Ok(token) }
    }

    fn take(&mut self, byte: u8) -> bool {
        let taken = self.0.split_first().filter(|(first, _)| **first == byte);
        taken.map(|(_, rest)| self.0 = rest).is_some()
    }

    fn skip_spaces(&mut self) {
        while self.take(b' ') || self.take(b'\t') {}
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    const BITS: &str = "permessage-deflate; server_no_context_takeover; \
        client_no_context_takeover; server_max_window_bits=15";

    fn negotiate_lines(lines: &[&[u8]]) -> Result<Option<&'static str>, Malformed> {
        let mut headers = HeaderMap::new();
        for line in lines {
            let value = HeaderValue::from_bytes(line).expect("a header value");
            headers.append(SEC_WEBSOCKET_EXTENSIONS, value);
        }
        negotiate(&headers)
    }

    fn answer(line: &str) -> Option<&'static str> {
        negotiate_lines(&[line.as_bytes()]).expect(line)
    }

    #[test]
    fn offers_are_taken() {
        let taken = [
            "permessage-deflate",
            "PerMessage-Deflate",
            "permessage-deflate; client_max_window_bits",
            "permessage-deflate;client_max_window_bits=8",
            "permessage-deflate; client_max_window_bits=\"15\"",
            "permessage-deflate; server_no_context_takeover",
            "permessage-deflate; client_no_context_takeover",
            " permessage-deflate ; client_no_context_takeover\t; server_no_context_takeover ",
            "x-webkit-deflate-frame, permessage-deflate",
            "foo; bar=\"baz\"; permessage-deflate, permessage-deflate",
            "permessage-deflate; server_max_window_bits=9, permessage-deflate",
            "permessage-deflate; unknown, , permessage-deflate,",
        ];
        for line in taken {
            assert_eq!(answer(line), Some(PLAIN), "{line}");
        }
        let both = "permessage-deflate; server_max_window_bits=15, permessage-deflate";
        assert_eq!(answer(both), Some(BITS), "the first that fits");
        let lines: [&[u8]; 2] = [b"permessage-deflate; server_max_window_bits=8", NAME.as_bytes()];
        assert_eq!(negotiate_lines(&lines), Ok(Some(PLAIN)));
        assert_eq!(negotiate_lines(&[]), Ok(None));
    }

    #[test]
    fn offers_are_declined() {
        let parameters = [
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=8",
            "server_max_window_bits=14",
            "server_max_window_bits=16",
            "server_max_window_bits=015",
            "server_max_window_bits=15; server_max_window_bits=15",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=08",
            "client_max_window_bits=x",
            "client_max_window_bits; client_max_window_bits=10",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_no_context_takeover; client_no_context_takeover",
            "unknown",
            "unknown=1",
        ];
        for parameter in parameters {
            assert_eq!(answer(&format!("permessage-deflate; {parameter}")), None, "{parameter}");
        }
        for line in ["", ",", "permessage-bzip2", "deflate", "permessage-deflate2"] {
            assert_eq!(answer(line), None, "{line}");
        }
        let late = format!("{}permessage-deflate", "x,".repeat(OFFERS_MAX));
        assert_eq!(answer(&late), None);
    }

    #[test]
    fn every_combination_of_parameters() {
        for bits in 0..8 {
            for server in ["", "; server_max_window_bits=9", "; server_max_window_bits=15"] {
                let take = |bit: u8, text: &'static str| if bits & bit == 0 { "" } else { text };
                let line = format!(
                    "permessage-deflate{}{}{}{server}",
                    take(1, "; server_no_context_takeover"),
                    take(2, "; client_no_context_takeover"),
                    take(4, "; client_max_window_bits"),
                );
                let expected = match server.len() {
                    0 => Some(PLAIN),
                    _ if server.ends_with("15") => Some(BITS),
                    _ => None,
                };
                assert_eq!(answer(&line), expected, "{line}");
            }
        }
    }

    #[test]
    fn what_is_not_the_grammar_is_malformed() {
        for line in [
            ";",
            "=",
            "permessage-deflate;",
            "permessage-deflate; =1",
            "a; b=",
            "a; b=\"c",
            "a b",
            "a; b=\"\"",
            "a; b=\"c d\"",
            "a; b c",
            "\"a\"",
            "permessage-deflate; a, b/c",
        ] {
            assert_eq!(negotiate_lines(&[line.as_bytes()]), Err(Malformed), "{line}");
        }
        assert_eq!(negotiate_lines(&[b"permessage-deflate\xff"]), Err(Malformed));
    }

    proptest! {
        #[test]
        fn noise_never_panics(line in "[ -~\t]{0,200}") {
            let _ = negotiate_lines(&[line.as_bytes()]);
        }
    }
}
