//! One connection's protocol, without its socket.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use flate2::{Decompress, FlushDecompress};
use serde_json::Value;

use super::Error;
use super::swarm::{Plan, Tally};
use super::target::Transport;
use super::wire::{self, CLOSE, Deflate, Frame, PING, PONG, TEXT};

/// The id of each connection's subscription.
const SUBSCRIPTION: &str = "load";
/// The limit for a decompressed message.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The end of each compressed message, which is not sent (RFC 7692 section 7.2.1).
const DEFLATE_TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Upgrading,
    /// SockJS, until the server reports that the session is open.
    Opening,
    Connecting,
    Ready,
}

#[derive(Debug)]
pub(super) struct Client {
    plan: Arc<Plan>,
    phase: Phase,
    /// The start of a frame.
    input: Vec<u8>,
    /// Output for the socket.
    pub(super) output: Vec<u8>,
    inflate: Option<(Deflate, Box<Decompress>)>,
    calls: u64,
}

impl Client {
    pub(super) fn new(plan: Arc<Plan>, number: usize) -> Self {
        let target = &plan.target;
        let output = wire::upgrade(&target.host, &target.path(number), plan.deflate).into_bytes();
        Self { plan, phase: Phase::Upgrading, input: Vec::new(), output, inflate: None, calls: 0 }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Takes input from the socket.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        now: Instant,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        tally.bytes += bytes.len() as u64;
        if self.input.is_empty() {
            let rest = self.take(bytes, now, tally)?;
            self.input.extend(rest);
            return Ok(());
        }
        let mut input = std::mem::take(&mut self.input);
        input.extend(bytes);
        let rest = self.take(&input, now, tally)?.len();
        input.drain(..input.len() - rest);
        self.input = input;
        Ok(())
    }

