//! Sessions whose clients have said nothing, and how many one address may have.

use axum::extract::ConnectInfo;

use super::*;

/// How long they are kept.
const SILENT_DELAY: Duration = Duration::from_secs(10);

fn clients(config: TransportConfig) -> Clients {
    Clients(router(config, |mut transport, _| async move {
        // As long as the session lasts.
        while let Ok(Some(_)) = recv(&mut transport).await {}
    }))
}

fn options(change: impl FnOnce(&mut SockJsConfig)) -> TransportConfig {
    let mut config = TransportConfig::default();
    change(&mut config.sockjs);
    config
}

/// The status of a poll by the client of an address, behind a proxy or not.
async fn poll_from(clients: &Clients, session: &str, peer: &str, forwarded: Option<&str>) -> u16 {
    let mut request = Request::post(format!("/sockjs/000/{session}/xhr"));
    if let Some(forwarded) = forwarded {
        request = request.header("x-forwarded-for", forwarded);
    }
    let mut request = request.body(Body::empty()).expect("a request");
    let peer: SocketAddr = peer.parse().expect("an address");
    request.extensions_mut().insert(ConnectInfo(peer));
    let answer = clients.0.clone().oneshot(request).await.expect("an answer");
    let status = answer.status().as_u16();
    // Read to its end, or the session would be interrupted.
    axum::body::to_bytes(answer.into_body(), 10_000).await.expect("a body");
    status
}

#[tokio::test(start_paused = true)]
async fn a_session_whose_client_says_nothing_is_forgotten_after_seconds() {
    assert_eq!(SockJsConfig::default().silent_delay, SILENT_DELAY);
    let clients = clients(TransportConfig::default());
    for session in ["silent", "speaks"] {
        assert_eq!(clients.poll(session).await, "o\n");
    }
    assert_eq!(clients.send("speaks", "[\"a\"]").await, 204);
    sleep(SILENT_DELAY + SECOND).await;
    assert_eq!(clients.send("silent", "[\"a\"]").await, 404);
    assert_eq!(clients.send("speaks", "[\"a\"]").await, 204);
    sleep(DISCONNECT_DELAY).await;
    assert_eq!(clients.send("speaks", "[\"a\"]").await, 404);
}

#[tokio::test(start_paused = true)]
async fn who_only_listens_is_kept() {
    let clients = clients(TransportConfig::default());
    assert_eq!(clients.poll("a").await, "o\n");
    for _ in 0..3 {
        assert_eq!(clients.poll("a").await, "h\n");
        sleep(SILENT_DELAY - SECOND).await;
    }
    let mut stream = clients.stream("b").await;
    assert_eq!(stream.chunk().await.as_deref(), Some("o\n"));
    for _ in 0..3 {
        assert_eq!(stream.chunk().await.as_deref(), Some("h\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn silent_sessions_lock_nobody_out_for_long() {
    let clients = clients(options(|options| options.sessions_max = 20));
    for number in 0..20 {
        assert_eq!(clients.poll(&number.to_string()).await, "o\n");
    }
    assert_eq!(clients.post("late/xhr", "").await.status, 503);
    sleep(SILENT_DELAY + SECOND).await;
    assert_eq!(clients.poll("late").await, "o\n");
}

#[tokio::test(start_paused = true)]
async fn one_address_cannot_have_all_sessions() {
    let clients = clients(options(|options| options.sessions_max = 8));
    let mine = "192.0.2.1:1000";
    for number in 0..6 {
        assert_eq!(poll_from(&clients, &number.to_string(), mine, None).await, 200);
    }
    assert_eq!(poll_from(&clients, "more", "192.0.2.1:2000", None).await, 429);
    assert_eq!(poll_from(&clients, "other", "192.0.2.2:1000", None).await, 200);
    // Sessions that are there can be used all the same.
    assert_eq!(clients.send("0", "[\"a\"]").await, 204);
    sleep(SILENT_DELAY + SECOND).await;
    assert_eq!(poll_from(&clients, "more", mine, None).await, 200);
}

#[tokio::test(start_paused = true)]
async fn behind_a_proxy_it_is_the_clients_address_that_counts() {
    let mut config = options(|options| options.sessions_per_address_max = Some(1));
    config.forwarded_count = 1;
    let clients = clients(config);
    let proxy = "10.0.0.1:1000";
    let poll = |session: &'static str, client: &'static str| {
        let clients = clients.clone();
        async move { poll_from(&clients, session, proxy, Some(client)).await }
    };
    assert_eq!(poll("a", "192.0.2.1").await, 200);
    assert_eq!(poll("b", "192.0.2.1").await, 429);
    assert_eq!(poll("c", "198.51.100.1, 192.0.2.1").await, 429, "what the client says is no news");
    assert_eq!(poll("d", "192.0.2.2").await, 200);
    assert_eq!(poll("e", "2001:db8::1").await, 200);
    assert_eq!(poll("f", "2001:db8::2").await, 429, "a customer has a whole network");
}
