//! Clients that are logged in through the plugin, and what others do to their rows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ddp_postgres::Feed;
use ddp_server::Server;
use ddp_server::accounts::Accounts;
use ddp_tests::{Peer, over_both_feeds, peer};
use serde_json::{Value, json};

use super::{Fixture, within};

/// How soon a connection ends whose token is gone.
const LIMIT: Duration = Duration::from_secs(1);

async fn serve(fixture: &Fixture) -> (SocketAddr, Server) {
    let accounts = Accounts::new(fixture.accounts.clone()).remove_default_rate_limit();
    let server = Server::builder().plugin(accounts).build();
    (peer::serve(&server).await, server)
}

/// A new user's connection, and its token.
async fn sign_up(address: SocketAddr, name: &str) -> (Peer, String, String) {
    let mut peer = Peer::connect(address).await;
    let options = json!({"username": name, "email": format!("{name}@example.com"), "password": {
        "digest": "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", "algorithm": "sha-256"}});
    let result = peer.call("createUser", json!([options])).await;
    let text = |name: &str| result["result"][name].as_str().unwrap_or_else(|| panic!("{result}"));
    let (id, token) = (text("id").to_owned(), text("token").to_owned());
    (peer, id, token)
}

/// A connection that resumes.
async fn resume(address: SocketAddr, token: &str) -> Result<(Peer, Vec<Value>), Value> {
    let mut peer = Peer::connect(address).await;
    peer.method("resume", "login", json!([{"resume": token}])).await;
    let (mut before, mut is_updated, mut result) = (Vec::new(), false, None);
    while result.is_none() || !is_updated {
        let message = peer.recv().await;
        match message["msg"].as_str() {
            Some("result") => result = Some(message),
            Some("updated") => is_updated = true,
            _ => before.push(message),
        }
    }
    match result.expect("the loop ended with it") {
        result if result["error"].is_null() => Ok((peer, before)),
        result => Err(result["error"]["reason"].clone()),
    }
}

/// Waits for the end of a connection.
async fn ends(peer: &mut Peer) {
    while peer.try_recv().await.is_some() {}
}

async fn what_psql_does_to_a_user_arrives_at_its_connections(feed: Feed) {
    let fixture = Fixture::over("plugin", feed).await;
    let (address, _server) = serve(&fixture).await;
    let (mut peer, id, token) = sign_up(address, "ada").await;
    fixture.psql("UPDATE accounts.users SET username = 'Ada', profile = '{\"name\": \"Ada\"}'");
    let fields = json!({"username": "Ada", "profile": {"name": "Ada"}});
    peer.expect([json!({"msg": "changed", "collection": "users", "id": id, "fields": fields})])
        .await;
    fixture.psql("UPDATE accounts.emails SET verified = true");
    let fields = json!({"emails": [{"address": "ada@example.com", "verified": true}]});
    peer.expect([json!({"msg": "changed", "collection": "users", "id": id, "fields": fields})])
        .await;
    let (mut second, before) = resume(address, &token).await.unwrap();
    let fields = json!({"username": "Ada", "profile": {"name": "Ada"},
        "emails": [{"address": "ada@example.com", "verified": true}]});
    assert_eq!(
        before,
        [json!({"msg": "added", "collection": "users", "id": id, "fields": fields})]
    );
    fixture.psql("DELETE FROM accounts.login_tokens");
    within(LIMIT, ends(&mut peer)).await;
    within(LIMIT, ends(&mut second)).await;
    let refused = resume(address, &token).await.map(drop).unwrap_err();
    assert_eq!(refused, "You've been logged out by the server. Please log in again.");

    let (mut peer, ..) = sign_up(address, "alan").await;
    fixture.psql("DELETE FROM accounts.users WHERE username = 'alan'");
    within(LIMIT, ends(&mut peer)).await;
    let (mut peer, ..) = sign_up(address, "alan").await;
    fixture.psql("UPDATE accounts.users SET is_active = false WHERE username = 'alan'");
    within(LIMIT, ends(&mut peer)).await;
}

async fn a_token_that_ends_on_one_server_ends_on_all(feed: Feed) {
    let one = Fixture::over("servers", feed).await;
    let two = Fixture::connect(&one.database, feed).await;
    let ((address, _server), (other, _other)) = (serve(&one).await, serve(&two).await);
    let mut slowest = Duration::ZERO;
    for (round, method) in ["logout", "removeOtherTokens", "logout"].into_iter().enumerate() {
        let (mut peer, _, token) = sign_up(address, &format!("ada{round}")).await;
        let (mut elsewhere, _) = resume(other, &token).await.unwrap();
        if method == "removeOtherTokens" {
            // The others are those of before.
            peer.call("getNewToken", json!([])).await;
        }
        let begun = Instant::now();
        peer.call(method, json!([])).await;
        within(LIMIT, ends(&mut elsewhere)).await;
        slowest = slowest.max(begun.elapsed());
        peer.expect_nothing().await;
    }
    println!("{feed:?}: ended within {slowest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_logged_in_is_so_after_a_restart() {
    let fixture = Fixture::start("restart").await;
    let (address, server) = serve(&fixture).await;
    let (_peer, id, token) = sign_up(address, "ada").await;
    server.close().await;
    fixture.db.close().await;
    let again = Fixture::connect(&fixture.database, Feed::default()).await;
    let (address, _server) = serve(&again).await;
    let (_peer, before) = resume(address, &token).await.unwrap();
    assert_eq!(before[0]["id"], id);
    let mut peer = Peer::connect(address).await;
    let password = json!([{"user": {"email": "ADA@example.com"}, "password": {"algorithm": "sha-256",
        "digest": "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"}}]);
    assert_eq!(peer.call("login", password).await["result"]["id"], id);
}

/// A token of a connection that is there, deleted while nobody hears of it.
async fn what_is_deleted_while_the_feed_is_lost_ends_connections_when_it_is_back(feed: Feed) {
    let fixture = Fixture::over("lost_feed", feed).await;
    let (address, _server) = serve(&fixture).await;
    let ((mut gone, ..), (mut stays, ..)) =
        (sign_up(address, "ada").await, sign_up(address, "alan").await);
    fixture.psql(
        "BEGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'ddp feed';
        DELETE FROM accounts.login_tokens t USING accounts.users u
            WHERE u.id = t.user_id AND u.username = 'ada'; COMMIT",
    );
    within(Duration::from_secs(20), ends(&mut gone)).await;
    stays.expect_nothing().await;
}

over_both_feeds!(
    what_psql_does_to_a_user_arrives_at_its_connections,
    a_token_that_ends_on_one_server_ends_on_all,
    what_is_deleted_while_the_feed_is_lost_ends_connections_when_it_is_back,
);
