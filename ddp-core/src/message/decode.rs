//! From text to [`ClientMessage`].

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::client::{ClientMessage, Malformed};
use crate::ejson::{self, Ejson, RawParams};
use crate::error::ProtocolError;

impl ClientMessage {
    /// Parses a client's message as a [`Session`](crate::Session) would. Unknown fields are
    /// ignored.
    ///
    /// # Errors
    /// What is wrong with it: the `reason` in Meteor's answer.
    pub fn from_text(text: &str) -> Result<Self, ProtocolError> {
        decode(text).map_err(|malformed| malformed.error)
    }
}

/// The longest id of a subscription or call, and name of a publication or method, in bytes. Ids of
/// Meteor's clients have up to 17. Both are repeated in answers: that nothing has such a name is told
/// twice in one.
const NAME_BYTES_MAX: usize = 256;

/// The longest id of a ping, in bytes of its JSON. It is not kept, only sent back.
const PING_ID_BYTES_MAX: usize = 16 * 1024;

/// The longest `connect`, in bytes. That of Meteor's client has about 100.
const CONNECT_BYTES_MAX: usize = 64 * 1024;

/// Decodes a message by its `msg`. Unknown fields are ignored; if a field is repeated, the last one
/// counts, as with `JSON.parse`.
pub(crate) fn decode(text: &str) -> Result<ClientMessage, Malformed> {
    let malformed = |error| Malformed { error, echo: true };
    let fields = match serde_json::from_str::<Envelope<'_>>(text) {
        Ok(Envelope::Object(fields)) => fields,
        Ok(Envelope::Array) => return Err(malformed(ProtocolError::BadRequest)),
        Ok(Envelope::Scalar) | Err(_) => {
            return Err(Malformed { error: ProtocolError::BadRequest, echo: false });
        }
    };
    match fields.msg.and_then(string).as_deref() {
        Some("connect") if text.len() > CONNECT_BYTES_MAX => {
            Err(malformed(ProtocolError::BadRequest))
        }
        Some("connect") => Ok(ClientMessage::Connect {
            version: fields.version.and_then(string),
            support: fields.support.and_then(strings),
            session: fields.session.and_then(string),
        }),
        Some("sub") => {
            let params = params(&fields)?;
            sub(&fields, params).ok_or(malformed(ProtocolError::MalformedSubscription))
        }
        Some("unsub") => Ok(ClientMessage::Unsub { id: fields.id.and_then(short) }),
        Some("method") => {
            let params = params(&fields)?;
            method(&fields, params).ok_or(malformed(ProtocolError::MalformedMethod))
        }
        Some("ping") if fields.id.is_some_and(|id| id.get().len() > PING_ID_BYTES_MAX) => {
            Err(malformed(ProtocolError::BadRequest))
        }
        Some("ping") => Ok(ClientMessage::Ping { id: fields.id.map(|id| id.get().to_owned()) }),
        Some("pong") => Ok(ClientMessage::Pong),
        Some("disconnect") => Ok(ClientMessage::Disconnect),
        _ if fields.msg.is_none_or(|msg| is_falsy(msg.get())) => {
            Err(malformed(ProtocolError::BadRequest))
        }
        _ => Err(malformed(ProtocolError::UnknownMessage)),
    }
}

/// Whether the value is falsy in JavaScript, which is how Meteor's server checks `msg`.
fn is_falsy(json: &str) -> bool {
    matches!(json, "null" | "false" | "\"\"")
        || json.parse::<f64>().is_ok_and(|number| number == 0.0)
}

fn sub(fields: &Fields<'_>, params: Option<RawParams>) -> Option<ClientMessage> {
    Some(ClientMessage::Sub { id: short(fields.id?)?, name: short(fields.name?)?, params: params? })
}

fn method(fields: &Fields<'_>, params: Option<RawParams>) -> Option<ClientMessage> {
    let random_seed = match fields.random_seed {
        None => None,
        Some(seed) => Some(string(seed)?).filter(|seed| !seed.is_empty()),
    };
    Some(ClientMessage::Method {
        id: short(fields.id?)?,
        method: short(fields.method?)?,
        params: params?,
        random_seed,
    })
}

/// The arguments, empty if the field is absent; `None` if it is not an array.
///
/// # Errors
/// If they are not EJSON. Meteor decodes them before it checks anything else, and does not echo
/// them.
fn params(fields: &Fields<'_>) -> Result<Option<RawParams>, Malformed> {
    let Some(raw) = fields.params else { return Ok(Some(RawParams::default())) };
    RawParams::from_text(raw.get())
        .map_err(|_| Malformed { error: ProtocolError::ParseError, echo: false })
}

/// An id or a name that is not too long.
fn short(raw: &RawValue) -> Option<String> {
    // Each character may be escaped.
    let may_fit = raw.get().len() <= 6 * NAME_BYTES_MAX + 2;
    may_fit.then(|| string(raw)).flatten().filter(|text| text.len() <= NAME_BYTES_MAX)
}

