//! What clients may send: forms and limits of arguments, as Meteor's `check` has them.
//!
//! What does not fit is `Match failed [400]`. Strings are strings: an object or an array in the place
//! of one never reaches a store.

use std::fmt;

use sha2::{Digest, Sha256};

use super::store::Selector;
use crate::ejson::{Ejson, Object, RawParams};
use crate::error::Error;

/// The most characters of a username.
pub(super) const USERNAME_CHARS_MAX: usize = 256;
/// The most bytes of an address, as in SMTP.
pub(super) const ADDRESS_BYTES_MAX: usize = 256;
/// The most bytes of a password that is sent itself.
const PASSWORD_BYTES_MAX: usize = 4 * 1024;
/// The most bytes of a token or an id.
const TOKEN_BYTES_MAX: usize = 1024;
/// The most bytes of all arguments where there is no profile.
pub(super) const ARGUMENTS_BYTES_MAX: usize = 64 * 1024;

/// The same of `createUser`, with the profile.
pub(super) const CREATION_BYTES_MAX: usize = 16 * 1024;

/// A password as a client sends it.
#[derive(Clone)]
pub(super) enum Password {
    /// 64 hexadecimal digits: its SHA-256.
    Digest(String),
    /// Itself.
    Plain(String),
}

impl Password {
    /// 64 hexadecimal digits, which is what gets hashed.
    pub(super) fn digest(&self) -> String {
        match self {
            Self::Digest(digest) => digest.clone(),
            Self::Plain(text) => digest(text),
        }
    }

