//! Any text as messages from a client, one after the other.
//!
//! How the session handles each is compared with an oracle that parses the message with serde_json.
//! Messages are separated by U+001E, which no JSON text contains.

#![no_main]

use std::collections::BTreeSet;
use std::time::Instant;

use ddp_core::ejson::{self, Ejson, RawParams};
use ddp_core::merge_box::Outgoing;
use ddp_core::session::{Event, Input, Output};
use ddp_core::{DdpError, Session, Version};
use ddp_fuzz::answer::{Answer, id_text};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::Value;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = str::from_utf8(data) else { return Corpus::Reject };
    let mut peer = Peer::new();
    for message in text.split('\u{1e}') {
        peer.send(message);
    }
    Corpus::Keep
});

/// What a message must lead to.
#[derive(Debug, PartialEq)]
enum Expected {
    /// `error` with this reason, and with the message if it is an object or an array.
    Error {
        reason: &'static str,
        echo: bool,
    },
    Connected(Version),
    Failed,
    /// Nothing is answered, and the session is over.
    Closed,
    Pong(Option<String>),
    Nosub(Option<String>),
    Subscribe {
        name: String,
        params: Value,
    },
    Call {
        method: String,
        params: Value,
        random_seed: Option<String>,
    },
    /// A `sub` whose id is in use.
    Again {
        id: String,
        name: String,
    },
    Nothing,
}

struct Peer {
    session: Session,
    now: Instant,
    version: Option<Version>,
    subscriptions: BTreeSet<String>,
    is_closed: bool,
}

impl Peer {
    fn new() -> Self {
        let now = Instant::now();
        let session = Session::new("Kc9ZbXWp4n3wCmdyv".to_owned(), Default::default(), now);
        let subscriptions = BTreeSet::new();
        let mut peer = Self { session, now, version: None, subscriptions, is_closed: false };
        let (texts, events) = peer.drain();
        assert_eq!((texts.len(), events.len()), (1, 0), "the server's id comes first");
        peer
    }

    fn send(&mut self, message: &str) {
        let expected = serde_json::from_str(message).ok().map(|value| self.expect(message, &value));
        self.session.handle_input(Input::Message(self.now, message));
        let (texts, events) = self.drain();
        let answers: Vec<Answer<'_>> = texts.iter().map(|text| Answer::read(text)).collect();
        for answer in &answers {
            check_echo(answer, message);
        }
        if let Some(expected) = expected {
            self.check(&expected, &answers, &events);
        }
        if let ([Answer { id: Some(id), .. }], [Event::Unsubscribe(_)]) = (&*answers, &*events) {
            assert!(self.subscriptions.remove(id));
        }
        for event in events {
            self.run(event);
        }
    }

    /// What this message leads to according to the protocol.
    fn expect(&self, text: &str, message: &Value) -> Expected {
        if self.is_closed {
            return Expected::Nothing;
        }
        let error = |reason| Expected::Error { reason, echo: true };
        let Some(fields) = message.as_object() else {
            return Expected::Error { reason: "Bad request", echo: message.is_array() };
        };
        let string = |name: &str| fields.get(name).and_then(Value::as_str).map(str::to_owned);
        let id = || string("id").filter(|id| id.len() <= 256);
        let msg = match fields.get("msg") {
            None | Some(Value::Null | Value::Bool(false)) => return error("Bad request"),
            Some(Value::String(msg)) if msg.is_empty() => return error("Bad request"),
            Some(Value::Number(msg)) if msg.as_f64() == Some(0.0) => return error("Bad request"),
            Some(msg) => msg.as_str().unwrap_or("?"),
        };
        let params = match fields.get("params") {
            None => Some(Value::Array(Vec::new())),
            Some(params) => {
                let is_sent = matches!(msg, "sub" | "method");
                if is_sent && ejson::parse(&params.to_string()).is_err() {
                    return Expected::Error { reason: "Parse error", echo: false };
                }
                Some(params.clone()).filter(Value::is_array)
            }
        };
        if msg == "disconnect" {
            return Expected::Closed;
        }
        let Some(version) = self.version else {
            return if msg == "connect" { negotiate(fields) } else { error("Must connect first") };
        };
        let beats = version != Version::Pre1;
        match msg {
            "connect" => error("Already connected"),
            "ping" if beats && is_long_ping(text) => error("Bad request"),
            "ping" if beats => Expected::Pong(id_text(fields.get("id"))),
            "pong" if beats => Expected::Nothing,
            "sub" => match (id(), string("name"), params) {
                (Some(id), Some(name), Some(_)) if self.subscriptions.contains(&id) => {
                    Expected::Again { id, name }
                }
                (Some(_), Some(name), Some(params)) => Expected::Subscribe { name, params },
                _ => error("Malformed subscription"),
            },
            "unsub" => Expected::Nosub(id()),
            "method" => {
                let random_seed = match fields.get("randomSeed") {
                    None => Some(None),
                    Some(Value::String(seed)) if seed.is_empty() => Some(None),
                    Some(Value::String(seed)) => Some(Some(seed.clone())),
                    Some(_) => None,
                };
                match (id(), string("method"), params, random_seed) {
                    (Some(_), Some(method), Some(params), Some(random_seed)) => {
                        Expected::Call { method, params, random_seed }
                    }
                    _ => error("Malformed method invocation"),
                }
            }
            _ => error("Bad request"),
        }
    }

