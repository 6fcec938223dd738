//! What is committed arrives, in order, whatever the feed goes through.

use ddp_postgres::Feed;
use ddp_tests::{Client, database};
use serde_json::json;

use super::{Fixture, KILL_LISTENER};

async fn what_is_committed_while_the_feed_is_down_arrives(feed: Feed) {
    let fixture = Fixture::start("deaf", feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks", json!([])).await;
    client.subscribe("tasks.byList", json!(["l1"])).await;
    for round in 0..3 {
        // One transaction: it commits before the feed can be back.
        fixture.psql(&format!(
            "BEGIN; {KILL_LISTENER}; UPDATE tasks SET rank = 100 + {round} WHERE id = 't1'; \
             DELETE FROM tasks WHERE id = 't{}'; INSERT INTO tasks VALUES ('deaf{round}'); COMMIT",
            round + 5
        ));
        client
            .until("what the feed missed", |client| {
                let tasks = &client.collections["tasks"];
                tasks["t1"]["rank"] == 100 + round
                    && !tasks.contains_key(&format!("t{}", round + 5))
                    && tasks.contains_key(&format!("deaf{round}"))
            })
            .await;
        // The feed is back for good, not just read once.
        fixture.psql(&format!("UPDATE tasks SET text = 'heard {round}' WHERE id = 't1'"));
        let text = json!(format!("heard {round}"));
        client.until("a change", |client| client.collections["tasks"]["t1"]["text"] == text).await;
    }
}

async fn a_fence_whose_token_got_lost_fires_after_the_requery(feed: Feed) {
    let fixture = Fixture::start("lost_token", feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks", json!([])).await;
    for round in 0..5 {
        let id = format!("lost{round}");
        client.call("insert.deaf", json!([id])).await;
        assert!(client.documents("tasks").contains_key(&id), "`updated` came before {id}");
    }
}

/// A read that is ahead of the feed waits for it: otherwise everything that it has already seen
/// would come again, and documents would go back in time.
async fn a_read_is_shown_when_the_feed_has_come_so_far(feed: Feed) {
    let fixture = Fixture::start("ahead", feed).await;
    let mut first = Client::connect(fixture.address).await;
    first.subscribe("tasks.byList", json!(["l1"])).await;
    let pid = fixture.psql(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = 'ddp feed'",
    );
    let signal = |name: &str| {
        let done = std::process::Command::new("kill").args([name, pid.trim()]).status().unwrap();
        assert!(done.success());
    };
    signal("-STOP");
    fixture.psql("UPDATE tasks SET rank = 50 WHERE id = 't1'");
    fixture.psql("UPDATE tasks SET rank = 51 WHERE id = 't1'");
    let mut client = Client::connect(fixture.address).await;
    let id = client.send_sub("tasks", json!([])).await;
    client.read_for(std::time::Duration::from_millis(500)).await;
    let was_ready = client.ready.contains(&id);
    signal("-CONT");
    assert!(!was_ready, "shown before the feed came so far");
    client.until("ready", |client| client.ready.contains(&id)).await;
    assert_eq!(client.collections["tasks"]["t1"]["rank"], 51);
}

/// A read of many rows takes so long that much is committed between its snapshot and its end.
async fn what_is_committed_during_a_read_is_neither_lost_nor_doubled(feed: Feed) {
    let fixture = Fixture::start("handoff", feed).await;
    fixture.psql(
        "INSERT INTO tasks SELECT 'b' || n, 'l0', n, 'x' FROM generate_series(1, 20000) AS n",
    );
    for round in 0..4 {
        let database = fixture.database.clone();
        let writer = std::thread::spawn(move || {
            for number in 0..40 {
                // Rows that nobody touches again: any loss is permanent.
                let (row, gone) = (round * 40 + number + 1, 10_000 + round * 40 + number);
                database::psql(
                    &database,
                    &format!(
                        "INSERT INTO tasks VALUES ('w{row}', 'l0'); DELETE FROM tasks WHERE id = 'b{gone}'; \
                         UPDATE tasks SET rank = -1 WHERE id = 'b{row}'"
                    ),
                );
            }
        });
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let mut client = Client::connect(fixture.address).await;
        client.subscribe("tasks", json!([])).await;
        tokio::task::spawn_blocking(move || writer.join().unwrap()).await.unwrap();
        client.call("insert", json!([format!("marker{round}")])).await;
        let tasks = client.documents("tasks");
        let count: usize = fixture.psql("SELECT count(*) FROM tasks").trim().parse().unwrap();
        let touched = (round + 1) * 40;
        let written = (1..=touched).filter(|row| tasks.contains_key(&format!("w{row}"))).count();
        let updated = (1..=touched).filter(|row| tasks[&format!("b{row}")]["rank"] == -1).count();
        assert_eq!((tasks.len(), written, updated), (count, touched, touched));
        client.close().await;
    }
}

/// What is not committed yet is nobody's business, however much is committed around it.
async fn nothing_arrives_before_its_commit(feed: Feed) {
    let fixture = Fixture::start("uncommitted", feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks", json!([])).await;
    let writer = database::connect(&fixture.database).await;
    let update =
        "BEGIN; UPDATE tasks SET text = 'new' WHERE id = 't1'; DELETE FROM tasks WHERE id = 't2'";
    writer.batch_execute(update).await.unwrap();
    fixture.psql("UPDATE tasks SET text = 'marker' WHERE id = 't3'");
    // It came later and is there: what the transaction said would have been, too.
    client.until("the marker", |client| client.documents("tasks")["t3"]["text"] == "marker").await;
    let mut late = Client::connect(fixture.address).await;
    late.subscribe("tasks", json!([])).await;
    for client in [&client, &late] {
        let tasks = client.documents("tasks");
        assert_eq!((&tasks["t1"]["text"], tasks.contains_key("t2")), (&json!("task 1"), true));
    }
    writer.batch_execute("COMMIT").await.unwrap();
    for client in [&mut client, &mut late] {
        let is_there = |client: &Client| {
            let tasks = client.documents("tasks");
            tasks["t1"]["text"] == "new" && !tasks.contains_key("t2")
        };
        client.until("what was committed", is_there).await;
    }
}

async fn several_saves_in_one_transaction_end_on_the_last(feed: Feed) {
    let fixture = Fixture::start("saves", feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks", json!([])).await;
    fixture.psql(
        "BEGIN; INSERT INTO tasks VALUES ('x', 'l0', 1, 'first'); \
         UPDATE tasks SET text = 'second' WHERE id = 'x'; \
         UPDATE tasks SET text = 'last' WHERE id = 'x'; \
         INSERT INTO tasks VALUES ('ghost'); DELETE FROM tasks WHERE id = 'ghost'; COMMIT",
    );
    let before = client.messages;
    client.call("insert", json!(["marker"])).await;
    // One broadcast for the transaction: the document is added once, in its final state.
    assert_eq!(client.messages, before + 4, "added x, added marker, result, updated");
    let tasks = client.documents("tasks");
    assert_eq!(tasks["x"]["text"], "last");
    assert!(!tasks.contains_key("ghost"));
    // A save that changes nothing sends nothing.
    let messages = client.messages;
    fixture.psql("UPDATE tasks SET text = text");
    client.call("insert", json!(["marker2"])).await;
    assert_eq!(client.messages, messages + 3, "added, result, updated");
}

/// A query that only the database can decide reads again after each change. Even with constant
/// changes it becomes ready, and methods are updated.
async fn constant_writes_starve_nobody(feed: Feed) {
    let fixture = Fixture::start("busy", feed).await;
    fixture.psql(
        "INSERT INTO tasks SELECT 'many' || n, 'l', n, 'z' FROM generate_series(1, 20000) AS n",
    );
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let database = fixture.database.clone();
    let writer = tokio::task::spawn_blocking(move || {
        let mut rounds = 0;
        while stopped.try_recv().is_err() {
            let sql = "DO $$ BEGIN FOR n IN 1..50 LOOP UPDATE tasks SET rank = n WHERE id = 'many1'; \
                       COMMIT; PERFORM pg_sleep(0.005); END LOOP; END $$";
            database::psql(&database, sql);
            rounds += 1;
        }
        rounds
    });
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks.byText", json!(["y"])).await;
    for round in 0..3 {
        let id = format!("new{round}");
        client.call("insert", json!([id])).await;
        assert!(client.documents("tasks").contains_key(&id), "`updated` came before {id}");
    }
    stop.send(()).unwrap();
    assert!(writer.await.unwrap() > 0);
}

ddp_tests::over_both_feeds!(
    what_is_committed_while_the_feed_is_down_arrives,
    a_fence_whose_token_got_lost_fires_after_the_requery,
    a_read_is_shown_when_the_feed_has_come_so_far,
    what_is_committed_during_a_read_is_neither_lost_nor_doubled,
    nothing_arrives_before_its_commit,
    several_saves_in_one_transaction_end_on_the_last,
    constant_writes_starve_nobody,
);
