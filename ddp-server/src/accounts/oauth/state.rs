//! The state that a client makes, and that comes back from the provider: who began which login.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// The longest state, as text.
pub(super) const STATE_BYTES_MAX: usize = 4 * 1024;

/// A credential token has at least this many characters: `Random.id()` has 17, `Random.secret()` 43.
const TOKEN_CHARS_MIN: usize = 16;
const TOKEN_CHARS_MAX: usize = 128;

/// What Meteor's `OAuth._stateParam` holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LoginState {
    pub(super) style: LoginStyle,
    /// 16 to 128 of `A-Za-z0-9-_`.
    pub(super) credential_token: String,
    pub(super) is_cordova: bool,
    /// As the client wants it: it may lead anywhere.
    pub(super) redirect_url: Option<String>,
}

/// How a client shows the provider's pages: Meteor's `loginStyle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum LoginStyle {
    /// In a window of their own, which closes at the end.
    Popup,
    /// In the place of the application, which is loaded again at the end.
    Redirect,
}

impl LoginStyle {
    /// `popup` or `redirect`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Popup => "popup",
            Self::Redirect => "redirect",
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    login_style: LoginStyle,
    credential_token: String,
    is_cordova: Option<bool>,
    redirect_url: Option<String>,
}

impl LoginState {
    /// Reads what a client made, or whoever pretends to be one.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.len() > STATE_BYTES_MAX {
            return None;
        }
        let padding = DecodePaddingMode::Indifferent;
        let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(padding);
        // A plus that was not escaped arrives as a space.
        let text = text.replace([' ', '-'], "+").replace('_', "/");
        let bytes = GeneralPurpose::new(&STANDARD, lenient).decode(text).ok()?;
        // Browsers' `btoa` makes a byte of each character.
        let json: String = bytes.into_iter().map(char::from).collect();
        let sent: Sent = serde_json::from_str(&json).ok()?;
        is_token(&sent.credential_token).then_some(Self {
            style: sent.login_style,
            credential_token: sent.credential_token,
            is_cordova: sent.is_cordova.unwrap_or_default(),
            redirect_url: sent.redirect_url.filter(|url| !url.is_empty()),
        })
    }
}

/// Whether it is of a form that needs no escape anywhere.
pub(super) fn is_token(text: &str) -> bool {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_safe)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    const TOKEN: &str = "a-credential-token_0";

    #[test]
    fn a_state_is_read_as_meteor_writes_it() {
        let json = format!(
            r#"{{"loginStyle":"redirect","credentialToken":"{TOKEN}","isCordova":false,"redirectUrl":"https://a.b/>?x"}}"#
        );
        let expected = LoginState {
            style: LoginStyle::Redirect,
            credential_token: TOKEN.to_owned(),
            is_cordova: false,
            redirect_url: Some("https://a.b/>?x".to_owned()),
        };
        let standard = STANDARD.encode(&json);
        let as_sent = standard.replace('+', " ");
        for text in [standard, as_sent, URL_SAFE_NO_PAD.encode(&json)] {
            assert_eq!(LoginState::read(&text).as_ref(), Some(&expected), "{text}");
        }
        let short = format!(r#"{{"loginStyle":"popup","credentialToken":"{TOKEN}"}}"#);
        assert!(LoginState::read(&STANDARD.encode(short)).is_some());
    }

    #[test]
    fn a_state_that_is_none_is_refused() {
        let of = |style: &str, token: &str, more: &str| {
            STANDARD
                .encode(format!(r#"{{"loginStyle":"{style}","credentialToken":"{token}"{more}}}"#))
        };
        let long = "x".repeat(TOKEN_CHARS_MAX + 1);
        for text in [
            String::new(),
            "%%%".to_owned(),
            STANDARD.encode("no JSON"),
            STANDARD.encode("[]"),
            STANDARD.encode(r#"{"loginStyle":"popup"}"#),
            of("inline", TOKEN, ""),
            of("popup", "short", ""),
            of("popup", &long, ""),
            of("popup", "<script>alert(1)</script>", ""),
            of("popup", TOKEN, r#","redirectUrl":{"$ne":1}"#),
            of("popup", TOKEN, &format!(r#","redirectUrl":"{}""#, "x".repeat(STATE_BYTES_MAX))),
        ] {
            assert_eq!(LoginState::read(&text), None, "{text}");
        }
    }
}
