//! Committed rows on their way to clients: their cost, and their order.

use std::net::SocketAddr;

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Invocation, Params, State, UserId};
use ddp_server::{Collection, Cursor, Error, Server, WriteFence, field};
use ddp_tests::{Client, database};
use serde_json::{Value, json};

const TASKS: Collection<Value> = Collection::new("tasks");

/// A database with a table, and a role for the server so that its statements can be counted.
const SETUP: &str = "
    CREATE EXTENSION pg_stat_statements;
    CREATE TABLE tasks (id text PRIMARY KEY, list_id text, rank int, text text);
    INSERT INTO tasks SELECT 't' || n, 'l' || n % 3, n, 'task ' || n FROM generate_series(1, 10) AS n;
";

/// A server on a database of this name.
struct Fixture {
    database: String,
    role: String,
    address: SocketAddr,
    _db: Db,
}

impl Fixture {
    async fn start(name: &str, feed: Feed) -> Self {
        let name = database::name(name, feed);
        let (database, role) = (format!("live_{name}"), format!("server_{name}"));
        let setup = format!("{SETUP} CREATE ROLE {role} LOGIN SUPERUSER;");
        let url = database::create_database(&database, &setup);
        let url = url.replace("postgres://postgres@", &format!("postgres://{role}@"));
        let (address, db) = serve(&url, feed).await;
        Self { database, role, address, _db: db }
    }

    fn psql(&self, sql: &str) -> String {
        database::psql(&self.database, sql)
    }

    /// The statements that the server ran since the last reset, and how often. Without its checks
    /// for altered tables, which no change causes.
    fn statements(&self) -> Vec<(String, u64)> {
        let sql = format!(
            "SELECT calls || '|' || regexp_replace(query, E'\\\\s+', ' ', 'g') FROM pg_stat_statements \
             WHERE userid = '{}'::regrole AND query NOT LIKE '%ddp_wanted%' AND dbid = \
             (SELECT oid FROM pg_database WHERE datname = current_database())",
            self.role
        );
        let count = |line: &str| {
            let (calls, query) = line.split_once('|').unwrap();
            (query.to_owned(), calls.parse().unwrap())
        };
        self.psql(&sql).lines().map(count).collect()
    }

    fn reset(&self) {
        self.psql("SELECT pg_stat_statements_reset()");
    }
}

async fn serve(url: &str, feed: Feed) -> (SocketAddr, Db) {
    let table = Table::new("tasks").all_columns().camel_case();
    let db = Db::builder(url).feed(feed).table(table).connect().await.unwrap();
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .publish("tasks.byList", by_list)
        .publish("tasks.byText", by_text)
        .publish("tasks.wrong", async |State(db): State<Db>| {
            db.find(&TASKS).filter(field("rank").eq("one"))
        })
        .publish("tasks.nowhere", async |State(db): State<Db>| {
            db.find(&TASKS).filter(field("nowhere").is_null())
        })
        .publish("tasks.ofUser", async |State(db): State<Db>, user: Option<UserId>| {
            db.find(&TASKS).filter(field("listId").eq(user.as_deref().unwrap_or("l0")))
        })
        .method("login", async |invocation: Invocation, Params((user,)): Params<(String,)>| {
            invocation.set_user_id(Some(&user)).await
        })
        .publish("tasks.twice", async |State(db): State<Db>| (db.find(&TASKS), db.find(&TASKS)))
        .publish("unregistered", async |State(db): State<Db>| {
            db.find(&Collection::<Value>::new("unregistered"))
        })
        .method("insert", insert)
        .method("insert.slowly", insert_slowly)
        .method("insert.fail", insert_and_fail)
        .method("insert.deaf", insert_while_the_feed_is_down)
        .with_state(db.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    (address, db)
}

async fn by_list(State(db): State<Db>, Params((list,)): Params<(String,)>) -> Cursor<Value> {
    db.find(&TASKS).filter(field("listId").eq(list))
}

/// Decided by the database, since only its collation knows the order of text.
async fn by_text(State(db): State<Db>, Params((from,)): Params<(String,)>) -> Cursor<Value> {
    db.find(&TASKS).filter(field("text").gte(from))
}

const INSERT: &str = "INSERT INTO tasks (id, list_id, text) VALUES ($1, 'l0', 'zebra')";

async fn insert(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id,)): Params<(String,)>,
) -> Result<u64, Error> {
    let transaction = db.begin(&fence).await?;
    let rows = transaction.execute(INSERT, &[&id]).await?;
    transaction.commit().await?;
    Ok(rows)
}

/// Writes many rows in one transaction, whose broadcast comes in many parts.
async fn insert_slowly(State(db): State<Db>, fence: WriteFence) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    for part in 0..5 {
        let sql = "INSERT INTO tasks (id, list_id, text) \
                   SELECT 'slow ' || $1::int || ' ' || n, 'l0', repeat('zebra ', 50) \
                   FROM generate_series(1, 200) AS n";
        transaction.execute(sql, &[&part]).await?;
    }
    Ok(transaction.commit().await?)
}

