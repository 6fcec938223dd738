//! Sessions on virtual time, as transcripts.

mod budget;
mod direct;
mod frames;
mod pieces;
mod rerun;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::merge_box::{Outgoing, Place, Placement, Source};
use crate::{
    CollectionName, DdpError, Delta, Document, DocumentId, LiveQueryKey, Snapshot, Version,
};

/// A session with its clock, and everything it sent since the last look.
struct Peer {
    session: Session,
    now: Instant,
    deadline: Option<Instant>,
    events: Vec<Event>,
    closed: Option<CloseReason>,
    /// Whether the next documents come through [`Session::deliver`].
    delivers: bool,
}

impl Peer {
    fn new() -> Self {
        Self::with_config(SessionConfig::default())
    }

    fn with_config(config: SessionConfig) -> Self {
        let now = Instant::now();
        let session = Session::new("abcdefghijklmnopq".to_owned(), config.into(), now);
        Self { session, now, deadline: None, events: vec![], closed: None, delivers: true }
    }

    fn connected() -> Self {
        let mut peer = Self::new();
        peer.drain();
        peer.recv(r#"{"msg":"connect","version":"1","support":["1"]}"#);
        assert_eq!(peer.events.drain(..).collect::<Vec<_>>(), [Event::Connected(Version::V1)]);
        peer
    }

    fn drain(&mut self) -> Vec<String> {
        let mut sent = vec![];
        loop {
            match self.session.poll_output() {
                Output::Send(Outgoing::Text(text)) => sent.push(text),
                Output::Send(Outgoing::Shared(delta)) => {
                    delta.for_each_message(|text| sent.push(text.to_owned()));
                }
                Output::EndFrame => {}
                Output::Event(event) => self.events.push(event),
                Output::Close(reason) => self.closed = Some(reason),
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    return sent;
                }
            }
        }
    }

    fn recv(&mut self, text: &str) -> Vec<String> {
        self.session.handle_input(Input::Message(self.now, text));
        self.drain()
    }

    /// Documents come both ways, in turn.
    fn input(&mut self, input: Input<'_>) -> Vec<String> {
        let mut sent = vec![];
        match input {
            Input::Delta(subscription, source, delta) if self.delivers => {
                let mut send = |outgoing| match outgoing {
                    Outgoing::Text(text) => sent.push(text),
                    Outgoing::Shared(delta) => {
                        delta.for_each_message(|text| sent.push(text.into()))
                    }
                };
                self.session.deliver(subscription, source, delta, &mut send);
            }
            input => self.session.handle_input(input),
        }
        self.delivers = !self.delivers;
        sent.extend(self.drain());
        sent
    }

    /// Jumps to the session's next deadline.
    fn sleep(&mut self) -> (Duration, Vec<String>) {
        let deadline = self.deadline.expect("the session waits for something");
        let slept = deadline - self.now;
        self.now = deadline;
        (slept, self.input(Input::Timeout(deadline)))
    }

