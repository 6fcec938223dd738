//! What the server sends, except for documents.

use super::encode::push_string;
use crate::error::{DdpError, ProtocolError};
use crate::version::Version;

/// A message to a client, as the DDP specification names them. The messages about documents
/// (`added`, `changed`, `removed`) are made by the merge box and by [`Delta`](crate::Delta).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// The very first message, without a `msg`; clients older than 1.0, and several others, wait
    /// for it.
    ServerId,
    /// Accepts a `connect`.
    Connected {
        /// The new session's id.
        session: &'a str,
    },
    /// Refuses a `connect`.
    Failed {
        /// The version that the client should try.
        version: Version,
    },
    /// All documents of these subscriptions have been sent.
    Ready {
        /// The clients' ids of these subscriptions.
        subs: &'a [&'a str],
    },
    /// A subscription ended, or never began.
    Nosub {
        /// The client's id of it; absent if the client gave none.
        id: Option<&'a str>,
        /// The error, unless the client asked for it.
        error: Option<&'a DdpError>,
    },
    /// What a method returned; `Ok(None)` is JavaScript's `undefined`.
    Result {
        /// The client's id of the call.
        id: &'a str,
        /// EJSON text, or the error.
        result: Result<Option<&'a str>, &'a DdpError>,
    },
    /// Everything that these calls wrote has been sent.
    Updated {
        /// The clients' ids of the calls.
        methods: &'a [&'a str],
    },
    /// Asks for a `pong`.
    Ping,
    /// Answers a `ping`.
    Pong {
        /// The ping's id, if any: JSON text.
        id: Option<&'a str>,
    },
    /// Answers a message that breaks the protocol.
    Error {
        /// What is wrong.
        reason: ProtocolError,
        /// The message itself, JSON text.
        offending_message: Option<&'a str>,
    },
}

impl ServerMessage<'_> {
    /// The message's JSON text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(64);
        self.encode(&mut out);
        out
    }

    fn encode(&self, out: &mut String) {
        match *self {
            Self::ServerId => return out.push_str(r#"{"server_id":"0"}"#),
            Self::Connected { session } => {
                out.push_str(r#"{"msg":"connected","session":"#);
                push_string(out, session);
            }
            Self::Failed { version } => {
                out.push_str(r#"{"msg":"failed","version":"#);
                push_string(out, version.as_str());
            }
            Self::Ready { subs } => push_list(out, r#"{"msg":"ready","subs":"#, subs),
            Self::Nosub { id, error } => {
                out.push_str(r#"{"msg":"nosub""#);
                push_id(out, id);
                if let Some(error) = error {
                    push_error(out, error);
                }
            }
            Self::Result { id, result } => {
                out.push_str(r#"{"msg":"result""#);
                push_id(out, Some(id));
                match result {
                    Ok(Some(result)) => {
                        out.push_str(r#","result":"#);
                        out.push_str(result);
                    }
                    Ok(None) => {}
                    Err(error) => push_error(out, error),
                }
            }
            Self::Updated { methods } => {
                push_list(out, r#"{"msg":"updated","methods":"#, methods);
            }
            Self::Ping => out.push_str(r#"{"msg":"ping""#),
            Self::Pong { id } => {
                out.push_str(r#"{"msg":"pong""#);
                if let Some(id) = id {
                    out.push_str(r#","id":"#);
                    out.push_str(id);
                }
            }
            Self::Error { reason, offending_message } => {
                out.push_str(r#"{"msg":"error","reason":"#);
                push_string(out, &reason.to_string());
                if let Some(message) = offending_message {
                    out.push_str(r#","offendingMessage":"#);
                    out.push_str(message.trim());
                }
            }
        }
        out.push('}');
    }
}

fn push_id(out: &mut String, id: Option<&str>) {
    if let Some(id) = id {
        out.push_str(r#","id":"#);
        push_string(out, id);
    }
}

fn push_error(out: &mut String, error: &DdpError) {
    out.push_str(r#","error":"#);
    error.encode(out);
}

fn push_list(out: &mut String, head: &str, items: &[&str]) {
    out.push_str(head);
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        push_string(out, item);
    }
    out.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_of_the_server() {
        let error = DdpError::new("no", "Not now");
        let json = r#"{"isClientSafe":true,"error":"no","reason":"Not now","message":"Not now [no]","errorType":"Meteor.Error"}"#;
        for (message, text) in [
            (ServerMessage::ServerId, r#"{"server_id":"0"}"#.to_owned()),
            (
                ServerMessage::Connected { session: "abc" },
                r#"{"msg":"connected","session":"abc"}"#.to_owned(),
            ),
            (
                ServerMessage::Failed { version: Version::V1 },
                r#"{"msg":"failed","version":"1"}"#.to_owned(),
            ),
            (
                ServerMessage::Ready { subs: &["a", "b\""] },
                r#"{"msg":"ready","subs":["a","b\""]}"#.to_owned(),
            ),
            (ServerMessage::Nosub { id: None, error: None }, r#"{"msg":"nosub"}"#.to_owned()),
            (
                ServerMessage::Nosub { id: Some("a"), error: Some(&error) },
                format!(r#"{{"msg":"nosub","id":"a","error":{json}}}"#),
            ),
            (
                ServerMessage::Result { id: "1", result: Ok(Some("[1]")) },
                r#"{"msg":"result","id":"1","result":[1]}"#.to_owned(),
            ),
            (
                ServerMessage::Result { id: "1", result: Ok(None) },
                r#"{"msg":"result","id":"1"}"#.to_owned(),
            ),
            (
                ServerMessage::Result { id: "1", result: Err(&error) },
                format!(r#"{{"msg":"result","id":"1","error":{json}}}"#),
            ),
            (
                ServerMessage::Updated { methods: &["1"] },
                r#"{"msg":"updated","methods":["1"]}"#.to_owned(),
            ),
            (ServerMessage::Ping, r#"{"msg":"ping"}"#.to_owned()),
            (ServerMessage::Pong { id: Some("\"x\"") }, r#"{"msg":"pong","id":"x"}"#.to_owned()),
            (
                ServerMessage::Error {
                    reason: ProtocolError::BadRequest,
                    offending_message: Some(" [1] "),
                },
                r#"{"msg":"error","reason":"Bad request","offendingMessage":[1]}"#.to_owned(),
            ),
        ] {
            assert_eq!(message.to_text(), text);
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }
}