async fn insert_and_fail(State(db): State<Db>, fence: WriteFence) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    transaction.execute(INSERT, &[&"ghost"]).await?;
    Err(Error::client("changed-my-mind", "Never mind"))
}

/// Ends the listening connection of this database only. It is gone some milliseconds later, and
/// replaced after 50 at the earliest.
const KILL_LISTENER: &str = "SELECT pg_terminate_backend(pid), pg_sleep(0.015) FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name = 'ddp feed'";

/// Commits when nobody is listening, so that the token of its fence is lost.
async fn insert_while_the_feed_is_down(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id,)): Params<(String,)>,
) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    transaction.execute(INSERT, &[&id]).await?;
    transaction.execute(KILL_LISTENER, &[]).await?;
    Ok(transaction.commit().await?)
}

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

async fn a_methods_changes_precede_its_updated(feed: Feed) {
    let fixture = Fixture::start("fence", feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks", json!([])).await;
    // A query that reads again after each change is waited for, too.
    client.subscribe("tasks.byText", json!(["y"])).await;
    for round in 0..50 {
        let id = format!("new{round}");
        assert_eq!(client.call("insert", json!([id])).await["result"], 1);
        assert!(client.documents("tasks").contains_key(&id), "`updated` came before {id}");
    }
    let before = client.documents("tasks").len();
    client.call("insert.slowly", json!([])).await;
    assert_eq!(client.documents("tasks").len(), before + 1000, "all parts, before `updated`");
}

async fn queries_that_read_again_have_sent_before_updated(feed: Feed) {
    let fixture = Fixture::start("reread", feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks.byText", json!(["y"])).await;
    for round in 0..20 {
        let id = format!("new{round}");
        client.call("insert", json!([id])).await;
        assert!(client.documents("tasks").contains_key(&id), "`updated` came before {id}");
    }
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

async fn a_method_that_writes_and_then_fails_leaves_nothing_and_hangs_nothing(feed: Feed) {
    let fixture = Fixture::start("fail", feed).await;
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("tasks", json!([])).await;
    let result = client.call("insert.fail", json!([])).await;
    assert_eq!(result["error"]["error"], "changed-my-mind");
    client.call("insert", json!(["after"])).await;
    let result = client.call("insert", json!(["after"])).await;
    assert_eq!(result["error"]["reason"], "Internal server error", "a key that is taken");
    let tasks = client.documents("tasks");
    assert!(tasks.contains_key("after") && !tasks.contains_key("ghost"));
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

async fn a_peer_sees_what_a_method_of_another_server_wrote(feed: Feed) {
    let fixture = Fixture::start("peers", feed).await;
    let other = database::name("live_peers_other", feed);
    let url = database::create_database(&other, "").replace(&other, &fixture.database);
    let (peer, _db) = serve(&url, feed).await;
    let (mut one, mut other) =
        (Client::connect(fixture.address).await, Client::connect(peer).await);
    other.subscribe("tasks", json!([])).await;
    fixture.reset();
    one.call("insert", json!(["shared"])).await;
    other.until("the document", |client| client.collections["tasks"].contains_key("shared")).await;
}

async fn what_cannot_be_published_is_refused(feed: Feed) {
    let fixture = Fixture::start("refused", feed).await;
    let mut client = Client::connect(fixture.address).await;
    for name in ["tasks.wrong", "tasks.nowhere", "tasks.twice", "unregistered"] {
        let id = client.send_sub(name, json!([])).await;
        client.until("nosub", |client| client.nosub.contains_key(&id)).await;
        assert_eq!(client.nosub[&id]["error"], 500, "{name}");
        assert!(client.documents("tasks").is_empty());
    }
    client.subscribe("tasks", json!([])).await;
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

ddp_tests::over_both_feeds!(
    what_is_committed_while_the_feed_is_down_arrives,
    a_fence_whose_token_got_lost_fires_after_the_requery,
    a_read_is_shown_when_the_feed_has_come_so_far,
    what_is_committed_during_a_read_is_neither_lost_nor_doubled,
    nothing_arrives_before_its_commit,
    a_change_costs_the_server_no_statement,
    two_hundred_subscribers_cost_one_select,
    a_methods_changes_precede_its_updated,
    queries_that_read_again_have_sent_before_updated,
    constant_writes_starve_nobody,
    a_method_that_writes_and_then_fails_leaves_nothing_and_hangs_nothing,
    several_saves_in_one_transaction_end_on_the_last,
    a_peer_sees_what_a_method_of_another_server_wrote,
    what_cannot_be_published_is_refused,
    another_user_costs_a_read_for_what_nobody_observes_yet,
);