    fn check(&mut self, expected: &Expected, answers: &[Answer<'_>], events: &[Event]) {
        let mismatch = || panic!("expected {expected:?}, got {answers:?} and {events:?}");
        match (expected, answers, events) {
            (Expected::Nothing, [], []) => {}
            (Expected::Closed, [], []) => assert!(self.is_closed),
            (
                Expected::Again { id, name },
                [],
                [Event::SubscribeAgain { id: used, name: given }],
            ) => {
                assert_eq!((id, name), (used, given));
            }
            (Expected::Error { reason, echo }, [answer], []) => {
                assert_eq!(answer.msg.as_deref(), Some("error"));
                assert_eq!(answer.reason.as_deref(), Some(*reason));
                assert_eq!(answer.offending_message.is_some(), *echo);
            }
            (Expected::Connected(version), [answer], [Event::Connected(agreed)]) => {
                assert_eq!(answer.msg.as_deref(), Some("connected"));
                assert_eq!(answer.session.as_deref(), Some(self.session.id()));
                assert_eq!(version, agreed);
            }
            (Expected::Failed, [answer], []) => {
                assert_eq!(answer.msg.as_deref(), Some("failed"));
                assert!(answer.version.is_some() && self.is_closed);
            }
            (Expected::Pong(id), [answer], []) => {
                assert_eq!((answer.msg.as_deref(), &answer.id), (Some("pong"), id));
            }
            (Expected::Nosub(id), [answer], events) => {
                assert_eq!((answer.msg.as_deref(), &answer.id), (Some("nosub"), id));
                let ended = id.as_ref().is_some_and(|id| self.subscriptions.contains(id));
                assert_eq!(matches!(events, [Event::Unsubscribe(_)]), ended);
                assert_eq!(events.len(), usize::from(ended));
            }
            (
                Expected::Subscribe { name, params },
                [],
                [Event::Subscribe { name: given, params: values, .. }],
            ) => {
                assert_eq!(name, given);
                check_params(params, values);
            }
            (
                Expected::Call { method, params, random_seed },
                [],
                [Event::Call { method: given, params: values, random_seed: seed, .. }],
            ) => {
                assert_eq!((method, random_seed), (given, seed));
                check_params(params, values);
            }
            _ => mismatch(),
        }
    }

    /// Does what an event asks for. Handlers end at once, and report what they were asked.
    fn run(&mut self, event: Event) {
        match event {
            Event::Connected(version) => self.version = Some(version),
            Event::Subscribe { subscription, name, params } => {
                check_round_trip(&name, &params, None);
                self.session.handle_input(Input::Ready(subscription));
                for text in self.answers("ready") {
                    self.subscriptions.extend(Answer::read(&text).subs.unwrap_or_default());
                }
            }
            Event::Unsubscribe(_) | Event::SubscribeAgain { .. } => {}
            Event::Call { call, method, params, random_seed } => {
                check_round_trip(&method, &params, random_seed.as_deref());
                let result = match random_seed {
                    Some(seed) => Err(DdpError::new(method, seed)),
                    None => Ok(Some(params.as_text().to_owned())),
                };
                self.session.handle_input(Input::Result(call, result));
                assert_eq!(self.answers("result").len(), 1);
                self.session.handle_input(Input::Updated(call));
                assert_eq!(self.answers("updated").len(), 1);
            }
            Event::Message(_) | Event::Rerun(_) | Event::RerunDone => {
                panic!("nobody asked for {event:?}")
            }
        }
    }

    /// The available answers, which must all be of this kind.
    fn answers(&mut self, msg: &str) -> Vec<String> {
        let (texts, events) = self.drain();
        assert!(events.is_empty());
        assert!(texts.iter().all(|text| Answer::read(text).msg.as_deref() == Some(msg)));
        texts
    }

    fn drain(&mut self) -> (Vec<String>, Vec<Event>) {
        let (mut texts, mut events) = (Vec::new(), Vec::new());
        loop {
            match self.session.poll_output() {
                Output::Send(Outgoing::Text(text)) => texts.push(text),
                Output::Event(event) => events.push(event),
                Output::EndFrame => {}
                Output::Close(_) => self.is_closed = true,
                Output::Timeout(_) => return (texts, events),
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

/// The version that Meteor's server agrees on.
fn negotiate(fields: &serde_json::Map<String, Value>) -> Expected {
    let version_of = |name: &str| match name {
        "1" => Some(Version::V1),
        "pre2" => Some(Version::Pre2),
        "pre1" => Some(Version::Pre1),
        _ => None,
    };
    let support = fields.get("support").and_then(Value::as_array);
    let names: Option<Vec<&str>> =
        support.and_then(|names| names.iter().map(Value::as_str).collect());
    let proposed = fields.get("version").and_then(Value::as_str);
    let best = names.and_then(|names| names.into_iter().find(|name| version_of(name).is_some()));
    match (proposed, best) {
        (Some(proposed), Some(best)) if proposed == best => {
            version_of(best).map_or(Expected::Failed, Expected::Connected)
        }
        _ => Expected::Failed,
    }
}

/// An `error` repeats the message word for word if it is an object or an array, and only then.
fn check_echo(answer: &Answer<'_>, message: &str) {
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(message).is_ok();
    let trimmed = message.trim_matches([' ', '\t', '\n', '\r']);
    match answer.offending_message {
        Some(echo) => {
            assert_eq!(echo.get(), trimmed);
            assert!(is_json && trimmed.starts_with(['{', '[']), "{message:?} is echoed");
        }
        None if answer.reason.as_deref() == Some("Parse error") => assert!(is_json),
        None if answer.msg.as_deref() == Some("error") => {
            assert!(!is_json || !trimmed.starts_with(['{', '[']), "{message:?} is not echoed");
        }
        None => {}
    }
}

/// What anybody reads who takes anything, which is what can be parsed.
fn values(params: &RawParams) -> Vec<Ejson> {
    let read: Vec<Ejson> = params.read().expect("sound parameters");
    let parsed = ejson::parse(params.as_text()).expect("sound parameters");
    assert_eq!(Ejson::Array(read.clone()), parsed);
    read
}

/// Whether the id of a ping is too long, as it is written.
fn is_long_ping(text: &str) -> bool {
    let fields: std::collections::BTreeMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_str(text).expect("an object");
    fields.get("id").is_some_and(|id| id.get().len() > 64 * 1024)
}

/// Arguments without EJSON are what serde_json parses.
fn check_params(expected: &Value, params: &RawParams) {
    let params = values(params);
    let text = expected.to_string();
    assert_eq!(expected.as_array().map(Vec::len), Some(params.len()));
    if !text.contains("\"$") {
        let given = Ejson::Array(params);
        assert_eq!(ejson::parse(&text).as_ref(), Ok(&given));
    }
}

/// A call re-encoded from its parsed form is the same call.
fn check_round_trip(method: &str, params: &RawParams, random_seed: Option<&str>) {
    let params = Ejson::Array(values(params)).to_text();
    // The invalid date is read back as another date, and an infinite number is an object in text,
    // which may be one level too deep.
    if params.contains(r#"{"$date":null}"#) || params.contains("$InfNaN") {
        return;
    }
    let quote = |text: &str| Value::from(text).to_string();
    let seed = random_seed.map(|seed| format!(r#","randomSeed":{}"#, quote(seed)));
    let text = format!(
        r#"{{"msg":"method","id":"1","method":{},"params":{params}{}}}"#,
        quote(method),
        seed.unwrap_or_default()
    );
    let now = Instant::now();
    let mut session = Session::new(String::new(), Default::default(), now);
    let connect = r#"{"msg":"connect","version":"1","support":["1"]}"#;
    session.handle_input(Input::Message(now, connect));
    session.handle_input(Input::Message(now, &text));
    let call = std::iter::from_fn(|| match session.poll_output() {
        Output::Timeout(_) => None,
        output => Some(output),
    });
    match call.last() {
        Some(Output::Event(Event::Call {
            method: name,
            params: values,
            random_seed: seed,
            ..
        })) => {
            assert_eq!((&*name, seed.as_deref()), (method, random_seed));
            assert_eq!(Ejson::Array(self::values(&values)).to_text(), params);
        }
        other => panic!("{text} became {other:?}"),
    }
}
