//! Which messages may share a frame.

use super::*;

/// What the session sends for these inputs: each message by its `msg`, and `|` where a frame ends.
fn frames(peer: &mut Peer, inputs: impl IntoIterator<Item = Input<'static>>) -> String {
    for input in inputs {
        peer.session.handle_input(input);
    }
    let mut frames = Vec::new();
    let mut sent = |text: &str| {
        let msg = text.split('"').nth(3).expect("a `msg`");
        frames.push(msg.to_owned());
    };
    loop {
        match peer.session.poll_output() {
            Output::Send(Outgoing::Text(text)) => sent(&text),
            Output::Send(Outgoing::Shared(delta)) => delta.for_each_message(&mut sent),
            Output::EndFrame => sent(r#"{"msg":"|"}"#),
            Output::Event(event) => peer.events.push(event),
            Output::Close(_) | Output::Timeout(_) => return frames.join(" "),
        }
    }
}

fn text(text: &'static str) -> Input<'static> {
    Input::Message(Instant::now(), text)
}

/// A client that has a subscription.
fn subscribed(session: &str) -> (Peer, SubscriptionKey) {
    let mut peer = Peer::new();
    peer.drain();
    peer.recv(&format!(r#"{{"msg":"connect","version":"1","support":["1"]{session}}}"#));
    let subscription = peer.subscribe("s1");
    (peer, subscription)
}

const RECONNECT: &str = r#","session":"old""#;

#[test]
fn documents_share_a_frame_with_each_other_and_with_what_follows() {
    let (mut peer, subscription) = subscribed("");
    let mut tasks = Snapshot::default();
    let steps = [("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("b", None)];
    let steps = steps
        .map(|(id, text)| Input::Delta(subscription, Source::Cursor, step(&mut tasks, id, text)));
    let ready = [Input::Ready(subscription), text(r#"{"msg":"ping"}"#), text("{}")];
    let sent = frames(&mut peer, steps.into_iter().chain(ready));
    assert_eq!(sent, "added added changed removed ready pong error");
}

#[test]
fn nothing_shares_a_frame_with_a_nosub_before_it() {
    let (mut peer, subscription) = subscribed("");
    let error = Some(DdpError::new("no", ""));
    let stopped = [Input::Stop(subscription, error), text(r#"{"msg":"unsub","id":"none"}"#)];
    assert_eq!(frames(&mut peer, stopped), "nosub | nosub |");
    let none = text(r#"{"msg":"sub","id":"s1","name":"none"}"#);
    frames(&mut peer, [none]);
    peer.session.refuse("s1", &DdpError::subscription_not_found("none"));
    assert_eq!(frames(&mut peer, []), "nosub |");
}

#[test]
fn updated_shares_the_frame_of_a_result_that_comes_with_it() {
    let result = |call| Input::Result(call, Ok(None));
    let (mut peer, subscription) = subscribed("");
    peer.input(Input::Ready(subscription));
    let [first, second] = ["1", "2"].map(|id| {
        let call = peer.call(id);
        peer.input(Input::MethodUnblocked(call));
        call
    });
    let answers = [first, second].map(|call| Input::Finished(call, Ok(None)));
    assert_eq!(frames(&mut peer, answers), "updated result | updated result |");

    let [first, second, third] = ["1", "2", "3"].map(|id| {
        let call = peer.call(id);
        peer.input(Input::MethodUnblocked(call));
        call
    });
    let crossing = [Input::Updated(first), Input::Updated(second), result(first), result(second)];
    assert_eq!(frames(&mut peer, crossing), "updated | updated | result | result |");
    let mut tasks = Snapshot::default();
    let delta = step(&mut tasks, "a", Some("1"));
    let apart = [Input::Updated(third), Input::Delta(subscription, Source::Cursor, delta)];
    assert_eq!(frames(&mut peer, apart), "updated | added");
    assert_eq!(frames(&mut peer, [result(third)]), "result |");
}

#[test]
fn a_client_that_comes_back_takes_connected_and_each_ready_by_itself() {
    for (session, connected, ready) in
        [("", "connected", "ready added"), (RECONNECT, "connected |", "ready | added")]
    {
        let mut peer = Peer::new();
        peer.drain();
        let connect = format!(r#"{{"msg":"connect","version":"1","support":["1"]{session}}}"#);
        peer.session.handle_input(Input::Message(peer.now, &connect));
        assert_eq!(frames(&mut peer, []), connected);

        let (mut peer, subscription) = subscribed(session);
        let delta = step(&mut Snapshot::default(), "a", Some("1"));
        let then = Input::Delta(subscription, Source::Cursor, delta);
        assert_eq!(frames(&mut peer, [Input::Ready(subscription), then]), ready);
    }
}
