//! Messages that are kept, and large ones.

use super::*;

#[tokio::test(start_paused = true)]
async fn who_begins_a_message_and_is_silent_holds_up_nobody_for_long() {
    // For one message.
    let server = server(|config| config.large_messages_bytes_max = 0);
    let mut silent = Wire::connect(&server, HOSTILE, "pre1").await;
    silent.begin(16_450).await;
    tokio::time::sleep(SECOND).await;
    let begun = Instant::now();
    let mut other = Wire::connect(&server, HONEST, "pre1").await;
    assert!(other.echo(100_000).await > 100_000);
    assert_eq!(begun.elapsed().as_secs(), 9, "10 seconds after it began");
}

#[tokio::test(start_paused = true)]
async fn an_address_leaves_memory_for_large_messages_of_others() {
    // For two messages.
    let server = server(|config| config.large_messages_bytes_max = 8 << 20);
    let mut wires = Vec::new();
    for _ in 0..20 {
        let mut wire = Wire::connect(&server, HOSTILE, "pre1").await;
        wire.begin(70_000).await;
        wires.push(wire);
    }
    tokio::time::sleep(SECOND).await;
    let begun = Instant::now();
    let mut other = Wire::connect(&server, HONEST, "pre1").await;
    assert!(other.echo(100_000).await > 100_000);
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}

