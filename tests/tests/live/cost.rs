//! What a change and a subscription cost the database.

use ddp_postgres::Feed;
use ddp_tests::Client;
use serde_json::json;

use super::Fixture;

async fn a_change_costs_the_server_no_statement(feed: Feed) {
    let fixture = Fixture::start("free", feed).await;
    let mut clients = Vec::new();
    for _ in 0..5 {
        let mut client = Client::connect(fixture.address).await;
        client.subscribe("tasks", json!([])).await;
        client.subscribe("tasks.byList", json!(["l1"])).await;
        clients.push(client);
    }
    fixture.reset();
    fixture.psql("UPDATE tasks SET list_id = 'l1', rank = -1 WHERE id = 't3'");
    fixture
        .psql("BEGIN; DELETE FROM tasks WHERE id = 't4'; INSERT INTO tasks VALUES ('new'); COMMIT");
    for client in &mut clients {
        client
            .until("the changes", |client| {
                let tasks = &client.collections["tasks"];
                tasks["t3"]["rank"] == -1 && !tasks.contains_key("t4") && tasks.contains_key("new")
            })
            .await;
    }
    assert_eq!(fixture.statements(), []);
}

async fn two_hundred_subscribers_cost_one_select(feed: Feed) {
    let fixture = Fixture::start("storm", feed).await;
    fixture.reset();
    let subscribe = |_| async {
        let mut client = Client::connect(fixture.address).await;
        client.subscribe("tasks", json!([])).await;
        assert_eq!(client.documents("tasks").len(), 10);
        client
    };
    let clients = futures::future::join_all((0..200).map(subscribe)).await;
    assert_eq!(clients.len(), 200);
    let statements = fixture.statements();
    let selects: Vec<_> = statements.iter().filter(|(sql, _)| sql.contains("to_json")).collect();
    assert_eq!(selects.len(), 1, "{statements:?}");
    assert_eq!(selects[0].1, 1, "{statements:?}");
}

async fn another_user_costs_a_read_for_what_nobody_observes_yet(feed: Feed) {
    let fixture = Fixture::start("user", feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks.byText", json!(["task 9"])).await;
    client.subscribe("tasks.ofUser", json!([])).await;
    let ids = |client: &Client| client.documents("tasks").into_keys().collect::<Vec<_>>();
    assert_eq!(ids(&client), ["t3", "t6", "t9"]);
    fixture.reset();
    client.call("login", json!(["l1"])).await;
    assert_eq!(ids(&client), ["t1", "t10", "t4", "t7", "t9"]);
    let reads = || -> u64 {
        let statements = fixture.statements().into_iter();
        // The lock on the table is a statement of its own, and reads nothing.
        let reads = |query: &str| query.starts_with("SELECT") && query.contains("AS ddp_row");
        statements.filter(|(query, _)| reads(query)).map(|(_, calls)| calls).sum()
    };
    assert_eq!(reads(), 1, "{:?}", fixture.statements());
    client.call("login", json!(["l1"])).await;
    assert_eq!(reads(), 1, "the same user");
    fixture.psql("UPDATE tasks SET text = 'new' WHERE id IN ('t4', 't3')");
    client.until("the change", |client| client.documents("tasks")["t4"]["text"] == "new").await;
    assert!(!client.documents("tasks").contains_key("t3"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_listens_only_while_somebody_subscribes() {
    let fixture = Fixture::start("listen", Feed::Notify).await;
    let mut client = Client::connect(fixture.address).await;
    let id = client.subscribe("tasks", json!([])).await;
    client.subscribe("tasks.byList", json!(["l1"])).await;
    client.unsubscribe(&id).await;
    client.call("insert", json!(["still"])).await;
    fixture.psql("UPDATE tasks SET list_id = 'l1' WHERE id = 'still'");
    client.until("it", |client| client.collections["tasks"].contains_key("still")).await;
    client.close().await;
    // Another subscription starts at once, perhaps before the last one's end is complete.
    for round in 0..20 {
        let mut client = Client::connect(fixture.address).await;
        client.subscribe("tasks", json!([])).await;
        fixture.psql(&format!("UPDATE tasks SET rank = 1000 + {round} WHERE id = 't1'"));
        client
            .until("the change", |client| client.collections["tasks"]["t1"]["rank"] == 1000 + round)
            .await;
        client.close().await;
    }
    // With nobody left, the feed's last statement shows it. A sign of life may have replaced it, so
    // it gets several chances.
    let feed = "SELECT query FROM pg_stat_activity WHERE application_name = 'ddp feed' \
                AND datname = current_database()";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !fixture.psql(feed).contains("UNLISTEN") {
        assert!(std::time::Instant::now() < deadline, "still listening: {}", fixture.psql(feed));
        let mut client = Client::connect(fixture.address).await;
        client.subscribe("tasks", json!([])).await;
        assert!(!fixture.psql(feed).contains("UNLISTEN"), "somebody subscribes");
        client.close().await;
    }
}

ddp_tests::over_both_feeds!(
    a_change_costs_the_server_no_statement,
    two_hundred_subscribers_cost_one_select,
    another_user_costs_a_read_for_what_nobody_observes_yet,
);