    /// The password itself, if it was sent.
    pub(super) fn plain(&self) -> Option<&str> {
        match self {
            Self::Digest(_) => None,
            Self::Plain(text) => Some(text),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// The SHA-256 of a password, as Meteor's clients send it.
fn digest(password: &str) -> String {
    Sha256::digest(password.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `Match failed`, as Meteor's `check` has it.
pub(super) fn match_failed() -> Error {
    ddp_core::DdpError::match_failed().into()
}

/// Exactly this many arguments; those that are left out at the end are `null`.
pub(super) fn arguments<const N: usize>(
    params: &RawParams,
    bytes_max: usize,
) -> Result<[Ejson; N], Error> {
    if params.as_text().len() > bytes_max {
        return Err(match_failed());
    }
    let mut arguments: Vec<Ejson> = params.read().map_err(|_| match_failed())?;
    if arguments.len() > N {
        return Err(match_failed());
    }
    arguments.resize(N, Ejson::Null);
    arguments.try_into().map_err(|_| match_failed())
}

pub(super) fn object(value: Ejson) -> Result<Object, Error> {
    match value {
        Ejson::Object(object) => Ok(object),
        _ => Err(match_failed()),
    }
}

fn text(value: Ejson) -> Result<String, Error> {
    match value {
        Ejson::String(text) if !text.contains('\0') => Ok(text),
        _ => Err(match_failed()),
    }
}

/// A username that is not empty.
pub(super) fn username(value: Ejson) -> Result<String, Error> {
    let text = text(value)?;
    if is_username(&text) { Ok(text) } else { Err(match_failed()) }
}

/// An address that is not empty, and that no mailer can take for several or for a line of a mail's head.
pub(super) fn address(value: Ejson) -> Result<String, Error> {
    let text = text(value)?;
    if is_address(&text) { Ok(text) } else { Err(match_failed()) }
}

pub(super) fn is_username(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0') && text.chars().count() <= USERNAME_CHARS_MAX
}

pub(super) fn is_address(text: &str) -> bool {
    let is_odd = |letter: char| {
        letter.is_control() || letter.is_whitespace() || r#",;<>()[]"\"#.contains(letter)
    };
    !text.is_empty() && text.len() <= ADDRESS_BYTES_MAX && !text.contains(is_odd)
}

pub(super) fn is_password(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0') && text.len() <= PASSWORD_BYTES_MAX
}

/// A token or an id.
pub(super) fn token(value: Ejson) -> Result<String, Error> {
    let text = text(value)?;
    let fits = !text.is_empty() && text.len() <= TOKEN_BYTES_MAX;
    if fits { Ok(text) } else { Err(match_failed()) }
}

/// A digest with its algorithm, or the password itself.
pub(super) fn password(value: Ejson) -> Result<Password, Error> {
    match value {
        Ejson::String(text) if is_password(&text) => Ok(Password::Plain(text)),
        Ejson::Object(object) if object.len() == 2 => {
            let member = |name| object.get(name).and_then(Ejson::as_str);
            let (digest, algorithm) = (member("digest"), member("algorithm"));
            let digest = digest.filter(|digest| {
                digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
            });
            match (digest, algorithm) {
                (Some(digest), Some("sha-256")) => Ok(Password::Digest(digest.to_owned())),
                _ => Err(match_failed()),
            }
        }
        _ => Err(match_failed()),
    }
}

/// A new password, which must not be that of an empty text either: Meteor's clients refuse it, so
/// whoever sends it is no such client.
pub(super) fn new_password(value: Ejson) -> Result<Password, Error> {
    const OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    match password(value)? {
        Password::Digest(digest) if digest == OF_NOTHING => Err(match_failed()),
        password => Ok(password),
    }
}

/// Exactly one of `{id}`, `{username}` and `{email}`, or a text, which is an address if it has an
/// `@`.
pub(super) fn selector(value: Ejson) -> Result<Selector, Error> {
    if let Ejson::String(text) = &value {
        return if text.contains('@') {
            address(value).map(Selector::Email)
        } else {
            username(value).map(Selector::Username)
        };
    }
    let mut members = object(value)?.into_iter();
    let (Some((name, value)), None) = (members.next(), members.next()) else {
        return Err(match_failed());
    };
    match name.as_str() {
        "id" => token(value).map(Selector::Id),
        "username" => username(value).map(Selector::Username),
        "email" => address(value).map(Selector::Email),
        _ => Err(match_failed()),
    }
}

/// What JavaScript takes for false.
pub(super) fn is_falsy(value: &Ejson) -> bool {
    match value {
        Ejson::Null | Ejson::Bool(false) => true,
        Ejson::String(text) => text.is_empty(),
        Ejson::Number(number) => *number == 0.0 || number.is_nan(),
        _ => false,
    }
}

/// A member that may be left out.
pub(super) fn optional<T>(
    object: &mut Object,
    name: &str,
    read: impl FnOnce(Ejson) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    match object.shift_remove(name) {
        None | Some(Ejson::Null) => Ok(None),
        Some(value) => read(value).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ejson;

    fn parse(text: &str) -> Ejson {
        ejson::parse(text).unwrap()
    }

    #[test]
    fn strings_are_strings_and_have_limits() {
        let long = format!("\"{}\"", "x".repeat(USERNAME_CHARS_MAX + 1));
        for text in ["5", "null", "{\"$gt\":\"\"}", "[\"ada\"]", "\"\"", "\"a\\u0000\"", &long] {
            let failed = [
                username(parse(text)).is_err(),
                address(parse(text)).is_err(),
                text == long || token(parse(text)).is_err(),
                text == long || password(parse(text)).is_err(),
            ];
            assert_eq!(failed, [true; 4], "{text}");
        }
        assert!(username(Ejson::from("é".repeat(USERNAME_CHARS_MAX))).is_ok());
        assert!(address(Ejson::from("a@b.c\r\nBcc: everybody@b.c")).is_err());
        assert!(token(Ejson::from("x".repeat(TOKEN_BYTES_MAX + 1))).is_err());
        assert!(password(Ejson::from("x".repeat(PASSWORD_BYTES_MAX + 1))).is_err());
        assert!(password(Ejson::from("x".repeat(PASSWORD_BYTES_MAX))).is_ok());
    }

    #[test]
    fn a_digest_is_one() {
        let digest = digest("password");
        let with = |digest: &str, algorithm: &str| {
            let digest = [("digest", digest), ("algorithm", algorithm)];
            password(Ejson::object(digest))
        };
        let password = with(&digest, "sha-256").unwrap();
        assert_eq!(password.digest(), Password::Plain("password".to_owned()).digest());
        assert!(password.plain().is_none() && !format!("{password:?}").contains(&digest));
        assert!(with(&digest, "md5").is_err());
        assert!(with(&digest[1..], "sha-256").is_err());
        assert!(with(&digest.replace('5', "x"), "sha-256").is_err());
        let nothing = Password::Plain(String::new()).digest();
        let nothing = [("digest", nothing.as_str()), ("algorithm", "sha-256")];
        assert!(new_password(Ejson::object(nothing)).is_err());
    }

    #[test]
    fn a_selector_has_one_member() {
        let read = |text| selector(parse(text)).ok();
        let ada = "ada".to_owned();
        assert_eq!(read(r#"{"username":"ada"}"#), Some(Selector::Username(ada.clone())));
        assert_eq!(read(r#"{"id":"ada"}"#), Some(Selector::Id(ada.clone())));
        assert_eq!(read(r#"{"email":"ada"}"#), Some(Selector::Email(ada.clone())));
        assert_eq!(read(r#""ada""#), Some(Selector::Username(ada)));
        assert_eq!(read(r#""a@b.c""#), Some(Selector::Email("a@b.c".to_owned())));
        for text in
            [r#"{}"#, r#"{"id":"a","email":"b"}"#, r#"{"name":"a"}"#, r#"{"id":{"$ne":1}}"#, "[]"]
        {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn arguments_are_counted_and_bounded() {
        let params = |text: &str| RawParams::from_text(text).unwrap().unwrap();
        assert_eq!(arguments(&params("[1]"), 9).unwrap(), [Ejson::from(1.0), Ejson::Null]);
        assert!(arguments::<1>(&params("[1,2]"), 9).is_err());
        assert!(arguments::<1>(&params("[\"12345678\"]"), 9).is_err());
    }
}
