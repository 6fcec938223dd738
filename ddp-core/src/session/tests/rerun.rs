//! A change of the user, and subscriptions that no client asked for.

use super::*;

impl Peer {
    fn show(&mut self, subscription: SubscriptionKey, delta: &Arc<Delta>) -> Vec<String> {
        self.input(Input::Delta(subscription, Source::Cursor, Arc::clone(delta)))
    }

    fn rerun(&mut self) -> (Vec<String>, BTreeMap<SubscriptionKey, SubscriptionKey>) {
        let sent = self.input(Input::Rerun);
        match self.events.pop() {
            Some(Event::Rerun(renamed)) => (sent, renamed),
            other => panic!("expected a rerun, got {other:?}"),
        }
    }
}

#[test]
fn all_subscriptions_run_anew_and_only_the_difference_is_sent() {
    let mut peer = Peer::connected();
    let mut tasks = Snapshot::default();
    let one = peer.subscribe("s1");
    let both = step(&mut tasks, "a", Some("1"));
    peer.show(one, &both);
    let gone = step(&mut tasks, "b", Some("1"));
    peer.show(one, &gone);
    peer.input(Input::Ready(one));
    let two = peer.subscribe("s2");
    peer.input(Input::Ready(two));

    let call = peer.call("1");
    let (sent, renamed) = peer.rerun();
    assert_eq!(sent, [""; 0]);
    let keys: Vec<_> = renamed.keys().copied().collect();
    assert_eq!(keys, [one, two]);
    let (one_anew, two_anew) = (renamed[&one], renamed[&two]);
    assert!(peer.session.has_subscription(one_anew) && !peer.session.has_subscription(one));
    // Anything that the previous run still had to say is ignored.
    let late = step(&mut tasks, "z", Some("1"));
    assert_eq!(peer.show(one, &late), [""; 0]);
    assert_eq!(peer.input(Input::Stop(one, None)), [""; 0]);

    let mut now = Snapshot::default();
    for (id, text) in [("a", "1"), ("c", "2")] {
        let delta = step(&mut now, id, Some(text));
        assert_eq!(peer.show(one_anew, &delta), [""; 0]);
    }
    assert_eq!(peer.input(Input::Ready(one_anew)), [""; 0]);
    // The writes of an earlier method may be among what is held back.
    assert_eq!(peer.input(Input::Updated(call)), [""; 0]);
    assert_eq!(peer.events, []);
    assert_eq!(
        peer.input(Input::Ready(two_anew)),
        [
            r#"{"msg":"removed","collection":"tasks","id":"b"}"#,
            r#"{"msg":"added","collection":"tasks","id":"c","fields":{"text":2}}"#,
            r#"{"msg":"ready","subs":["s1","s2"]}"#,
            r#"{"msg":"updated","methods":["1"]}"#,
        ]
    );
    assert_eq!(peer.events, [Event::RerunDone]);
    let delta = step(&mut now, "a", Some("3"));
    assert_eq!(
        peer.show(one_anew, &delta),
        [r#"{"msg":"changed","collection":"tasks","id":"a","fields":{"text":3}}"#]
    );
    peer.events.clear();
    assert_eq!(peer.recv(r#"{"msg":"unsub","id":"s1"}"#), [""; 0], "the method still runs");
    assert_eq!(
        peer.input(Input::Result(call, Ok(None))).last().unwrap(),
        r#"{"msg":"nosub","id":"s1"}"#
    );
    assert_eq!(peer.events, [Event::Unsubscribe(one_anew)]);
}

#[test]
fn a_call_that_is_finished_meanwhile_is_updated_when_the_rerun_is_over() {
    let mut peer = Peer::connected();
    let universal = peer.session.subscribe_universal();
    let call = peer.call("1");
    let (_, renamed) = peer.rerun();
    let sent = peer.input(Input::Finished(call, Ok(None)));
    assert_eq!(sent, [r#"{"msg":"result","id":"1"}"#]);
    assert_eq!(
        peer.input(Input::SubscriptionReturned(renamed[&universal])),
        [r#"{"msg":"updated","methods":["1"]}"#]
    );
    assert_eq!(peer.input(Input::Finished(call, Ok(None))), [""; 0], "once");
    let call = peer.call("2");
    peer.input(Input::Updated(call));
    let sent = peer.input(Input::Finished(call, Ok(None)));
    assert_eq!(sent, [r#"{"msg":"result","id":"2"}"#], "only what it has not had");
    assert!(!peer.session.is_busy());
}

#[test]
fn without_subscriptions_a_rerun_is_done_at_once() {
    let mut peer = Peer::connected();
    assert_eq!(peer.input(Input::Rerun), [""; 0]);
    assert_eq!(peer.events, [Event::Rerun(BTreeMap::new()), Event::RerunDone]);
}

#[test]
fn a_publication_that_is_forbidden_for_the_new_user_ends_at_once_and_its_documents_at_last() {
    let mut peer = Peer::connected();
    let mut tasks = Snapshot::default();
    let one = peer.subscribe("s1");
    let delta = step(&mut tasks, "a", Some("1"));
    peer.show(one, &delta);
    peer.input(Input::Ready(one));
    let other = peer.subscribe("s2");
    peer.input(Input::Ready(other));
    let (_, renamed) = peer.rerun();
    peer.input(Input::Ready(renamed[&one]));
    let error = DdpError::new("not-authorized", "No");
    let sent = peer.input(Input::Stop(renamed[&one], Some(error)));
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].starts_with(r#"{"msg":"nosub","id":"s1","error":"#), "{sent:?}");
    assert_eq!(
        peer.input(Input::SubscriptionReturned(renamed[&other])),
        [r#"{"msg":"removed","collection":"tasks","id":"a"}"#],
        "what has ended is not called ready"
    );
    assert_eq!(peer.events, [Event::RerunDone]);
}

#[test]
fn unblocking_does_not_end_the_wait_but_a_rerun_can_begin_again() {
    let mut peer = Peer::connected();
    let mut tasks = Snapshot::default();
    let old = peer.subscribe("s1");
    let delta = step(&mut tasks, "a", Some("1"));
    peer.show(old, &delta);
    peer.input(Input::Ready(old));
    let (_, first) = peer.rerun();
    peer.input(Input::SubscriptionUnblocked(first[&old]));
    assert_eq!(peer.events, []);
    let other = step(&mut Snapshot::default(), "b", Some("1"));
    peer.show(first[&old], &other);
    let (_, second) = peer.rerun();
    let newest = second[&first[&old]];
    assert_eq!(peer.input(Input::Ready(first[&old])), [""; 0]);
    let delta = step(&mut Snapshot::default(), "a", Some("1"));
    peer.show(newest, &delta);
    assert_eq!(peer.input(Input::Ready(newest)), [r#"{"msg":"ready","subs":["s1"]}"#]);
    assert_eq!(peer.events, [Event::RerunDone]);
}

#[test]
fn a_universal_subscription_is_never_called_ready_and_runs_anew_too() {
    let mut peer = Peer::connected();
    let mut users = Snapshot::default();
    let universal = peer.session.subscribe_universal();
    let delta = step(&mut users, "me", Some("1"));
    assert_eq!(peer.show(universal, &delta).len(), 1);
    // The client's messages do not wait for it.
    let call = peer.call("1");
    assert_eq!(peer.input(Input::Ready(universal)), [""; 0]);
    let (_, renamed) = peer.rerun();
    assert_eq!(
        peer.input(Input::SubscriptionReturned(renamed[&universal])),
        [r#"{"msg":"removed","collection":"tasks","id":"me"}"#]
    );
    peer.input(Input::Result(call, Ok(None)));
    assert_eq!(
        peer.input(Input::Stop(renamed[&universal], Some(DdpError::internal()))).len(),
        1,
        "Meteor sends a nosub without an id"
    );
}

#[test]
fn messages_are_reported_when_their_turn_comes() {
    let mut peer =
        Peer::with_config(SessionConfig { reports_messages: true, ..SessionConfig::default() });
    peer.drain();
    peer.recv(r#"{"msg":"connect","version":"1","support":["1"]}"#);
    peer.events.clear();
    let method = r#"{"msg":"method","id":"1","method":"m"}"#;
    peer.recv(method);
    let Some(Event::Call { call, .. }) = peer.events.pop() else { panic!("a call") };
    assert_eq!(peer.events, [Event::Message(method.to_owned())]);
    peer.recv(r#"{"msg":"unsub","id":"x"}"#);
    peer.recv(r#"{"msg":"ping"}"#);
    assert_eq!(peer.events.len(), 1, "it waits");
    peer.input(Input::MethodUnblocked(call));
    assert_eq!(peer.events[1], Event::Message(r#"{"msg":"unsub","id":"x"}"#.to_owned()));
}

#[test]
fn documents_in_their_places() {
    let mut peer = Peer::connected();
    let key = peer.subscribe("s1");
    let mut tasks = Snapshot::default();
    let mut put = |peer: &mut Peer, key, id: &str, text: Option<&str>, before: Option<&str>| {
        let delta = text.map(|text| step(&mut tasks, id, Some(text)));
        let place = Placement {
            collection: "tasks".into(),
            id: DocumentId::from_string(id),
            place: Place::before(before.map(DocumentId::from_string)),
        };
        peer.input(Input::Placed(key, delta, place))
    };
    assert_eq!(
        put(&mut peer, key, "a", Some("1"), None),
        [
            r#"{"msg":"addedBefore","collection":"tasks","id":"a","fields":{"text":1},"before":null}"#
        ]
    );
    assert_eq!(
        put(&mut peer, key, "b", Some("2"), Some("a")),
        [r#"{"msg":"addedBefore","collection":"tasks","id":"b","fields":{"text":2},"before":"a"}"#]
    );
    assert_eq!(
        put(&mut peer, key, "b", None, None),
        [r#"{"msg":"movedBefore","collection":"tasks","id":"b","before":null}"#]
    );
    assert_eq!(
        put(&mut peer, key, "a", Some("3"), None),
        [
            r#"{"msg":"changed","collection":"tasks","id":"a","fields":{"text":3}}"#,
            r#"{"msg":"movedBefore","collection":"tasks","id":"a","before":null}"#,
        ]
    );
    assert_eq!(put(&mut peer, key, "unknown", None, None), [""; 0]);
    peer.input(Input::Ready(key));

    // A rerun places them again.
    let (_, renamed) = peer.rerun();
    let key = renamed[&key];
    tasks = Snapshot::default();
    let mut put = |peer: &mut Peer, id: &str, text: &str| {
        let place = Placement {
            collection: "tasks".into(),
            id: DocumentId::from_string(id),
            place: Place::End,
        };
        let delta = step(&mut tasks, id, Some(text));
        peer.input(Input::Placed(key, Some(delta), place))
    };
    assert_eq!(put(&mut peer, "c", "1"), [""; 0]);
    assert_eq!(put(&mut peer, "a", "3"), [""; 0]);
    assert_eq!(
        peer.input(Input::SubscriptionReturned(key)),
        [
            r#"{"msg":"removed","collection":"tasks","id":"b"}"#,
            r#"{"msg":"movedBefore","collection":"tasks","id":"a","before":null}"#,
            r#"{"msg":"addedBefore","collection":"tasks","id":"c","fields":{"text":1},"before":"a"}"#,
        ]
    );
}

#[test]
fn a_rerun_that_begins_again_calls_each_subscription_ready_once() {
    let mut peer = Peer::connected();
    let one = peer.subscribe("s1");
    peer.input(Input::Ready(one));
    let two = peer.subscribe("s2");
    peer.input(Input::Ready(two));
    let (_, first) = peer.rerun();
    peer.input(Input::Ready(first[&one]));
    let (_, second) = peer.rerun();
    assert_eq!(peer.input(Input::Ready(second[&first[&one]])), [""; 0]);
    assert_eq!(
        peer.input(Input::Ready(second[&first[&two]])),
        [r#"{"msg":"ready","subs":["s1","s2"]}"#]
    );
}

#[test]
fn a_rerun_ends_with_the_last_subscription_that_it_waits_for_however_that_ends() {
    for by_client in [true, false] {
        let mut peer = Peer::connected();
        let key = peer.subscribe("s1");
        let delta = step(&mut Snapshot::default(), "a", Some("1"));
        peer.show(key, &delta);
        peer.input(Input::Ready(key));
        let (_, renamed) = peer.rerun();
        let mut sent = if by_client {
            peer.recv(r#"{"msg":"unsub","id":"s1"}"#)
        } else {
            peer.input(Input::Stop(renamed[&key], None))
        };
        sent.sort();
        assert_eq!(
            sent,
            [r#"{"msg":"nosub","id":"s1"}"#, r#"{"msg":"removed","collection":"tasks","id":"a"}"#]
        );
        assert!(peer.events.contains(&Event::RerunDone), "{:?}", peer.events);
    }
}

#[test]
fn a_subscription_that_holds_up_messages_does_so_when_it_runs_anew() {
    let mut peer = Peer::connected();
    let universal = peer.session.subscribe_universal();
    let old = peer.subscribe("s1");
    let (_, renamed) = peer.rerun();
    assert!(renamed[&old] < renamed[&universal], "the client's own run first");
    peer.recv(r#"{"msg":"method","id":"1","method":"m"}"#);
    peer.input(Input::Ready(old));
    assert_eq!(peer.events, []);
    peer.input(Input::Ready(renamed[&old]));
    assert!(matches!(peer.events[..], [Event::Call { .. }]), "{:?}", peer.events);
}

#[test]
fn calls_whose_updated_is_held_back_count_as_unfinished() {
    let mut peer = Peer::with_config(SessionConfig { calls_max: 2, ..SessionConfig::default() });
    peer.drain();
    peer.recv(r#"{"msg":"connect","version":"1","support":["1"]}"#);
    peer.events.clear();
    let subscription = peer.subscribe("s1");
    peer.input(Input::Ready(subscription));
    let (_, renamed) = peer.rerun();
    for id in ["1", "2"] {
        let call = peer.call(id);
        let sent = peer.input(Input::Updated(call));
        assert_eq!(sent, [""; 0]);
        peer.input(Input::Result(call, Ok(None)));
    }
    peer.recv(r#"{"msg":"method","id":"3","method":"m"}"#);
    assert_eq!(peer.events, [], "two are unfinished");
    assert_eq!(
        peer.input(Input::Ready(renamed[&subscription])),
        [r#"{"msg":"ready","subs":["s1"]}"#, r#"{"msg":"updated","methods":["1","2"]}"#]
    );
    assert!(matches!(peer.events[..], [Event::RerunDone, Event::Call { .. }]), "{:?}", peer.events);
}