/// Parsed like in JavaScript: serde_json would refuse lone surrogates.
fn string(raw: &RawValue) -> Option<String> {
    if !raw.get().starts_with('"') {
        return None;
    }
    match ejson::parse(raw.get()) {
        Ok(Ejson::String(string)) => Some(string),
        _ => None,
    }
}

fn strings(raw: &RawValue) -> Option<Vec<String>> {
    serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok()?.into_iter().map(string).collect()
}

/// The outermost JSON value of a message.
enum Envelope<'a> {
    Object(Fields<'a>),
    Array,
    Scalar,
}

/// The fields of any client message, undecoded.
#[derive(Default)]
struct Fields<'a> {
    msg: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    random_seed: Option<&'a RawValue>,
    version: Option<&'a RawValue>,
    support: Option<&'a RawValue>,
    session: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `RawValue` is scanned without recursion, so nesting cannot exhaust the stack here.
        let raw = <&RawValue>::deserialize(deserializer)?;
        match raw.get().as_bytes().first() {
            Some(b'{') => serde_json::from_str::<Fields<'_>>(raw.get())
                .map(Envelope::Object)
                .map_err(serde::de::Error::custom),
            Some(b'[') => Ok(Envelope::Array),
            _ => Ok(Envelope::Scalar),
        }
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

