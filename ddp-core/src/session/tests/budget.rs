//! What a session keeps of its client's messages, whatever they are.

use super::*;
use crate::session::budget::SUBSCRIPTION_BYTES;

fn method(id: u32, bytes: usize) -> String {
    let params = "x".repeat(bytes);
    format!(r#"{{"msg":"method","id":"{id}","method":"m","params":["{params}"]}}"#)
}

fn sub(id: u32, bytes: usize) -> String {
    let params = "x".repeat(bytes);
    format!(r#"{{"msg":"sub","id":"{id}","name":"tasks","params":["{params}"]}}"#)
}

fn connected(bytes_max: usize) -> Peer {
    let config = SessionConfig { session_bytes_max: bytes_max, ..SessionConfig::default() };
    let mut peer = Peer::with_config(config);
    peer.drain();
    peer.recv(r#"{"msg":"connect","version":"1","support":["1"]}"#);
    peer.events.clear();
    peer
}

fn take_call(peer: &mut Peer) -> CallKey {
    match peer.events.remove(0) {
        Event::Call { call, .. } => call,
        other => panic!("expected a call, got {other:?}"),
    }
}

fn finish(peer: &mut Peer, call: CallKey) {
    peer.input(Input::Result(call, Ok(None)));
    peer.input(Input::Updated(call));
}

#[test]
fn waiting_messages_count_by_bytes_and_leave_the_socket_when_others_are_done() {
    let mut peer = connected(10_000);
    let blocking = peer.call("0");
    let mut count = 0;
    while peer.session.wants_input() {
        count += 1;
        peer.recv(&method(count, 1000));
    }
    assert!((8..=9).contains(&count), "{count}");
    assert!((10_000..11_200).contains(&peer.session.kept_bytes()));
    finish(&mut peer, blocking);
    // Each begins when the one before returns.
    for left in (0..count).rev() {
        let call = take_call(&mut peer);
        finish(&mut peer, call);
        assert!(peer.session.wants_input() || left > 6, "the client is read again");
    }
    assert_eq!((peer.session.kept_bytes(), peer.session.large_bytes()), (0, 0));
}

#[test]
fn calls_count_by_their_messages_until_the_result_and_by_their_ids_until_updated() {
    let mut peer = connected(10_000);
    let mut calls = vec![];
    while peer.session.wants_input() {
        peer.recv(&method(calls.len() as u32, 1000));
        let call = take_call(&mut peer);
        peer.input(Input::MethodUnblocked(call));
        calls.push(call);
    }
    assert!((6..=7).contains(&calls.len()), "{}", calls.len());
    for call in &calls {
        peer.input(Input::Result(*call, Ok(None)));
        assert!(peer.session.wants_input());
    }
    // Whatever a write fence waits for, it keeps no parameters.
    let ids = calls.len() * (512 + 1);
    assert_eq!(peer.session.kept_bytes(), ids);
    for call in &calls {
        peer.input(Input::Updated(*call));
    }
    assert_eq!(peer.session.kept_bytes(), 0);
}

#[test]
fn one_message_may_be_larger_than_all_that_is_kept() {
    let mut peer = connected(10_000);
    peer.recv(&method(1, 4_000_000));
    let call = take_call(&mut peer);
    assert!(peer.session.large_bytes() > 4_000_000);
    // Meanwhile pings are answered, and others wait as ever.
    assert!(peer.session.wants_input() && peer.session.kept_bytes() < 10_000);
    assert_eq!(peer.recv(r#"{"msg":"ping"}"#), [r#"{"msg":"pong"}"#]);
    peer.recv(&method(2, 1_000_000));
    assert!(!peer.session.wants_input() && peer.session.large_bytes() > 5_000_000);
    peer.input(Input::Result(call, Ok(None)));
    assert!(peer.session.wants_input() && peer.session.large_bytes() < 1_100_000);
    peer.input(Input::Updated(call));
    let call = take_call(&mut peer);
    finish(&mut peer, call);
    assert_eq!((peer.session.kept_bytes(), peer.session.large_bytes()), (0, 0));
}

#[test]
fn only_one_of_the_large_calls_that_run_is_not_counted() {
    let mut peer = connected(200_000);
    for id in 1..=2 {
        peer.recv(&method(id, 150_000));
    }
    let first = take_call(&mut peer);
    peer.input(Input::MethodUnblocked(first));
    let second = take_call(&mut peer);
    peer.input(Input::MethodUnblocked(second));
    assert!(peer.session.wants_input() && peer.session.kept_bytes() > 150_000);
    peer.recv(&method(3, 100_000));
    assert!(!peer.session.wants_input());
    let third = take_call(&mut peer);
    for call in [second, first, third] {
        finish(&mut peer, call);
    }
    assert_eq!((peer.session.kept_bytes(), peer.session.large_bytes()), (0, 0));
}

#[test]
fn subscriptions_that_do_not_fit_are_refused_and_end_as_others_do() {
    let mut peer = connected(10_000);
    let refused = |sent: Vec<String>| {
        let [nosub] = &sent[..] else { panic!("one answer, not {sent:?}") };
        assert!(nosub.contains(r#""msg":"nosub""#) && nosub.contains("too-many-subscriptions"));
    };
    refused(peer.recv(&sub(1, 10_000)));
    assert_eq!(peer.session.kept_bytes(), 0);
    let mut keys = vec![];
    for id in 0..6 {
        peer.recv(&sub(id, 1000));
        let Some(Event::Subscribe { subscription, .. }) = peer.events.pop() else {
            panic!("a subscription")
        };
        peer.input(Input::Ready(subscription));
        keys.push(subscription);
    }
    refused(peer.recv(&sub(6, 1000)));
    // However many there are, one message at a time is read.
    assert!(peer.session.wants_input());
    peer.recv(r#"{"msg":"unsub","id":"0"}"#);
    peer.events.clear();
    peer.recv(&sub(7, 1000));
    assert!(matches!(peer.events.pop(), Some(Event::Subscribe { .. })));
    // They keep what they count when they run again.
    let before = peer.session.kept_bytes();
    peer.input(Input::Rerun);
    assert_eq!(peer.session.kept_bytes(), before);
}

#[test]
fn a_thousand_usual_subscriptions_fit() {
    let mut peer = Peer::connected();
    for id in 0..1024 {
        peer.recv(&sub(id, 60));
        let Some(Event::Subscribe { subscription, .. }) = peer.events.pop() else {
            panic!("{id} is refused")
        };
        peer.input(Input::Ready(subscription));
    }
    // Less than that counts for the session, and nothing else may be refused.
    assert!(peer.session.subscription_bytes() > SessionConfig::default().session_bytes_max);
    assert!(peer.session.wants_input());
    peer.call("0");
    assert!(peer.session.wants_input());
}

/// Gives the session bytes, and does what it then wants done.
fn give(peer: &mut Peer, bytes: usize) -> Vec<String> {
    peer.session.give_subscription_bytes(bytes);
    peer.drain()
}

#[test]
fn what_does_not_fit_yet_waits_and_what_never_can_is_refused() {
    let mut peer = connected(10_000);
    give(&mut peer, 2500);
    // However little is given, it is refused only for the limit.
    assert!(peer.recv(&sub(1, 9900))[0].contains("too-many-subscriptions"));
    assert_eq!(peer.recv(&sub(2, 2000)), [""; 0]);
    let wanted = peer.session.subscription_bytes_wanted();
    let needed = 2000 + SUBSCRIPTION_BYTES;
    assert!((needed..needed + 200).contains(&wanted) && peer.events.is_empty(), "{wanted}");
    // What comes after it waits as well, in order; pings do not.
    assert_eq!(peer.recv(&method(3, 10)), [""; 0]);
    assert_eq!(peer.recv(r#"{"msg":"ping"}"#), [r#"{"msg":"pong"}"#]);
    give(&mut peer, wanted - 1);
    assert!(peer.events.is_empty() && peer.session.wants_input());
    give(&mut peer, wanted);
    let Some(Event::Subscribe { subscription, .. }) = peer.events.pop() else { panic!("a sub") };
    assert_eq!(peer.session.subscription_bytes_wanted(), 0);
    assert_eq!(peer.session.subscription_bytes(), wanted);
    peer.input(Input::Ready(subscription));
    let call = take_call(&mut peer);
    finish(&mut peer, call);
    // Another waits until the server stops the first.
    peer.recv(&sub(4, 2000));
    assert!(peer.session.subscription_bytes_wanted() > wanted && peer.events.is_empty());
    peer.input(Input::Stop(subscription, None));
    assert!(matches!(peer.events[..], [Event::Subscribe { .. }]), "{:?}", peer.events);
}

fn unsub(id: u32) -> String {
    format!(r#"{{"msg":"unsub","id":"{id}"}}"#)
}

fn nosub(id: u32) -> String {
    format!(r#"{{"msg":"nosub","id":"{id}"}}"#)
}

fn take_subscription(peer: &mut Peer) -> SubscriptionKey {
    match peer.events.remove(0) {
        Event::Subscribe { subscription, .. } => subscription,
        other => panic!("expected a subscription, got {other:?}"),
    }
}

#[test]
fn an_unsub_gives_its_bytes_to_the_sub_that_waits_for_them() {
    for is_behind in [false, true] {
        let mut peer = connected(100_000);
        give(&mut peer, 4500);
        peer.recv(&sub(1, 2000));
        let old = take_subscription(&mut peer);
        // The new one first, as Meteor's autorun does, and while the old one is not ready yet.
        if !is_behind {
            peer.input(Input::Ready(old));
        }
        peer.recv(&sub(2, 2000));
        peer.recv(&sub(3, 10));
        let sent = peer.recv(&unsub(1));
        if is_behind {
            assert_eq!(sent, [""; 0], "the old one comes first");
            assert_eq!(peer.input(Input::Ready(old)).last(), Some(&nosub(1)));
        } else {
            assert_eq!(sent, [nosub(1)]);
        }
        assert_eq!(peer.events.remove(0), Event::Unsubscribe(old));
        let new = take_subscription(&mut peer);
        assert!(peer.events.is_empty(), "the last waits for its turn");
        peer.input(Input::Ready(new));
        take_subscription(&mut peer);
        assert!(peer.session.subscription_bytes() < 4500);
    }
}

#[test]
fn an_unsub_of_what_waits_for_bytes_ends_that() {
    let mut peer = connected(100_000);
    give(&mut peer, 0);
    peer.recv(&sub(1, 1000));
    peer.recv(&sub(2, 1000));
    peer.recv(&sub(3, 1000));
    peer.recv(&method(4, 1000));
    // One that does not wait for bytes itself, and one that nobody knows.
    assert_eq!(peer.recv(&unsub(2)), [nosub(2)]);
    assert_eq!(peer.recv(&unsub(9)), [nosub(9)]);
    assert_eq!(peer.recv(&unsub(1)), [nosub(1)]);
    assert!(peer.events.is_empty() && peer.session.subscription_bytes_wanted() > 0);
    // One with the same id that comes later is another.
    peer.recv(&sub(3, 10));
    peer.recv(&unsub(3));
    peer.recv(&sub(3, 20));
    let call = take_call(&mut peer);
    finish(&mut peer, call);
    let wanted = peer.session.subscription_bytes_wanted();
    assert!((SUBSCRIPTION_BYTES..SUBSCRIPTION_BYTES + 200).contains(&wanted), "{wanted}");
    assert_eq!(give(&mut peer, wanted), [""; 0]);
    let last = take_subscription(&mut peer);
    peer.input(Input::Ready(last));
    assert!(peer.events.is_empty());
    assert_eq!(peer.session.kept_bytes(), peer.session.subscription_bytes());
    assert!(!peer.session.is_busy());
}

#[test]
fn a_long_sub_that_waits_for_bytes_lets_one_message_be_read() {
    let mut peer = connected(100_000);
    give(&mut peer, 0);
    peer.session.set_bytes_max(1000);
    peer.recv(&sub(1, 50_000));
    assert!(peer.session.wants_input(), "it may be an unsub");
    assert_eq!(peer.recv(&unsub(7)), [nosub(7)]);
    assert!(peer.session.wants_input());
    peer.recv(&method(2, 10));
    assert!(!peer.session.wants_input(), "it was another");
}

#[test]
fn who_waits_for_bytes_is_reported_once_and_may_leave() {
    let config = SessionConfig { reports_messages: true, ..SessionConfig::default() };
    let mut peer = Peer::with_config(config);
    peer.drain();
    peer.recv(r#"{"msg":"connect","version":"1","support":["1"]}"#);
    peer.events.clear();
    give(&mut peer, 0);
    peer.recv(&sub(1, 10));
    assert!(peer.events.is_empty(), "its turn has not come");
    give(&mut peer, 10_000);
    assert!(matches!(peer.events[..], [Event::Message(_), Event::Subscribe { .. }]));
    peer.session.give_subscription_bytes(0);
    peer.recv(r#"{"msg":"disconnect"}"#);
    assert_eq!(peer.session.subscription_bytes_wanted(), 0);
}

#[test]
fn a_session_can_be_given_less_for_a_while() {
    let mut peer = connected(10_000);
    peer.session.set_bytes_max(2000);
    peer.recv(&sub(1, 2000));
    let Some(Event::Subscribe { subscription, .. }) = peer.events.pop() else { panic!("a sub") };
    peer.input(Input::Ready(subscription));
    peer.recv(r#"{"msg":"unsub","id":"1"}"#);
    peer.events.clear();
    let blocking = peer.call("0");
    peer.recv(&method(1, 2000));
    assert!(!peer.session.wants_input());
    peer.session.set_bytes_max(usize::MAX);
    assert!(peer.session.wants_input(), "10,000 again");
    finish(&mut peer, blocking);
}

#[test]
fn a_large_message_is_not_repeated_in_an_error() {
    let mut peer = Peer::connected();
    let error = |bytes: usize| format!(r#"{{"msg":"x","y":"{}"}}"#, "x".repeat(bytes));
    assert!(peer.recv(&error(10))[0].contains("offendingMessage"));
    assert_eq!(peer.recv(&error(100_000)), [r#"{"msg":"error","reason":"Bad request"}"#]);
}
