//! Documents that are made piece by piece.

use super::*;

const COUNT: usize = 3000;

fn many(snapshot: &mut Snapshot, text: &str) -> Arc<Delta> {
    let document = Document::from_fields([("text".into(), text)]).map(Arc::new);
    let document = document.expect("a sound field");
    let documents = (0..COUNT)
        .map(|number| (DocumentId::from_string(&format!("d{number:04}")), Arc::clone(&document)));
    snapshot.replace(&"tasks".into(), documents.collect()).expect("the step changes something")
}

/// A client whose subscriptions show the same documents, which are not all sent yet.
fn overlapping() -> (Peer, [SubscriptionKey; 2], Snapshot) {
    let mut peer = Peer::connected();
    let mut shown = Snapshot::default();
    let delta = many(&mut shown, "1");
    let keys = ["one", "two"].map(|id| {
        let key = peer.subscribe(id);
        // Each in a version of its own.
        peer.input(Input::Delta(key, Source::Cursor, Arc::clone(&delta)));
        peer.input(Input::Ready(key));
        key
    });
    (peer, keys, shown)
}

#[test]
fn what_comes_later_is_sent_after_all_documents() {
    let (mut peer, [one, _], mut shown) = overlapping();
    let step = many(&mut shown, "2");
    peer.session.handle_input(Input::Delta(one, Source::Cursor, step));
    assert!(peer.session.has_more());
    // Some other things happen meanwhile, and nobody takes anything.
    let call = r#"{"msg":"method","id":"1","method":"m"}"#;
    peer.session.handle_input(Input::Message(peer.now, call));
    peer.session.handle_input(Input::Message(peer.now, r#"{"msg":"unsub","id":"one"}"#));
    assert!(peer.session.has_more());
    let sent = peer.drain();
    assert!(!peer.session.has_more());
    assert_eq!(sent.len(), COUNT, "the call holds up the rest");
    assert!(sent.iter().all(|text| text.contains("changed")));
    let Some(Event::Call { call, .. }) = peer.events.pop() else { panic!("it was called") };
    let sent = peer.input(Input::Result(call, Ok(None)));
    assert!(sent[0].contains("result"), "{}", sent[0]);
    assert!(sent[1..=COUNT].iter().all(|text| text.contains("changed")), "the other's value");
    assert_eq!(sent[COUNT + 1..], [r#"{"msg":"nosub","id":"one"}"#]);
}

#[test]
fn a_second_step_comes_after_the_rest_of_the_first() {
    let (mut peer, [one, _], mut shown) = overlapping();
    for value in ["2", "3"] {
        let step = many(&mut shown, value);
        peer.session.handle_input(Input::Delta(one, Source::Cursor, step));
        peer.session.handle_input(Input::Timeout(peer.now));
    }
    assert!(peer.session.has_more(), "of the second one");
    let sent = peer.drain();
    assert_eq!(sent.len(), 2 * COUNT);
    let is_of = |value: &str, text: &String| text.contains(&format!(r#""text":{value}"#));
    assert!(sent[..COUNT].iter().all(|text| is_of("2", text)));
    assert!(sent[COUNT..].iter().all(|text| is_of("3", text)));
}

/// Whatever comes while documents are left has the rest of them sent, and then the messages that waited
/// for that.
#[test]
fn messages_that_waited_go_on_whatever_came_last() {
    let inputs: [fn(SubscriptionKey, &mut Snapshot) -> Input<'static>; 3] = [
        |one, shown| Input::Delta(one, Source::Cursor, step(shown, "d0001", Some("3"))),
        |_, shown| Input::Step(LiveQueryKey::from(7), step(shown, "d0001", Some("3"))),
        |one, _| {
            let (collection, id) = ("tasks".into(), DocumentId::from_string("d0001"));
            Input::Placed(one, None, Placement { collection, id, place: Place::before(None) })
        },
    ];
    for input in inputs {
        let (mut peer, [one, _], mut shown) = overlapping();
        let large = many(&mut shown, "2");
        peer.session.handle_input(Input::Delta(one, Source::Cursor, large));
        peer.session.handle_input(Input::Message(peer.now, r#"{"msg":"unsub","id":"two"}"#));
        assert!(peer.session.has_more() && peer.session.is_busy());
        peer.session.handle_input(input(one, &mut shown));
        let sent = peer.drain();
        assert!(sent.iter().filter(|text| text.contains("changed")).count() >= COUNT);
        assert_eq!(sent.last().map(String::as_str), Some(r#"{"msg":"nosub","id":"two"}"#));
        assert!(!peer.session.is_busy() && !peer.session.has_more());
    }
}

/// Each `unsub` waits for the documents of the one before, and a `sub` that waits for bytes for all.
#[test]
fn unsubs_that_give_bytes_are_told_in_pieces() {
    let mut peer = Peer::connected();
    let delta = many(&mut Snapshot::default(), "1");
    for (number, id) in ["a", "b"].into_iter().enumerate() {
        let key = peer.subscribe(id);
        let changes: BTreeMap<_, _> =
            delta.after().iter().map(|(id, document)| (id.clone(), Arc::clone(document))).collect();
        let own = Snapshot::default().replace(&format!("c{number}").into(), changes);
        peer.input(Input::Delta(key, Source::Cursor, own.expect("they are new")));
        peer.input(Input::Ready(key));
    }
    peer.session.give_subscription_bytes(peer.session.subscription_bytes());
    let (sub, call) = (
        r#"{"msg":"sub","id":"new","name":"tasks","params":["much longer than one of the others"]}"#,
        r#"{"msg":"method","id":"1","method":"m"}"#,
    );
    let texts = [sub, call, r#"{"msg":"unsub","id":"a"}"#, r#"{"msg":"unsub","id":"b"}"#];
    for text in texts {
        peer.session.handle_input(Input::Message(peer.now, text));
    }
    assert!(peer.session.has_more());
    let mut nosubs = vec![];
    let sent = peer.drain();
    for (index, text) in sent.iter().enumerate() {
        if text.contains("nosub") {
            nosubs.push(index);
        }
    }
    assert_eq!(nosubs, [COUNT, 2 * COUNT + 1], "each after its documents");
    let is_new = |event: &Event| matches!(event, Event::Subscribe { .. });
    assert!(peer.events.last().is_some_and(is_new), "{:?}", peer.events);
    assert!(peer.session.is_busy(), "the call waits for it");
}

#[test]
fn the_ends_of_many_subscriptions_are_told_one_after_the_other() {
    let mut peer = Peer::connected();
    let delta = many(&mut Snapshot::default(), "1");
    for (number, id) in ["a", "b", "c"].into_iter().enumerate() {
        let key = peer.subscribe(id);
        let changes: BTreeMap<_, _> =
            delta.after().iter().map(|(id, document)| (id.clone(), Arc::clone(document))).collect();
        let own = Snapshot::default().replace(&format!("c{number}").into(), changes);
        peer.input(Input::Delta(key, Source::Cursor, own.expect("they are new")));
        peer.input(Input::Ready(key));
    }
    let blocker = peer.call("1");
    for id in ["a", "b", "c"] {
        assert!(peer.recv(&format!(r#"{{"msg":"unsub","id":"{id}"}}"#)).is_empty());
    }
    peer.session.handle_input(Input::Result(blocker, Ok(None)));
    assert!(peer.session.has_more() && peer.session.is_busy(), "two wait for the first");
    let sent = peer.drain();
    let nosubs = sent.iter().enumerate().filter(|(_, text)| text.contains("nosub"));
    let nosubs: Vec<usize> = nosubs.map(|(index, _)| index).collect();
    assert_eq!(nosubs, [COUNT + 1, 2 * COUNT + 2, 3 * COUNT + 3], "after its documents");
    assert!(!peer.session.has_more());
}

#[test]
fn who_leaves_is_not_sent_the_rest() {
    let (mut peer, [one, _], mut shown) = overlapping();
    let step = many(&mut shown, "2");
    peer.session.handle_input(Input::Delta(one, Source::Cursor, step));
    let ping = r#"{"msg":"ping","id":"1"}"#;
    peer.session.handle_input(Input::Message(peer.now, ping));
    peer.session.handle_input(Input::Message(peer.now, r#"{"msg":"disconnect"}"#));
    assert!(!peer.session.has_more());
    let sent = peer.drain();
    assert!(
        sent.len() < COUNT && sent.iter().all(|text| text.contains("changed")),
        "nor what follows"
    );
    assert_eq!(peer.closed, Some(CloseReason::Disconnect));
}

#[test]
fn what_many_waiting_messages_make_is_taken_piece_by_piece() {
    let mut peer = Peer::connected();
    let count = 40;
    for number in 0..count {
        let id = format!("s{number}");
        let key = peer.subscribe(&id);
        let document = Document::from_fields([("text".into(), id.as_str())]).map(Arc::new);
        let document = document.expect("a sound field");
        let documents = (0..100)
            .map(|at| (DocumentId::from_string(&format!("{id}-{at}")), Arc::clone(&document)));
        let mut shown = Snapshot::default();
        let delta = shown.replace(&"tasks".into(), documents.collect()).expect("a step");
        peer.input(Input::Delta(key, Source::Cursor, delta));
        peer.input(Input::Ready(key));
    }
    peer.input(Input::Message(peer.now, r#"{"msg":"method","id":"1","method":"m"}"#));
    let Some(Event::Call { call, .. }) = peer.events.pop() else { panic!("it was called") };
    for number in 0..count {
        let text = format!(r#"{{"msg":"unsub","id":"s{number}"}}"#);
        peer.input(Input::Message(peer.now, &text));
    }
    peer.session.handle_input(Input::Result(call, Ok(None)));
    // Each makes less than a piece.
    let (mut made, mut nosubs) = (0, 0);
    let mut most = 0;
    while peer.session.has_more() {
        match peer.session.poll_output() {
            Output::Send(Outgoing::Text(text)) => {
                made += text.len();
                nosubs += usize::from(text.contains("nosub"));
            }
            Output::Timeout(_) => unreachable!("there is more"),
            _ => {}
        }
        most = most.max(peer.session.outputs.len());
    }
    assert!(most <= 500, "{most} outputs at once");
    assert!(made > 150_000, "{made}");
    let rest = peer.drain();
    assert_eq!(nosubs + rest.iter().filter(|text| text.contains("nosub")).count(), count);
    assert!(peer.session.queue.is_empty());
}
