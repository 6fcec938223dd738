//! Results count until their client has taken them, and calls wait for room.

use super::*;

#[tokio::test]
async fn a_result_that_nobody_reads_counts_until_its_client_is_given_up() {
    // For two messages, one for each address.
    let server = server(|config| {
        config.large_messages_bytes_max = 8 << 20;
        config.write_timeout = 2 * SECOND;
    });
    let mut unread = Wire::connect(&server, HOSTILE, "1").await;
    unread.want(4_150_000).await;
    unread.take(1000).await;
    assert!(taken(&server) > 4_000_000, "the call has ended, and its result is there");
    let mut other = Wire::connect(&server, HONEST, "1").await;
    other.want(300_000).await;
    assert!(other.result().await > 300_000, "another address has its own part");
    let mut same = Wire::connect(&server, HOSTILE, "1").await;
    assert!(same.echo(300_000).await > 300_000, "this method is not known for it");
    assert_eq!(server.stats().disconnected_stalled, 0);
    same.want(300_000).await;
    assert!(same.result().await > 300_000);
    assert_eq!(server.stats().disconnected_stalled, 1, "it had to wait for that");
    all_is_free(&server).await;
}

#[tokio::test]
async fn a_result_counts_while_its_connection_ends() {
    let connections = Arc::new(Mutex::new(Vec::new()));
    let opened = Arc::clone(&connections);
    let config = ServerConfig { close_timeout: 2 * SECOND, ..ServerConfig::default() };
    let server = Server::builder()
        .config(config)
        .method("text", async |Params((bytes,)): Params<(usize,)>| {
            Ok::<_, Error>("x".repeat(bytes))
        })
        .on_connection(move |connection| opened.lock().push(connection.clone()))
        .build();
    let mut wire = Wire::connect(&server, HOSTILE, "1").await;
    wire.want(3_000_000).await;
    wire.take(1000).await;
    connections.lock()[0].close();
    tokio::time::sleep(SECOND).await;
    assert!(taken(&server) > 2_500_000, "{}", taken(&server));
    all_is_free(&server).await;
}

#[tokio::test]
async fn a_result_counts_whatever_its_call_had_and_no_longer_than_it_waits() {
    let server = server(|_| ());
    let mut wire = Wire::connect(&server, HOSTILE, "1").await;
    wire.want(3_000_000).await;
    wire.take(1000).await;
    assert!(taken(&server) > 2_500_000, "{}", taken(&server));
    // With what the client has taken, all is given back, though it says nothing more.
    wire.take(2_999_000).await;
    all_is_free(&server).await;
    drop(wire);
}

#[tokio::test]
async fn results_that_are_taken_slowly_leave_memory_for_others() {
    // Two addresses can have all of it.
    let server = server(|config| config.large_messages_bytes_max = 16 << 20);
    let mut slow = Vec::new();
    for address in [HOSTILE, [192, 0, 2, 3]] {
        for _ in 0..2 {
            let mut wire = Wire::connect(&server, address, "1").await;
            wire.want(4_000_000).await;
            wire.take(1000).await;
            slow.push(wire);
        }
    }
    assert!(taken(&server) > 15_000_000, "{}", taken(&server));
    let mut other = Wire::connect(&server, HONEST, "1").await;
    other.want(300_000).await;
    assert!(other.result().await > 300_000);
    assert_eq!(server.stats().disconnected_stalled, 0, "it did not wait for these");
    drop(slow);
    all_is_free(&server).await;
}

/// A server with a method that lets the client's next calls begin, waits, and returns 1,500,000 bytes;
/// and how often it has run. There is memory for five such results, and two of an address.
fn export() -> (Server, Arc<AtomicUsize>) {
    let ran = Arc::new(AtomicUsize::new(0));
    let export = async |State(ran): State<Arc<AtomicUsize>>, invocation: Invocation| {
        ran.fetch_add(1, Ordering::Relaxed);
        invocation.unblock();
        tokio::task::yield_now().await;
        Ok::<_, Error>("x".repeat(1_500_000))
    };
    let config = ServerConfig { large_messages_bytes_max: 8 << 20, ..ServerConfig::default() };
    let server = Server::builder().config(config).method("export", export);
    (server.with_state(Arc::clone(&ran)), ran)
}

#[tokio::test]
async fn calls_of_a_method_with_large_results_wait_for_room() {
    let (server, ran) = export();
    let export = |id| format!(r#"{{"msg":"method","id":"{id}","method":"export"}}"#);
    let mut first = Wire::connect(&server, HONEST, "pre1").await;
    first.say(&export(0)).await;
    assert!(first.result().await > 1_500_000);
    // Many calls of one client, and one call each of many.
    let mut wires = Vec::new();
    for wire in 0..11 {
        wires.push(Wire::connect(&server, HOSTILE, "pre1").await);
        for call in 0..if wire == 0 { 10 } else { 1 } {
            wires[wire].say(&export(call)).await;
        }
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(ran.load(Ordering::Relaxed), 3, "nobody takes any of them");
    // At most one of each client: its others wait behind that, as always.
    let waited = server.stats().calls_waited;
    assert!((10..=11).contains(&waited), "{waited}");
    assert!(taken(&server) < 4 << 20, "{}", taken(&server));
    first.say(&export(1)).await;
    assert!(first.result().await > 1_500_000, "another address has its own part");
    let all = wires.iter_mut().enumerate().map(async |(index, wire)| {
        for _ in 0..if index == 0 { 10 } else { 1 } {
            assert!(wire.result().await > 1_500_000);
        }
    });
    futures::future::join_all(all).await;
    assert_eq!(ran.load(Ordering::Relaxed), 22);
    all_is_free(&server).await;
}

#[tokio::test]
async fn calls_that_wait_for_room_go_with_their_client() {
    let (server, ran) = export();
    let export = r#"{"msg":"method","id":"1","method":"export"}"#;
    let mut unread = Vec::new();
    for count in 1..=2 {
        let mut wire = Wire::connect(&server, HOSTILE, "pre1").await;
        wire.say(export).await;
        wire.take(1000).await;
        unread.push(wire);
        assert_eq!(ran.load(Ordering::Relaxed), count);
    }
    for _ in 0..20 {
        let mut wire = Wire::connect(&server, HOSTILE, "pre1").await;
        wire.say(export).await;
    }
    let mut last = Wire::connect(&server, HOSTILE, "pre1").await;
    last.say(export).await;
    let open = &server.registry().open;
    let only_last_waits = async {
        while (open.count(), open.methods()) != (3, 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(20 * SECOND, only_last_waits).await.expect("those who left wait for nothing");
    drop(unread);
    assert!(last.result().await > 1_500_000);
    assert_eq!(ran.load(Ordering::Relaxed), 3);
    all_is_free(&server).await;
}
