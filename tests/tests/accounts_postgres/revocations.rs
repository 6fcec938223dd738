//! Tokens that are gone are told, on every server, whoever removed them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ddp_postgres::Feed;
use ddp_server::accounts::{AccountsStore, Revocation, Tokens};
use ddp_tests::over_both_feeds;
use tokio::sync::mpsc;

use super::{Fixture, within};

/// How long every server may take.
const LIMIT: Duration = Duration::from_secs(1);

const KILL_LISTENER: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'ddp feed'";

fn listen(fixture: &Fixture) -> mpsc::UnboundedReceiver<Revocation> {
    let (sender, told) = mpsc::unbounded_channel();
    fixture.accounts.on_revocation(Arc::new(move |revocation| _ = sender.send(revocation)));
    told
}

fn of(hash: &str) -> Revocation {
    Revocation::Token(hash.into())
}

async fn next(told: &mut mpsc::UnboundedReceiver<Revocation>) -> Revocation {
    within(LIMIT, told.recv()).await.expect("the server runs")
}

/// The first one; before it may be told that the feed has begun, and nobody knows what was before it.
async fn first(told: &mut mpsc::UnboundedReceiver<Revocation>) -> Revocation {
    match next(told).await {
        Revocation::All => next(told).await,
        told => told,
    }
}

async fn every_server_is_told_whoever_removes_a_token(feed: Feed) {
    let one = Fixture::over("told", feed).await;
    let two = Fixture::connect(&one.database, feed).await;
    let mut told = [listen(&one), listen(&two)];
    let (ada, alan) = (one.create("ada").await, one.create("alan").await);
    for hash in ["t1", "t2", "t3", "-t4", "t5"] {
        one.log_in(&ada, hash).await;
    }
    for hash in ["b1", "b2"] {
        two.log_in(&alan, hash).await;
    }
    let mut slowest = Duration::ZERO;
    let mut expect = async |what: &str, begun: Instant, expected: &[&str]| {
        for told in &mut told {
            let mut found = Vec::new();
            for _ in expected {
                let told = if what == "a call" { first(told).await } else { next(told).await };
                found.push(told);
            }
            slowest = slowest.max(begun.elapsed());
            found.sort_by_key(|revocation| format!("{revocation:?}"));
            for expected in expected {
                assert!(found.contains(&of(expected)), "{what}: {expected}, not {found:?}");
            }
        }
    };
    let begun = Instant::now();
    two.accounts.remove_login_tokens(&ada, &Tokens::One("t1".into())).await.unwrap();
    expect("a call", begun, &["t1"]).await;
    let begun = Instant::now();
    one.psql("DELETE FROM accounts.login_tokens WHERE hash = 't2'");
    expect("psql", begun, &["t2"]).await;
    one.psql("UPDATE accounts.login_tokens SET when_ = now() WHERE hash = 't3'");
    let begun = Instant::now();
    one.accounts.remove_login_tokens(&ada, &Tokens::AllBut("t3".into())).await.unwrap();
    expect("others", begun, &["-t4", "t5"]).await;
    let begun = Instant::now();
    one.psql("UPDATE accounts.users SET is_active = false WHERE username = 'ada'");
    expect("deactivation", begun, &["t3"]).await;
    let begun = Instant::now();
    one.psql("DELETE FROM accounts.users WHERE username = 'alan'");
    expect("a user", begun, &["b1", "b2"]).await;
    println!("{feed:?}: told within {slowest:?}");
    // What has been rolled back has not happened.
    one.psql("UPDATE accounts.users SET is_active = true");
    one.log_in(&ada, "t6").await;
    one.psql("BEGIN; DELETE FROM accounts.login_tokens; ROLLBACK; TRUNCATE accounts.login_tokens");
    for told in &mut told {
        assert_eq!(next(told).await, Revocation::All);
    }
}

async fn what_the_feed_missed_is_looked_at_when_it_is_back(feed: Feed) {
    let fixture = Fixture::over("missed", feed).await;
    let ada = fixture.create("ada").await;
    for round in 0..3 {
        let hash = format!("t{round}");
        fixture.log_in(&ada, &hash).await;
        let mut told = listen(&fixture);
        // One transaction: it commits before the feed can be back.
        fixture.psql(&format!("BEGIN; {KILL_LISTENER}; DELETE FROM accounts.login_tokens; COMMIT"));
        let first = within(Duration::from_secs(20), told.recv()).await.unwrap();
        assert_eq!(first, Revocation::All, "round {round}");
        let stored = fixture.accounts.stored_login_tokens(&[hash.as_str().into()]).await;
        assert!(stored.unwrap().is_empty(), "whoever looks then sees it");
    }
    // It is back for good.
    let mut told = listen(&fixture);
    fixture.log_in(&ada, "last").await;
    fixture.psql("DELETE FROM accounts.login_tokens");
    while next(&mut told).await != of("last") {}
}

/// Nobody listens to the table but this.
async fn tokens_are_heard_of_without_any_subscription(feed: Feed) {
    let fixture = Fixture::over("alone", feed).await;
    let ada = fixture.create("ada").await;
    let mut told = listen(&fixture);
    // Both rows are touched by two messages of one statement, so they are read by their keys.
    for hash in ["t1", "t2"] {
        fixture.log_in(&ada, hash).await;
    }
    fixture.psql(
        "UPDATE accounts.login_tokens SET hash = CASE hash WHEN 't1' THEN 't3' ELSE hash END",
    );
    assert_eq!(first(&mut told).await, of("t1"));
    fixture.psql("UPDATE accounts.login_tokens SET when_ = now(); DELETE FROM accounts.login_tokens WHERE hash = 't2'");
    assert_eq!(next(&mut told).await, of("t2"));
    fixture.db.close().await;
    drop(fixture);
    assert_eq!(within(LIMIT, told.recv()).await, None, "the listener goes with the database");
}

over_both_feeds!(
    every_server_is_told_whoever_removes_a_token,
    what_the_feed_missed_is_looked_at_when_it_is_back,
    tokens_are_heard_of_without_any_subscription,
);