    fn subscribe(&mut self, id: &str) -> SubscriptionKey {
        self.recv(&format!(r#"{{"msg":"sub","id":"{id}","name":"tasks"}}"#));
        match self.events.pop() {
            Some(Event::Subscribe { subscription, .. }) => subscription,
            other => panic!("expected a subscription, got {other:?}"),
        }
    }

    fn call(&mut self, id: &str) -> CallKey {
        self.recv(&format!(r#"{{"msg":"method","id":"{id}","method":"m"}}"#));
        match self.events.pop() {
            Some(Event::Call { call, .. }) => call,
            other => panic!("expected a call, got {other:?}"),
        }
    }
}

/// The step of a snapshot in which one document gets this `text`.
fn step(snapshot: &mut Snapshot, id: &str, text: Option<&str>) -> Arc<Delta> {
    let document = text.map(|text| Document::from_fields([("text".into(), text)]).unwrap());
    let name = CollectionName::from("tasks");
    let documents = BTreeMap::from([(DocumentId::from_string(id), document.map(Arc::new))]);
    snapshot.advance(&name, documents).expect("the step changes something")
}

#[test]
fn the_server_id_comes_first_and_connect_is_answered() {
    let mut peer = Peer::new();
    assert_eq!(peer.drain(), [r#"{"server_id":"0"}"#]);
    assert_eq!(
        peer.recv(r#"{"msg":"connect","version":"1","support":["1","pre2"],"session":"old"}"#),
        [r#"{"msg":"connected","session":"abcdefghijklmnopq"}"#]
    );
    let again = r#"{"msg":"connect","version":"1","support":["1"]}"#;
    assert_eq!(
        peer.recv(again),
        [format!(r#"{{"msg":"error","reason":"Already connected","offendingMessage":{again}}}"#)]
    );
}

#[test]
fn versions_that_do_not_match_fail_and_close() {
    for connect in [
        r#"{"msg":"connect"}"#,
        r#"{"msg":"connect","version":"1"}"#,
        r#"{"msg":"connect","version":1,"support":["1"]}"#,
        r#"{"msg":"connect","version":"1","support":[1]}"#,
        r#"{"msg":"connect","version":"9","support":["9"]}"#,
    ] {
        let mut peer = Peer::new();
        peer.drain();
        assert_eq!(peer.recv(connect), [r#"{"msg":"failed","version":"1"}"#], "{connect}");
        assert_eq!(peer.closed, Some(CloseReason::VersionMismatch));
        assert_eq!(peer.recv(r#"{"msg":"ping"}"#), [""; 0], "closed sessions are silent");
        assert!(!peer.session.wants_input());
    }
}

#[test]
fn bad_input_gets_meteors_answers() {
    let mut peer = Peer::new();
    peer.drain();
    for text in ["nonsense", "7", "null"] {
        assert_eq!(peer.recv(text), [r#"{"msg":"error","reason":"Bad request"}"#]);
    }
    assert_eq!(
        peer.recv(r#"{"foo":1}"#),
        [r#"{"msg":"error","reason":"Bad request","offendingMessage":{"foo":1}}"#]
    );
    for text in [
        r#"{"msg":"ping"}"#,
        r#"{"msg":"sub"}"#,
        r#"{"msg":"method","id":"1","method":"m"}"#,
        r#"{"msg":"whatever"}"#,
    ] {
        assert_eq!(
            peer.recv(text),
            [format!(
                r#"{{"msg":"error","reason":"Must connect first","offendingMessage":{text}}}"#
            )]
        );
    }
    let mut peer = Peer::connected();
    for (text, reason) in [
        (r#"{"msg":"sub","id":"1"}"#, "Malformed subscription"),
        (r#"{"msg":"method","method":"m"}"#, "Malformed method invocation"),
        (r#"{"msg":"whatever"}"#, "Bad request"),
    ] {
        assert_eq!(
            peer.recv(text),
            [format!(r#"{{"msg":"error","reason":"{reason}","offendingMessage":{text}}}"#)]
        );
    }
    assert_eq!(peer.recv(r#"{"msg":"unsub"}"#), [r#"{"msg":"nosub"}"#]);
    assert_eq!(peer.recv(r#"{"msg":"unsub","id":"x"}"#), [r#"{"msg":"nosub","id":"x"}"#]);
    assert_eq!(peer.events, []);
}

#[test]
fn heartbeats() {
    let mut peer = Peer::connected();
    assert_eq!(peer.sleep(), (Duration::from_secs(15), vec![r#"{"msg":"ping"}"#.to_owned()]));
    // Any message counts as an answer.
    peer.now += Duration::from_secs(1);
    assert_eq!(peer.recv(r#"{"msg":"unsub","id":"1"}"#).len(), 1);
    assert_eq!(peer.sleep(), (Duration::from_secs(14), vec![]));
    assert_eq!(peer.sleep(), (Duration::from_secs(15), vec![r#"{"msg":"ping"}"#.to_owned()]));
    assert_eq!(peer.sleep(), (Duration::from_secs(15), vec![]));
    assert_eq!(peer.closed, Some(CloseReason::HeartbeatTimeout));

    let mut peer = Peer::connected();
    assert_eq!(peer.recv(r#"{"msg":"ping","id":"7"}"#), [r#"{"msg":"pong","id":"7"}"#]);
    assert_eq!(peer.recv(r#"{"msg":"ping"}"#), [r#"{"msg":"pong"}"#]);
    let odd = r#"{ "id": {"a" : [1e2, null]}, "msg": "ping"}"#;
    assert_eq!(peer.recv(odd), [r#"{"msg":"pong","id":{"a" : [1e2, null]}}"#]);
    assert_eq!(peer.recv(r#"{"msg":"ping","id":null}"#), [r#"{"msg":"pong","id":null}"#]);
}

#[test]
fn a_client_that_says_that_it_leaves_is_closed_without_an_answer() {
    let mut peer = Peer::new();
    peer.drain();
    assert_eq!(peer.recv(r#"{"msg":"disconnect"}"#), [""; 0], "before `connect`");
    assert_eq!(peer.closed, Some(CloseReason::Disconnect));

    let mut peer = Peer::connected();
    peer.call("1");
    peer.recv(r#"{"msg":"method","id":"2","method":"m"}"#);
    assert_eq!(peer.recv(r#"{"msg":"disconnect"}"#), [""; 0], "before messages that wait");
    assert_eq!((peer.closed, &*peer.events), (Some(CloseReason::Disconnect), &[][..]));
    assert_eq!(peer.recv(r#"{"msg":"ping"}"#), [""; 0]);
    assert_eq!(peer.deadline, None);

    let mut peer = Peer::new();
    peer.recv(r#"{"msg":"connect","version":"pre1","support":["pre1"]}"#);
    assert_eq!(peer.recv(r#"{"msg":"disconnect"}"#), [""; 0], "in every version");
    assert_eq!(peer.closed, Some(CloseReason::Disconnect));
}

#[test]
fn a_connection_without_connect_is_closed() {
    let mut peer = Peer::new();
    peer.drain();
    peer.recv("nonsense");
    assert_eq!(peer.sleep(), (Duration::from_secs(45), vec![]));
    assert_eq!(peer.closed, Some(CloseReason::ConnectTimeout));
}

#[test]
fn pre1_knows_no_heartbeats() {
    let mut peer = Peer::new();
    peer.drain();
    peer.recv(r#"{"msg":"connect","version":"pre1","support":["pre1"]}"#);
    assert_eq!(peer.deadline, None);
    assert_eq!(
        peer.recv(r#"{"msg":"ping"}"#),
        [r#"{"msg":"error","reason":"Bad request","offendingMessage":{"msg":"ping"}}"#]
    );
}

#[test]
fn documents_precede_ready_and_go_before_nosub() {
    let mut peer = Peer::connected();
    let mut tasks = Snapshot::default();
    let subscription = peer.subscribe("s1");
    let delta = step(&mut tasks, "a", Some(r#""x""#));
    assert_eq!(
        peer.input(Input::Delta(subscription, Source::Cursor, delta)),
        [r#"{"msg":"added","collection":"tasks","id":"a","fields":{"text":"x"}}"#]
    );
    assert_eq!(peer.input(Input::Ready(subscription)), [r#"{"msg":"ready","subs":["s1"]}"#]);
    assert_eq!(peer.input(Input::Ready(subscription)), [""; 0], "once");
    let delta = step(&mut tasks, "a", Some(r#""y""#));
    assert_eq!(
        peer.input(Input::Delta(subscription, Source::Cursor, delta)),
        [r#"{"msg":"changed","collection":"tasks","id":"a","fields":{"text":"y"}}"#]
    );
    assert_eq!(peer.recv(r#"{"msg":"sub","id":"s1","name":"tasks"}"#), [""; 0], "ids in use");
    let again = Event::SubscribeAgain { id: "s1".to_owned(), name: "tasks".to_owned() };
    assert_eq!(peer.events, [again]);
    peer.events.clear();
    peer.session.refuse("s1", &DdpError::subscription_not_found("tasks"));
    assert_eq!(peer.drain().len(), 1);
    assert_eq!(
        peer.recv(r#"{"msg":"unsub","id":"s1"}"#),
        [r#"{"msg":"removed","collection":"tasks","id":"a"}"#, r#"{"msg":"nosub","id":"s1"}"#]
    );
    assert_eq!(peer.events, [Event::Unsubscribe(subscription)]);
    // Inputs for something that has ended meanwhile are ignored.
    let delta = step(&mut tasks, "a", None);
    assert_eq!(peer.input(Input::Delta(subscription, Source::Cursor, delta)), [""; 0]);
    assert_eq!(peer.input(Input::Stop(subscription, None)), [""; 0]);
    // The id is free again, under a new key.
    peer.events.clear();
    assert_ne!(peer.subscribe("s1"), subscription);
}

#[test]
fn the_server_stops_a_subscription() {
    let mut peer = Peer::connected();
    let subscription = peer.subscribe("s1");
    let error = DdpError::subscription_not_found("tasks");
    assert_eq!(
        peer.input(Input::Stop(subscription, Some(error))),
        [
            r#"{"msg":"nosub","id":"s1","error":{"isClientSafe":true,"error":404,"reason":"Subscription 'tasks' not found","message":"Subscription 'tasks' not found [404]","errorType":"Meteor.Error"}}"#
        ]
    );
}

#[test]
fn messages_run_one_at_a_time_but_pings_are_answered_at_once() {
    let mut peer = Peer::connected();
    let first = peer.call("1");
    peer.recv(r#"{"msg":"method","id":"2","method":"m","params":[1]}"#);
    assert_eq!(peer.recv(r#"{"msg":"whatever"}"#), [""; 0], "errors keep their place in the order");
    assert_eq!(peer.recv(r#"{"msg":"ping"}"#), [r#"{"msg":"pong"}"#]);
    assert_eq!(peer.events, []);
    let sent = peer.input(Input::Result(first, Ok(Some("7".to_owned()))));
    assert_eq!(sent, [r#"{"msg":"result","id":"1","result":7}"#]);
    let Some(Event::Call { call: second, .. }) = peer.events.pop() else {
        panic!("the second call begins when the first has its result");
    };
    assert_eq!(peer.input(Input::MethodUnblocked(first)), [""; 0], "it does not block any more");
    assert_eq!(
        peer.input(Input::MethodUnblocked(second)),
        [r#"{"msg":"error","reason":"Bad request","offendingMessage":{"msg":"whatever"}}"#]
    );
    assert_eq!(peer.input(Input::Updated(first)), [r#"{"msg":"updated","methods":["1"]}"#]);
    assert_eq!(peer.input(Input::Updated(first)), [""; 0], "once");
    assert_eq!(peer.input(Input::Updated(second)), [r#"{"msg":"updated","methods":["2"]}"#]);
    assert_eq!(peer.input(Input::Result(second, Ok(None))), [r#"{"msg":"result","id":"2"}"#]);
}

#[test]
fn a_publication_holds_up_the_next_message_until_it_is_ready() {
    let mut peer = Peer::connected();
    let subscription = peer.subscribe("s1");
    peer.recv(r#"{"msg":"method","id":"1","method":"m"}"#);
    assert_eq!(peer.events, []);
    peer.input(Input::SubscriptionUnblocked(subscription));
    assert_eq!(peer.events.len(), 1);
}

#[test]
fn what_waits_is_bounded() {
    let mut peer = Peer::with_config(SessionConfig {
        inbox_messages_max: 3,
        calls_max: 2,
        subscriptions_max: 1,
        ..SessionConfig::default()
    });
    peer.drain();
    peer.recv(r#"{"msg":"connect","version":"1","support":["1"]}"#);
    peer.events.clear();
    let first = peer.call("1");
    for id in 2..5 {
        assert!(peer.session.wants_input());
        peer.recv(&format!(r#"{{"msg":"method","id":"{id}","method":"m"}}"#));
    }
    assert!(!peer.session.wants_input());
    // A client that takes its output, however slowly, is not dead.
    for _ in 0..4 {
        peer.input(Input::Backlogged);
        assert_eq!(peer.sleep().1, [""; 0]);
        assert_eq!(peer.closed, None);
    }
    peer.input(Input::Result(first, Ok(None)));
    let Some(Event::Call { call: second, .. }) = peer.events.pop() else {
        panic!("the second call")
    };
    assert!(peer.session.wants_input());
    peer.input(Input::Result(second, Ok(None)));
    assert_eq!(peer.events, [], "two calls wait for `updated`");
    peer.input(Input::Updated(first));
    assert_eq!(peer.events.len(), 1);
    let Some(Event::Call { call: third, .. }) = peer.events.pop() else { panic!("the third call") };
    for call in [second, third] {
        peer.input(Input::Result(call, Ok(None)));
        peer.input(Input::Updated(call));
    }
    let Some(Event::Call { call: fourth, .. }) = peer.events.pop() else { panic!("the fourth") };
    peer.input(Input::Result(fourth, Ok(None)));
    peer.input(Input::Updated(fourth));

    let subscription = peer.subscribe("a");
    peer.input(Input::Ready(subscription));
    let refused = peer.recv(r#"{"msg":"sub","id":"b","name":"tasks"}"#);
    assert!(refused[0].contains(r#""error":"too-many-subscriptions""#), "{refused:?}");
}

#[test]
fn what_waits_is_bounded_in_bytes_and_a_client_that_is_not_heard_is_dead() {
    let mut peer = Peer::connected();
    peer.call("1");
    let long = "x".repeat(600_000);
    for id in 2..4 {
        assert!(peer.session.wants_input());
        peer.recv(&format!(r#"{{"msg":"method","id":"{id}","method":"m","params":["{long}"]}}"#));
    }
    assert!(!peer.session.wants_input());
    assert_eq!(peer.sleep().1, [""; 0]);
    assert_eq!(peer.sleep().1, [r#"{"msg":"ping"}"#]);
    assert_eq!(peer.sleep().1, [""; 0]);
    assert_eq!(peer.closed, Some(CloseReason::HeartbeatTimeout));

    let mut peer = Peer::connected();
    let first = peer.call("1");
    peer.recv(&format!(r#"{{"msg":"method","id":"2","method":"m","params":["{long}"]}}"#));
    peer.recv(&format!(r#"{{"msg":"method","id":"3","method":"m","params":["{long}"]}}"#));
    peer.input(Input::MethodUnblocked(first));
    assert!(peer.session.wants_input(), "one has left the queue");
}

#[test]
fn a_step_of_a_live_query_is_for_all_subscriptions_that_show_it() {
    let mut peer = Peer::connected();
    let mut tasks = Snapshot::default();
    let query = LiveQueryKey::from(7);
    step(&mut tasks, "a", Some("1"));
    let initial = tasks.initial(&"tasks".into());
    for (id, sent) in [("s1", 1), ("s2", 0)] {
        let subscription = peer.subscribe(id);
        let shows = Input::Delta(subscription, Source::LiveQuery(query), Arc::clone(&initial));
        assert_eq!(peer.input(shows).len(), sent);
        peer.input(Input::Ready(subscription));
    }
    let delta = step(&mut tasks, "a", Some("2"));
    assert_eq!(
        peer.input(Input::Step(query, Arc::clone(&delta))),
        [r#"{"msg":"changed","collection":"tasks","id":"a","fields":{"text":2}}"#]
    );
    assert_eq!(peer.input(Input::Step(query, delta)), [""; 0], "once");
    // The other one goes on showing it, and then nobody does.
    let unsub = |id: &str| format!(r#"{{"msg":"unsub","id":"{id}"}}"#);
    assert_eq!(peer.recv(&unsub("s1")), [r#"{"msg":"nosub","id":"s1"}"#]);
    assert_eq!(peer.input(Input::Step(query, step(&mut tasks, "a", Some("3")))).len(), 1);
    assert_eq!(peer.recv(&unsub("s2")).len(), 2);
    assert_eq!(peer.input(Input::Step(query, step(&mut tasks, "a", Some("4")))), [""; 0]);
}
