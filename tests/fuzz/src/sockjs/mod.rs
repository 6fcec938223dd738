//! Clients of a SockJS mount, over HTTP.

mod application;
mod frames;
mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use arbitrary::Arbitrary;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use ddp_server::fuzzing;
use ddp_server::sockjs::SockJsConfig;
use http_body_util::BodyExt as _;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tower::ServiceExt as _;

use self::application::{Command, Open};
use self::frames::{Frame, Reader, Wire};
use self::requests::{AnyRequest, Fault, Headers, WIRES};
use crate::trace;

const PREFIX: &str = "/echo";
const NAMES: [&str; 3] = ["sess0", "sess1", "sess2"];

/// The largest body, small enough that the inbox of a slow application fills.
const BYTES_MAX: usize = 400;

const DISCONNECT_DELAY: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(2);
/// How many requests may wait for a session whose application takes nothing, and for how long.
const SENDERS_MAX: usize = 8;
const SENDER_PATIENCE: Duration = Duration::from_secs(60);

/// How long everything that can proceed by itself has time to do so.
const TICK: Duration = Duration::from_millis(1);

/// How a mount is set up.
#[derive(Arbitrary, Debug)]
pub struct Setup {
    sessions_max: u8,
    response_bytes_max: u8,
    jsessionid: bool,
    disable_cors: bool,
    websocket: bool,
}