/// The name of a field.
enum Key {
    Msg,
    Id,
    Name,
    Method,
    Params,
    RandomSeed,
    Version,
    Support,
    Session,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As text, serde_json would refuse a message with a lone surrogate in any of its keys.
        deserializer.deserialize_bytes(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Key, E> {
        Ok(match key {
            b"msg" => Key::Msg,
            b"id" => Key::Id,
            b"name" => Key::Name,
            b"method" => Key::Method,
            b"params" => Key::Params,
            b"randomSeed" => Key::RandomSeed,
            b"version" => Key::Version,
            b"support" => Key::Support,
            b"session" => Key::Session,
            _ => Key::Other,
        })
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a DDP message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = map.next_key::<Key>()? {
            let value = map.next_value::<&'de RawValue>()?;
            match key {
                Key::Msg => fields.msg = Some(value),
                Key::Id => fields.id = Some(value),
                Key::Name => fields.name = Some(value),
                Key::Method => fields.method = Some(value),
                Key::Params => fields.params = Some(value),
                Key::RandomSeed => fields.random_seed = Some(value),
                Key::Version => fields.version = Some(value),
                Key::Support => fields.support = Some(value),
                Key::Session => fields.session = Some(value),
                Key::Other => {}
            }
        }
        Ok(fields)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Self::Value, A::Error> {
        Err(serde::de::Error::custom("not an object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> (ProtocolError, bool) {
        let Malformed { error, echo } = decode(text).unwrap_err();
        (error, echo)
    }

    #[test]
    fn every_message_of_a_client() {
        assert_eq!(
            decode(r#"{"msg":"connect","version":"1","support":["1","pre2"],"session":"x"}"#),
            Ok(ClientMessage::Connect {
                version: Some("1".to_owned()),
                support: Some(vec!["1".to_owned(), "pre2".to_owned()]),
                session: Some("x".to_owned()),
            })
        );
        assert_eq!(
            decode(r#"{"id":"a","unknown":[[[]]],"name":"tasks","params":[1,"x"],"msg":"sub"}"#),
            Ok(ClientMessage::Sub {
                id: "a".to_owned(),
                name: "tasks".to_owned(),
                params: RawParams::from_text(r#"[1,"x"]"#).unwrap().unwrap(),
            })
        );
        assert_eq!(
            decode(r#"{"msg":"method","method":"m","id":"1","randomSeed":"s"}"#),
            Ok(ClientMessage::Method {
                id: "1".to_owned(),
                method: "m".to_owned(),
                params: RawParams::default(),
                random_seed: Some("s".to_owned()),
            })
        );
        assert_eq!(decode(r#"{"msg":"unsub"}"#), Ok(ClientMessage::Unsub { id: None }));
        assert_eq!(
            decode(r#"{"msg":"x","m\u0073g":"ping","id":"7"}"#),
            Ok(ClientMessage::Ping { id: Some("\"7\"".to_owned()) })
        );
        assert_eq!(decode(r#" {"msg":"pong"} "#), Ok(ClientMessage::Pong));
        assert_eq!(decode(r#"{"msg":"disconnect"}"#), Ok(ClientMessage::Disconnect));
    }

    #[test]
    fn malformed_messages() {
        use ProtocolError::{
            BadRequest, MalformedMethod, MalformedSubscription, ParseError, UnknownMessage,
        };
        for text in [
            r#"{"msg":"sub","params":[{"$binary":5}]}"#,
            r#"{"msg":"method","id":"1","method":"a","params":[{"$escape":null}]}"#,
        ] {
            assert_eq!(error(text), (ParseError, false), "{text}");
        }
        for text in ["", "{", "null", "7", "\"connect\"", "{\"msg\":}", "\u{0}"] {
            assert_eq!(error(text), (BadRequest, false), "{text}");
        }
        for text in ["{}", "[]", r#"{"msg":null}"#, r#"{"msg":""}"#, r#"{"msg":-0.0}"#] {
            assert_eq!(error(text), (BadRequest, true), "{text}");
        }
        for text in [r#"{"msg":5}"#, r#"{"msg":"added"}"#, r#"{"msg":{}}"#] {
            assert_eq!(error(text), (UnknownMessage, true), "{text}");
        }
        for text in [
            r#"{"msg":"sub","name":"a"}"#,
            r#"{"msg":"sub","id":"a"}"#,
            r#"{"msg":"sub","id":1,"name":"a"}"#,
            r#"{"msg":"sub","id":"1","name":"a","params":{}}"#,
        ] {
            assert_eq!(error(text), (MalformedSubscription, true), "{text}");
        }
        for text in [
            r#"{"msg":"method","id":"a"}"#,
            r#"{"msg":"method","method":"a"}"#,
            r#"{"msg":"method","id":"1","method":"a","params":"x"}"#,
            r#"{"msg":"method","id":"1","method":"a","randomSeed":1}"#,
            r#"{"msg":"method","id":"1","method":"a","randomSeed":null}"#,
        ] {
            assert_eq!(error(text), (MalformedMethod, true), "{text}");
        }
    }

    #[test]
    fn ids_are_short() {
        let with_id = |msg: &str, id: String| {
            let text = format!(r#"{{"msg":"{msg}","id":"{id}","name":"a","method":"a"}}"#);
            decode(&text).map_err(|malformed| malformed.error)
        };
        for long in ["x".repeat(257), "\u{e9}".repeat(129), r"\u0041".repeat(257)] {
            let subscription = Err(ProtocolError::MalformedSubscription);
            assert_eq!(with_id("sub", long.clone()), subscription);
            assert_eq!(with_id("method", long.clone()), Err(ProtocolError::MalformedMethod));
            assert_eq!(with_id("unsub", long.clone()), Ok(ClientMessage::Unsub { id: None }));
            assert!(with_id("ping", long.clone()).is_ok(), "it is not kept");
        }
        for short in ["x".repeat(256), r"\u0041".repeat(256)] {
            assert!(with_id("sub", short.clone()).is_ok());
            assert!(with_id("method", short).is_ok());
        }
        let ping = with_id("ping", "x".repeat(PING_ID_BYTES_MAX));
        assert_eq!(ping, Err(ProtocolError::BadRequest));
        let support = r#""x","#.repeat(CONNECT_BYTES_MAX / 4);
        let connect = format!(r#"{{"msg":"connect","version":"1","support":[{support}"1"]}}"#);
        assert_eq!(error(&connect), (ProtocolError::BadRequest, true));
    }

    #[test]
    fn names_are_short() {
        let named = |name: &str| {
            let sub = format!(r#"{{"msg":"sub","id":"1","name":"{name}"}}"#);
            let method = format!(r#"{{"msg":"method","id":"1","method":"{name}"}}"#);
            [sub, method].map(|text| decode(&text).map_err(|malformed| malformed.error))
        };
        for long in ["x".repeat(257), "\u{e9}".repeat(129), r"\u0041".repeat(257)] {
            let errors = [ProtocolError::MalformedSubscription, ProtocolError::MalformedMethod];
            assert_eq!(named(&long), errors.map(Err), "{long}");
        }
        for short in ["x".repeat(256), r"\u0041".repeat(256)] {
            assert!(named(&short).iter().all(Result::is_ok), "{short}");
        }
    }

    #[test]
    fn lone_surrogates_are_read_as_replacement_characters() {
        assert_eq!(
            decode(r#"{"msg":"sub","id":"\ud800","name":"\udc00x","\ud83d":"\ud83d"}"#),
            Ok(ClientMessage::Sub {
                id: "\u{fffd}".to_owned(),
                name: "\u{fffd}x".to_owned(),
                params: RawParams::default(),
            })
        );
        assert_eq!(
            decode(r#"{"msg":"connect","version":"1","support":["\ud800","1"]}"#),
            Ok(ClientMessage::Connect {
                version: Some("1".to_owned()),
                support: Some(vec!["\u{fffd}".to_owned(), "1".to_owned()]),
                session: None,
            })
        );
        assert_eq!(error(r#"{"msg":"\ud800"}"#), (ProtocolError::UnknownMessage, true));
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = "[".repeat(200_000) + &"]".repeat(200_000);
        let text = format!(r#"{{"msg":"method","id":"1","method":"m","params":{deep}}}"#);
        assert_eq!(error(&text), (ProtocolError::ParseError, false));
        assert_eq!(error(&deep), (ProtocolError::BadRequest, true));
        assert_eq!(error(&deep[..200_000]), (ProtocolError::BadRequest, false));
    }
}