/// Of 400,000 bytes subscriptions have 300,000, and an address half of these; each session has 16 KiB.
#[tokio::test]
async fn a_subscription_waits_until_others_of_its_address_give_memory_back() {
    let server = server(|config| config.sessions_bytes_max = 400_000);
    let mut first = Wire::connect(&server, HOSTILE, "1").await;
    for id in ["1", "2", "3", "4"] {
        first.sub(id, 38_000).await;
        assert_eq!(first.hear().await, ready(id));
    }
    let mut second = Wire::connect(&server, HOSTILE, "1").await;
    second.sub("1", 12_000).await;
    assert_eq!(second.hear().await, ready("1"), "what each has");
    second.sub("2", 40_000).await;
    second.say(r#"{"msg":"ping"}"#).await;
    assert_eq!(second.hear().await, r#"{"msg":"pong"}"#, "not refused, and not ready");

    let mut other = Wire::connect(&server, HONEST, "1").await;
    for id in ["1", "2", "3", "4"] {
        other.sub(id, 38_000).await;
        assert_eq!(other.hear().await, ready(id), "another address has its own part");
    }
    other.sub("5", 215_000).await;
    let nosub = other.hear().await;
    assert!(nosub.contains("nosub") && nosub.contains("too-many-subscriptions"), "{nosub}");

    first.say(r#"{"msg":"unsub","id":"1"}"#).await;
    assert!(first.hear().await.contains("nosub"));
    assert_eq!(second.hear().await, ready("2"));
    // And so does who leaves.
    second.sub("3", 40_000).await;
    second.say(r#"{"msg":"ping"}"#).await;
    assert_eq!(second.hear().await, r#"{"msg":"pong"}"#);
    drop(first);
    assert_eq!(second.hear().await, ready("3"));
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_memory_for_a_minute_is_disconnected_and_holds_none() {
    let server = server(|config| config.sessions_bytes_max = 400_000);
    let mut first = Wire::connect(&server, HOSTILE, "pre1").await;
    first.sub("1", 150_000).await;
    assert_eq!(first.hear().await, ready("1"));
    let mut second = Wire::connect(&server, HOSTILE, "pre1").await;
    second.sub("1", 150_000).await;
    // What is behind it has memory, too.
    second.sub("2", 100_000).await;
    tokio::time::sleep(30 * SECOND).await;
    assert!(taken(&server) > 250_000, "{}", taken(&server));
    // Another gets what it waits for within the minute, and stays.
    let mut third = Wire::connect(&server, HONEST, "pre1").await;
    third.sub("1", 150_000).await;
    assert_eq!(third.hear().await, ready("1"));
    let begun = Instant::now();
    let end = timeout(120 * SECOND, second.0.next()).await.expect("it does not wait for ever");
    let Some(Ok(Message::Close(Some(frame)))) = end else { panic!("no close but {end:?}") };
    assert_eq!(u16::from(frame.code), 1013);
    assert!((29..=31).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let stats = server.stats();
    assert_eq!((stats.subscriptions_waited, stats.disconnected_waiting), (1, 1), "{stats:?}");
    drop(second);
    tokio::time::sleep(SECOND).await;
    assert_eq!(taken(&server), 0);
    first.sub("2", 10).await;
    assert_eq!(first.hear().await, ready("2"));
}

#[tokio::test]
async fn who_is_not_read_while_it_waits_for_memory_does_not_count_as_silent() {
    let server = server(|config| {
        config.sessions_bytes_max = 400_000;
        config.session.inbox_messages_max = 1;
        config.session.heartbeat_interval = Duration::from_millis(50);
        config.session.heartbeat_timeout = Duration::from_millis(50);
    });
    let mut first = Wire::connect(&server, HOSTILE, "pre1").await;
    first.sub("1", 150_000).await;
    assert_eq!(first.hear().await, ready("1"));
    let mut second = Wire::connect(&server, HOSTILE, "1").await;
    second.sub("1", 150_000).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(server.stats().disconnected_silent, 0);
    drop(first);
    while second.hear().await != ready("1") {}
    assert_eq!(server.stats().subscriptions_waited, 1);
}

#[tokio::test]
async fn a_large_message_has_its_memory_while_it_waits_for_its_turn() {
    let notes = MemoryCollection::<Value>::new(&Collection::new("notes"));
    let server = server_with(notes.clone(), |_| ());
    let large = Arc::clone(&server.registry().large);
    let mut wire = Wire::connect(&server, HOSTILE, "1").await;
    wire.sub("1", 1).await;
    assert_eq!(wire.hear().await, ready("1"));
    let mut turns = Vec::new();
    while let Some(turn) = large.turn(None).now_or_never() {
        turns.push(turn);
    }
    let text = "x".repeat(100_000);
    wire.say(&format!(r#"{{"msg":"method","id":"1","method":"echo","params":["{text}"]}}"#)).await;
    while taken(&server) == 0 {
        tokio::task::yield_now().await;
    }
    // It needs one turn to be made, and another to be handled, which comes after this one.
    let next = large.turn(None);
    let next = tokio::spawn(next);
    tokio::task::yield_now().await;
    drop(turns.pop());
    let next = next.await.expect("a turn");
    // Its task has other things to do meanwhile.
    for number in 0..3 {
        notes.insert(&serde_json::json!({ "number": number })).expect("a new document");
        assert!(wire.hear().await.contains("added"));
        assert!(taken(&server) > 100_000, "{}", taken(&server));
    }
    drop((next, turns));
    assert!(wire.result().await > 100_000);
}

#[tokio::test]
async fn a_large_message_is_handled_between_those_of_another_address() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let handled = Arc::clone(&order);
    let server =
        Server::builder().method("note", move |Params((_, who)): Params<(String, String)>| {
            handled.lock().push(who);
            async { Ok::<_, Error>(()) }
        });
    let server = server.build();
    let large = Arc::clone(&server.registry().large);
    let mut turns: Vec<_> = std::iter::from_fn(|| large.turn(None).now_or_never()).collect();
    let mut wires = Vec::new();
    for (address, who) in [(HOSTILE, "hostile"); 20].into_iter().chain([(HONEST, "honest")]) {
        let mut wire = Wire::connect(&server, address, "1").await;
        let text = "x".repeat(100_000);
        let before = taken(&server);
        wire.say(&format!(
            r#"{{"msg":"method","id":"1","method":"note","params":["{text}","{who}"]}}"#
        ))
        .await;
        while taken(&server) == before {
            tokio::task::yield_now().await;
        }
        wires.push(wire);
    }
    // Each needs one turn to be made, and another to be handled.
    turns.pop();
    for wire in &mut wires {
        wire.result().await;
    }
    let before = order.lock().iter().position(|who| who == "honest").expect("it was handled");
    assert!(before <= 3, "{before} were before it");
}