/// One thing that a client does.
#[derive(Arbitrary, Debug)]
#[expect(missing_docs, private_interfaces, reason = "nobody but the target uses it")]
pub enum Operation<'a> {
    Receive { name: u8, wire: u8, headers: Headers<'a> },
    Read { response: u8, count: u8 },
    Drop { response: u8 },
    Send { name: u8, commands: [u8; 2], count: u8, is_jsonp: bool, fault: u8 },
    Any(AnyRequest<'a>),
    Pass { choice: u8 },
}

/// A response that receives.
struct Receiving {
    name: &'static str,
    body: Body,
    reader: Reader,
    wire: Wire,
    bytes: usize,
    /// Whether another one is receiving, or was when this began.
    is_refused: bool,
    has_others: bool,
}

/// What clients know about a session.
#[derive(Default)]
struct Model {
    /// Everything ever sent to it, and everything that came back.
    sent: BTreeSet<u64>,
    received: BTreeSet<u64>,
    /// What the mount accepted since the session was opened, and owes as long as it lasts.
    owed: BTreeSet<u64>,
    /// The last that came back, and those whose request had to wait, so that others may have
    /// overtaken them.
    last: u64,
    waited: BTreeSet<u64>,
    /// When it last had a response to send on.
    attended_at: Option<Instant>,
}

/// A sending request without an answer so far.
struct Sending {
    name: &'static str,
    numbers: Vec<u64>,
    fault: Fault,
    is_jsonp: bool,
    /// When it was sent, and how many requests to the same session had no answer then.
    at: Instant,
    others: usize,
    answer: JoinHandle<Response<Body>>,
}

/// A mount, and everybody who talks to it.
pub struct World {
    router: Router,
    open: Open,
    sessions_max: usize,
    response_bytes_max: usize,
    models: BTreeMap<&'static str, Model>,
    responses: Vec<Receiving>,
    sending: Vec<Sending>,
    last_number: u64,
}

impl World {
    /// A mount without sessions.
    #[must_use]
    pub fn new(setup: &Setup) -> Self {
        let mut options = SockJsConfig::default();
        options.sessions_max = [1, 2, 3, 1000][usize::from(setup.sessions_max % 4)];
        options.response_bytes_max =
            [1, 500, 5000, 100_000][usize::from(setup.response_bytes_max % 4)];
        options.jsessionid = setup.jsessionid;
        options.disable_cors = setup.disable_cors;
        options.websocket = setup.websocket;
        options.disconnect_delay = DISCONNECT_DELAY;
        options.heartbeat = HEARTBEAT;
        let (sessions_max, response_bytes_max) = (options.sessions_max, options.response_bytes_max);
        let open = Open::default();
        let count = open.clone();
        let router = fuzzing::sockjs_router(PREFIX, options, BYTES_MAX, move |connection| {
            application::run(connection, count.clone())
        });
        Self {
            router,
            open,
            sessions_max,
            response_bytes_max,
            models: NAMES.map(|name| (name, Model::default())).into(),
            responses: Vec::new(),
            sending: Vec::new(),
            last_number: 0,
        }
    }

    /// Does one thing, and accepts any outcome.
    pub async fn run(&mut self, operation: &Operation<'_>) {
        trace(operation);
        match operation {
            Operation::Receive { name, wire, headers } => {
                let wire = WIRES[usize::from(*wire) % WIRES.len()];
                self.receive(pick_name(*name), wire, headers).await;
            }
            Operation::Read { response, count } => {
                for _ in 0..*count {
                    let Some(index) = self.pick_response(*response) else { break };
                    if !self.read(index).await {
                        break;
                    }
                }
            }
            Operation::Drop { response } => {
                if let Some(index) = self.pick_response(*response) {
                    self.drop_response(index);
                }
            }
            Operation::Send { name, commands, count, is_jsonp, fault } => {
                let commands = commands.map(Command::new);
                let commands = &commands[..usize::from(count % 3)];
                self.send(pick_name(*name), commands, *is_jsonp, *fault);
            }
            Operation::Any(request) => {
                if let Some(request) = request.build() {
                    self.any(request).await;
                }
            }
            Operation::Pass { choice } => {
                tokio::time::sleep(Duration::from_millis(1 << (choice % 14))).await;
            }
        }
        self.settle().await;
    }

    fn pick_response(&self, index: u8) -> Option<usize> {
        usize::from(index).checked_rem(self.responses.len())
    }

    /// Runs all tasks until they wait, and collects the available answers.
    async fn settle(&mut self) {
        tokio::time::sleep(TICK).await;
        let (done, waiting) = std::mem::take(&mut self.sending)
            .into_iter()
            .partition(|sending: &Sending| sending.answer.is_finished());
        self.sending = waiting;
        for sending in done {
            self.sent(sending).await;
        }
        self.look();
        for sending in &self.sending {
            let model = self.models.get_mut(sending.name);
            model.expect("a model").waited.extend(&sending.numbers);
        }
        assert!(self.open.count() <= 2 * self.sessions_max, "{} connections", self.open.count());
    }

    async fn request(&self, request: Request<Body>) -> Response<Body> {
        let Ok(response) = self.router.clone().oneshot(request).await;
        requests::check(&response);
        response
    }

    /// Begins a response, unless there are too many sessions.
    async fn receive(&mut self, name: &'static str, wire: Wire, headers: &Headers<'_>) {
        let response = self.request(requests::receive(name, wire, headers)).await;
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            assert!(self.sessions_max < 1000);
            // Then there is no session with that name.
            return self.model(name).owed.clear();
        }
        assert_eq!(response.status(), StatusCode::OK);
        let is_refused = self.of(name).any(|other| !other.is_refused);
        let has_others = self.of(name).next().is_some();
        self.responses.push(Receiving {
            name,
            body: response.into_body(),
            reader: Reader::new(wire),
            wire,
            bytes: 0,
            is_refused,
            has_others,
        });
    }

    fn model(&mut self, name: &str) -> &mut Model {
        self.models.get_mut(name).expect("a model")
    }

    fn of(&self, name: &'static str) -> impl Iterator<Item = &Receiving> {
        self.responses.iter().filter(move |response| response.name == name)
    }

    /// Reads the next chunk of a response. False if there is none yet, or the response has ended.
    async fn read(&mut self, index: usize) -> bool {
        let response = &mut self.responses[index];
        let Ok(chunk) = timeout(TICK, response.body.frame()).await else { return false };
        let chunk = chunk.expect("a response ends with a frame").expect("no failure");
        let chunk: Bytes = chunk.into_data().expect("no trailers");
        let frames = response.reader.read(&chunk);
        let has_part = response.reader.has_part();
        if frames.is_empty() && !has_part {
            return true;
        }
        response.bytes += chunk.len();
        if has_part {
            assert!(frames.is_empty(), "one at a time");
            return true;
        }
        assert_eq!(frames.len(), 1, "one at a time");
        let is_polling = matches!(response.wire, Wire::Xhr | Wire::Jsonp);
        let is_complete = is_polling
            || response.bytes >= self.response_bytes_max
            || matches!(frames[0], Frame::Close(_));
        for frame in frames {
            self.take(index, frame);
        }
        if is_complete {
            let mut response = self.responses.remove(index);
            assert!(response.body.frame().await.is_none(), "a frame too many");
        }
        !is_complete
    }

    fn take(&mut self, index: usize, frame: Frame) {
        trace(&(self.responses[index].name, &frame));
        let Receiving { name, is_refused, has_others, .. } = self.responses[index];
        let model = self.models.get_mut(name).expect("a model");
        model.attended_at = Some(Instant::now());
        match frame {
            Frame::Open => {
                model.owed.clear();
                model.last = 0;
                // Any other open response belongs to an earlier session.
                for other in self.responses.iter_mut().filter(|other| other.name == name) {
                    other.is_refused = true;
                }
                self.responses[index].is_refused = false;
            }
            Frame::Heartbeat => {}
            Frame::Messages(messages) => {
                for number in messages.iter().map(|message| application::number(message)) {
                    if number > 0 {
                        assert!(model.sent.contains(&number), "{number} was never sent");
                        assert!(model.received.insert(number), "{number} came twice");
                        let is_later = number > model.last || model.waited.contains(&number);
                        assert!(is_later || is_refused, "{number} after {}", model.last);
                        model.last = number;
                        model.owed.remove(&number);
                    }
                }
            }
            Frame::Close(code) => {
                if code == 2010 {
                    assert!(has_others, "nobody else receives");
                } else {
                    assert!(matches!(code, 1002 | 3001 | 1000), "closed with {code}");
                    model.owed.clear();
                }
            }
        }
    }

    /// The client aborts a response, which ends its session.
    fn drop_response(&mut self, index: usize) {
        let dropped = self.responses.remove(index);
        self.model(dropped.name).owed.clear();
    }

    fn send(&mut self, name: &'static str, commands: &[Command], is_jsonp: bool, fault: u8) {
        let fault = match fault {
            0 => Fault::Truncated,
            1 => Fault::Empty,
            2 => Fault::NoArray,
            3 => Fault::TooLarge,
            _ => Fault::None,
        };
        let first = self.last_number + 1;
        let numbers: Vec<u64> = (first..).take(commands.len()).collect();
        self.last_number += commands.len() as u64;
        let messages: Vec<String> = numbers
            .iter()
            .zip(commands)
            .map(|(number, command)| command.message(*number))
            .collect();
        let request = requests::send(name, &messages, is_jsonp, fault, BYTES_MAX);
        if fault == Fault::None {
            let model = self.model(name);
            model.sent.extend(&numbers);
            if commands.iter().any(|command| matches!(command, Command::Close | Command::Drop)) {
                model.owed.clear();
            }
        }
        let service = self.router.clone();
        let answer = tokio::spawn(async move {
            let Ok(response) = service.oneshot(request).await;
            response
        });
        let at = Instant::now();
        let others = self.sending.iter().filter(|other| other.name == name).count();
        self.sending.push(Sending { name, numbers, fault, is_jsonp, at, others, answer });
    }

    /// A sending request was answered.
    async fn sent(&mut self, sending: Sending) {
        let Sending { name, numbers, fault, is_jsonp, at, others, answer } = sending;
        let response = answer.await.expect("no panic");
        requests::check(&response);
        trace(&(name, &numbers, response.status()));
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(body.is_empty() || !requests::is_empty(status));
        match (status.as_u16(), fault) {
            (404, _) => {}
            (204, Fault::None) | (200, Fault::None) => {
                assert_eq!(status == StatusCode::OK, is_jsonp);
                let model = self.model(name);
                let received = &model.received;
                model.owed.extend(numbers.iter().filter(|number| !received.contains(number)));
            }
            // Encoded as a form, a body may exceed the limit although its content does not.
            (413, Fault::TooLarge) | (413, Fault::None | Fault::Truncated) => {
                assert!(fault == Fault::TooLarge || is_jsonp);
            }
            (500, Fault::Truncated | Fault::Empty | Fault::NoArray) => {}
            // Its application takes nothing. What was not accepted must not arrive.
            (503, Fault::None) if others >= SENDERS_MAX => self.refuse(name, &numbers),
            (408, Fault::None) if at.elapsed() >= SENDER_PATIENCE => self.refuse(name, &numbers),
            _ => panic!("{status} for {fault:?}"),
        }
    }

    fn refuse(&mut self, name: &str, numbers: &[u64]) {
        let model = self.model(name);
        for number in numbers {
            assert!(!model.received.contains(number), "{number} was refused, and came");
            model.sent.remove(number);
        }
    }

    /// A request for a session without a model.
    async fn any(&mut self, request: Request<Body>) {
        let answer = timeout(HEARTBEAT, self.request(request)).await;
        let response = answer.expect("an answer in time");
        let status = response.status();
        let mut body = response.into_body();
        while let Ok(Some(chunk)) = timeout(TICK, body.frame()).await {
            let chunk = chunk.expect("no failure").into_data().expect("no trailers");
            assert!(chunk.is_empty() || !requests::is_empty(status));
        }
    }

    /// Sessions that have been left alone for long may have ended.
    fn look(&mut self) {
        for name in NAMES {
            let has_receiver = self.of(name).any(|response| !response.is_refused);
            let model = self.model(name);
            let now = Instant::now();
            if has_receiver {
                model.attended_at = Some(now);
            } else if model.attended_at.is_none_or(|at| now - at + 100 * TICK > DISCONNECT_DELAY) {
                model.owed.clear();
            }
        }
    }

    /// Everything that is owed arrives, and when all clients have left, nothing of them remains.
    pub async fn finish(mut self) {
        self.settle().await;
        while !self.sending.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.settle().await;
        }
        for name in NAMES {
            for _ in 0..100 {
                if self.models[name].owed.is_empty() {
                    break;
                }
                match self.responses.iter().position(|response| response.name == name) {
                    Some(index) => while self.read(index).await {},
                    None => self.receive(name, Wire::Xhr, &Headers::default()).await,
                }
            }
            assert!(self.models[name].owed.is_empty(), "{:?} is owed", self.models[name].owed);
        }
        self.responses.clear();
        tokio::time::sleep(4 * DISCONNECT_DELAY).await;
        assert_eq!(self.open.count(), 0, "connections without clients");
        for name in &NAMES[..self.sessions_max.min(NAMES.len())] {
            self.receive(name, Wire::Xhr, &Headers::default()).await;
        }
        // If there was no room for a session, there is no response.
        assert_eq!(self.responses.len(), self.sessions_max.min(NAMES.len()), "sessions remain");
    }
}

fn pick_name(index: u8) -> &'static str {
    NAMES[usize::from(index) % NAMES.len()]
}