    /// Takes whole frames. Returns the rest.
    fn take<'a>(
        &mut self,
        mut bytes: &'a [u8],
        now: Instant,
        tally: &mut Tally,
    ) -> Result<&'a [u8], Error> {
        if self.phase == Phase::Upgrading {
            let Some(deflate) = wire::upgraded(&mut bytes)? else { return Ok(bytes) };
            self.inflate = deflate.map(|deflate| (deflate, Box::new(Decompress::new(false))));
            self.phase = Phase::Opening;
            if self.plan.target.transport == Transport::Raw {
                self.connect();
            }
        }
        while let Some(frame) = wire::next_frame(&mut bytes)? {
            match frame.opcode {
                TEXT => self.take_text(&frame, now, tally)?,
                PING => wire::push_frame(&mut self.output, PONG, frame.payload),
                CLOSE => return Err(Error::Client("the server closed it".to_owned())),
                _ => {}
            }
        }
        Ok(bytes)
    }

    fn take_text(
        &mut self,
        frame: &Frame<'_>,
        now: Instant,
        tally: &mut Tally,
    ) -> Result<(), Error> {
        match &mut self.inflate {
            Some((deflate, inflate)) if frame.is_compressed => {
                let text = tally.inflated.take(*deflate, inflate, frame.payload)?;
                self.take_messages(&text, now, tally)
            }
            _ => self.take_messages(frame.payload, now, tally),
        }
    }

    fn take_messages(&mut self, text: &[u8], now: Instant, tally: &mut Tally) -> Result<(), Error> {
        if self.plan.target.transport == Transport::Raw {
            return self.take_message(text, now, tally);
        }
        match text.split_first() {
            Some((b'o', _)) => self.connect(),
            Some((b'a', array)) => {
                let malformed = |error| Error::Client(format!("a SockJS frame: {error}"));
                let messages: Vec<Cow<'_, str>> =
                    serde_json::from_slice(array).map_err(malformed)?;
                for message in messages {
                    self.take_message(message.as_bytes(), now, tally)?;
                }
            }
            Some((b'c', reason)) => {
                return Err(Error::Client(String::from_utf8_lossy(reason).into_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    fn take_message(&mut self, text: &[u8], now: Instant, tally: &mut Tally) -> Result<(), Error> {
        // The form in which servers write it; others are parsed.
        let kind =
            text.strip_prefix(br#"{"msg":""#).and_then(|rest| rest.split(|b| *b == b'"').next());
        let parse = || -> Result<Value, Error> {
            serde_json::from_slice(text).map_err(|error| Error::Client(format!("{error}")))
        };
        let parsed;
        let kind = match kind {
            Some(kind) => kind,
            None => {
                parsed = parse()?;
                parsed["msg"].as_str().unwrap_or_default().as_bytes()
            }
        };
        match kind {
            b"changed" | b"added" | b"removed" => {
                tally.messages += 1;
                if self.phase == Phase::Ready {
                    let age = tally.marks.age(text, now);
                    tally.ages.extend(age);
                }
            }
            b"result" => {
                tally.results += 1;
                if tally.is_calling {
                    self.call();
                }
            }
            b"ping" => {
                let id = parse()?.get("id").map(|id| format!(r#","id":{id}"#)).unwrap_or_default();
                self.send(&format!(r#"{{"msg":"pong"{id}}}"#));
            }
            b"connected" if self.plan.subscription.is_none() => self.phase = Phase::Ready,
            b"ready" if parse()?["subs"] == serde_json::json!([SUBSCRIPTION]) => {
                self.phase = Phase::Ready;
            }
            b"nosub" | b"failed" | b"error" => {
                return Err(Error::Client(String::from_utf8_lossy(text).into_owned()));
            }
            _ => {}
        }
        Ok(())
    }

    fn connect(&mut self) {
        self.phase = Phase::Connecting;
        self.send(r#"{"msg":"connect","version":"1","support":["1"]}"#);
        if let Some((name, params)) = &self.plan.subscription {
            let name = Value::from(name.as_str());
            let sub =
                format!(r#"{{"msg":"sub","id":"{SUBSCRIPTION}","name":{name},"params":{params}}}"#);
            self.send(&sub);
        }
    }

    /// Calls the plan's method once more.
    pub(super) fn call(&mut self) {
        let Some((method, params)) = &self.plan.method else { return };
        self.calls += 1;
        let (method, id) = (Value::from(method.as_str()), self.calls);
        let call = format!(r#"{{"msg":"method","id":"{id}","method":{method},"params":{params}}}"#);
        self.send(&call);
    }

    fn send(&mut self, message: &str) {
        match self.plan.target.transport {
            Transport::Raw => wire::push_frame(&mut self.output, TEXT, message.as_bytes()),
            Transport::SockJs => {
                let array = Value::from(vec![message]).to_string();
                wire::push_frame(&mut self.output, TEXT, array.as_bytes());
            }
        }
    }
}

/// The messages inflated last: a server that compresses once for all sends them to everybody.
#[derive(Debug, Default)]
pub(super) struct Inflated(HashMap<Box<[u8]>, Arc<[u8]>>);

/// How many.
const INFLATED_MAX: usize = 256;

impl Inflated {
    /// The content of a compressed message.
    fn take(
        &mut self,
        deflate: Deflate,
        inflate: &mut Decompress,
        compressed: &[u8],
    ) -> Result<Arc<[u8]>, Error> {
        if !deflate.each_by_itself {
            return inflated(inflate, compressed);
        }
        if let Some(text) = self.0.get(compressed) {
            return Ok(Arc::clone(text));
        }
        inflate.reset(false);
        let text = inflated(inflate, compressed)?;
        if self.0.len() >= INFLATED_MAX {
            self.0.clear();
        }
        self.0.insert(compressed.into(), Arc::clone(&text));
        Ok(text)
    }
}

fn inflated(inflate: &mut Decompress, compressed: &[u8]) -> Result<Arc<[u8]>, Error> {
    let mut text = Vec::new();
    for mut rest in [compressed, &DEFLATE_TAIL] {
        // Until everything is taken; room to spare shows that nothing is held back.
        while !rest.is_empty() || text.len() == text.capacity() {
            if text.len() > MESSAGE_BYTES_MAX {
                return Err(Error::Client("a message is too large".to_owned()));
            }
            text.reserve(1024);
            let before = inflate.total_in();
            inflate
                .decompress_vec(rest, &mut text, FlushDecompress::Sync)
                .map_err(|error| Error::Client(error.to_string()))?;
            let taken = usize::try_from(inflate.total_in() - before).unwrap_or(rest.len());
            rest = &rest[taken..];
        }
    }
    Ok(text.into())
}
