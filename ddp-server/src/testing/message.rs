//! What the server says to a client, read.

use ddp_core::DdpError;
use ddp_core::ejson::{self, Ejson, Object};
use ddp_core::error::ErrorCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::minimongo::Change;

/// A message from the server, as the DDP specification names them.
#[derive(Debug)]
pub(super) enum Message {
    ServerId,
    Connected { session: String },
    Document { collection: String, id: String, change: Change },
    Ready { subscriptions: Vec<String> },
    Nosub { id: String, error: Option<DdpError> },
    Result { id: String, result: Result<Ejson, DdpError> },
    Updated { calls: Vec<String> },
    Ping,
    Error { reason: String },
}

/// The members of all messages.
#[derive(Deserialize)]
struct Wire<'a> {
    msg: Option<String>,
    server_id: Option<serde::de::IgnoredAny>,
    session: Option<String>,
    collection: Option<String>,
    id: Option<String>,
    #[serde(borrow)]
    fields: Option<&'a RawValue>,
    #[serde(default)]
    cleared: Vec<String>,
    before: Option<String>,
    subs: Option<Vec<String>>,
    methods: Option<Vec<String>>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<WireError<'a>>,
    reason: Option<String>,
}

#[derive(Deserialize)]
struct WireError<'a> {
    error: WireCode,
    reason: Option<String>,
    #[serde(borrow)]
    details: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum WireCode {
    Number(i32),
    Text(String),
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut wire: Wire<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let Some(msg) = wire.msg.take() else {
            return wire.server_id.map(|_| Self::ServerId).ok_or_else(|| missing("msg"));
        };
        Ok(match msg.as_str() {
            "connected" => Self::Connected { session: required("session", wire.session)? },
            "added" | "addedBefore" | "changed" | "movedBefore" | "removed" => {
                wire.into_document(&msg)?
            }
            "ready" => Self::Ready { subscriptions: required("subs", wire.subs)? },
            "nosub" => {
                let error = wire.error.map(DdpError::from);
                Self::Nosub { id: required("id", wire.id)?, error }
            }
            "result" => {
                let result = match (wire.error, wire.result) {
                    (Some(error), _) => Err(error.into()),
                    (None, result) => Ok(value(result)?),
                };
                Self::Result { id: required("id", wire.id)?, result }
            }
            "updated" => Self::Updated { calls: required("methods", wire.methods)? },
            "ping" => Self::Ping,
            "error" => Self::Error { reason: wire.reason.unwrap_or_default() },
            "failed" => return Err("the server does not speak version 1 of DDP".to_owned()),
            _ => return Err(format!("a message that is not of DDP: {msg:?}")),
        })
    }
}

impl Wire<'_> {
    fn into_document(self, msg: &str) -> Result<Message, String> {
        let collection = required("collection", self.collection)?;
        let id = required("id", self.id)?;
        let fields = match self.fields.map(|fields| value(Some(fields))).transpose()? {
            None => Object::new(),
            Some(Ejson::Object(fields)) => fields,
            Some(other) => return Err(format!("`fields` must be an object, not {other}")),
        };
        let change = match msg {
            "added" => Change::Added(fields),
            "addedBefore" => Change::AddedBefore(fields, self.before),
            "changed" => Change::Changed(fields, self.cleared),
            "movedBefore" => Change::MovedBefore(self.before),
            _ => Change::Removed,
        };
        Ok(Message::Document { collection, id, change })
    }
}

impl From<WireError<'_>> for DdpError {
    fn from(error: WireError<'_>) -> Self {
        let code = match error.error {
            WireCode::Number(code) => ErrorCode::Number(code),
            WireCode::Text(code) => ErrorCode::Text(code),
        };
        let details = error.details.map(|details| details.get().to_owned());
        Self { error: code, reason: error.reason, details }
    }
}

/// An EJSON value; `undefined` if there is none, which becomes `null`.
fn value(text: Option<&RawValue>) -> Result<Ejson, String> {
    text.map_or(Ok(Ejson::Null), |text| ejson::parse(text.get())).map_err(|error| error.to_string())
}

fn required<T>(name: &str, value: Option<T>) -> Result<T, String> {
    value.ok_or_else(|| missing(name))
}

fn missing(name: &str) -> String {
    format!("it has no `{name}`")
}
