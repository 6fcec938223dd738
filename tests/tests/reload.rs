//! Many live queries that are read again: what it costs, and that nothing is lost on the way.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Params, State};
use ddp_server::query::descending;
use ddp_server::{Collection, Cursor, Error, Server, field};
use ddp_tests::peer::serve;
use ddp_tests::{Client, database};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

const TASKS: Collection<Value> = Collection::new("tasks");
const LISTS: usize = 300;
/// How long something may take that happens soon unless it is broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the listening connection of this database only. It is gone some milliseconds later, and
/// replaced after 50 at the earliest.
const KILL_LISTENER: &str = "SELECT pg_terminate_backend(pid), pg_sleep(0.015) FROM pg_stat_activity \
    WHERE datname = current_database() AND application_name = 'ddp feed'";

async fn by_list(State(db): State<Db>, Params((list,)): Params<(String,)>) -> Cursor<Value> {
    db.find(&TASKS).filter(field("list").eq(list))
}

async fn top(State(db): State<Db>, Params((list,)): Params<(String,)>) -> Cursor<Value> {
    db.find(&TASKS).filter(field("list").eq(list)).sort([descending("revision")]).limit(2)
}

/// A server on a database of five tasks in each list.
async fn start(test: &str, feed: Feed) -> (String, SocketAddr, Db) {
    let name = database::name(test, feed);
    let setup = format!(
        "CREATE TABLE tasks (id text PRIMARY KEY, list text NOT NULL, revision int NOT NULL); \
         CREATE INDEX ON tasks (list); \
         INSERT INTO tasks SELECT 't' || n, 'l' || n % {LISTS}, 0 FROM generate_series(1, 5 * {LISTS}) AS n"
    );
    let url = database::create_database(&name, &setup);
    let db = Db::builder(&url)
        .feed(feed)
        .table(Table::new("tasks").all_columns())
        .connect()
        .await
        .unwrap();
    let server = Server::builder()
        .publish("tasks.byList", by_list)
        .publish("tasks.top", top)
        .with_state(db.clone());
    (name, serve(&server).await, db)
}

/// Subscribes to the lists with these numbers at once.
async fn subscribe(client: &mut Client, publication: &str, lists: std::ops::Range<usize>) {
    let mut ids = Vec::new();
    for list in lists {
        ids.push(client.send_sub(publication, json!([format!("l{list}")])).await);
    }
    client.until("ready", |client| ids.iter().all(|id| client.ready.contains(id))).await;
}

/// What one statement can read is not read by as many as there are queries.
async fn queries_that_are_alike_are_read_together(feed: Feed) {
    let (name, address, db) = start("reload_alike", feed).await;
    let mut client = Client::connect(address).await;
    subscribe(&mut client, "tasks.byList", 0..LISTS).await;
    assert_eq!(client.documents("tasks").len(), 5 * LISTS);
    let first = db.stats();
    assert_eq!(first.loads, LISTS as u64);
    database::psql(
        &name,
        &format!("BEGIN; UPDATE tasks SET revision = 1 WHERE id = 't7'; {KILL_LISTENER}; COMMIT"),
    );
    client
        .until("what was missed", |client| client.documents("tasks")["t7"]["revision"] == 1)
        .await;
    let again = db.stats();
    assert_eq!(again.loads, 2 * LISTS as u64);
    let statements = again.load_statements - first.load_statements;
    assert!(statements <= 24, "{statements} for {LISTS} queries");
}

/// Windows are read one by one, but in the same transactions.
async fn windows_catch_up_together(feed: Feed) {
    let (name, address, db) = start("reload_windows", feed).await;
    database::psql(&name, "CREATE EXTENSION pg_stat_statements");
    // Each locks the table once before it reads.
    let transactions = || -> usize {
        let sql = "SELECT COALESCE(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE 'SELECT FROM %tasks% LIMIT $1'
            AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())";
        database::psql(&name, sql).trim().parse().unwrap()
    };
    let mut client = Client::connect(address).await;
    subscribe(&mut client, "tasks.top", 0..100).await;
    assert_eq!(client.documents("tasks").len(), 200);
    let first = (transactions(), db.stats().load_statements);
    assert!(first.0 > 0);
    database::psql(
        &name,
        &format!(
            "BEGIN; UPDATE tasks SET revision = 1 \
             WHERE substring(id FROM 2)::int BETWEEN 601 AND 900; {KILL_LISTENER}; COMMIT"
        ),
    );
    let wanted = "SELECT string_agg(id, ' ' ORDER BY id) FROM (SELECT id, row_number() OVER \
        (PARTITION BY list ORDER BY revision DESC, id COLLATE \"C\") AS place FROM tasks \
        WHERE substring(list FROM 2)::int < 100) AS placed WHERE place <= 2";
    let wanted = database::psql(&name, wanted);
    let mut wanted: Vec<_> = wanted.split_whitespace().map(str::to_owned).collect();
    wanted.sort();
    client
        .until("the windows as they are", |client| {
            client.documents("tasks").keys().eq(wanted.iter())
        })
        .await;
    assert_eq!(db.stats().loads, 200);
    let again = (transactions() - first.0, db.stats().load_statements - first.1);
    assert_eq!(again.1, 100, "each has a SELECT");
    assert!((1..=12).contains(&again.0), "{} transactions for 100 windows", again.0);
}

/// Rows are changed, moved between lists, deleted and put back while the feed breaks again and again
/// and new queries come. The client checks that no row goes back to an older revision, and at rest all
/// is as in the table.
async fn changes_during_a_reload_are_neither_lost_nor_shown_out_of_order(feed: Feed) {
    let (name, address, _db) = start("reload_changes", feed).await;
    let mut client = Client::connect(address).await;
    subscribe(&mut client, "tasks.byList", 0..LISTS / 2).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(database::database_url(&name), Arc::clone(&is_over)));
    for round in 0..8 {
        let name = name.clone();
        let killed =
            tokio::task::spawn_blocking(move || database::psql_alone(&name, KILL_LISTENER));
        let first = LISTS / 2 + round * 15;
        let mut ids = Vec::new();
        for list in first..first + 15 {
            ids.push(client.send_sub("tasks.byList", json!([format!("l{list}")])).await);
        }
        client.until("ready", |client| ids.iter().all(|id| client.ready.contains(id))).await;
        killed.await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let published = LISTS / 2 + 8 * 15;
    let rows = format!(
        "SELECT id || ' ' || list || ' ' || revision FROM tasks \
         WHERE substring(list FROM 2)::int < {published} ORDER BY id COLLATE \"C\""
    );
    let rows = database::psql(&name, &rows);
    let wanted: Vec<_> = rows.lines().collect();
    let shown = |client: &Client| -> Vec<String> {
        let tasks = client.documents("tasks").into_iter();
        let row = |(id, task): (String, serde_json::Map<String, Value>)| {
            format!("{id} {} {}", task["list"].as_str().unwrap(), task["revision"])
        };
        tasks.map(row).collect()
    };
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while shown(&client) != wanted {
        assert!(tokio::time::Instant::now() < deadline, "{:?} not {wanted:?}", shown(&client));
        client.read_for(Duration::from_millis(50)).await;
    }
}

/// Each revision is higher than any before.
async fn write(url: String, is_over: Arc<AtomicBool>) {
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let put = "INSERT INTO tasks VALUES ($1, $2, $3) \
               ON CONFLICT (id) DO UPDATE SET list = EXCLUDED.list, revision = EXCLUDED.revision";
    for revision in 1..i32::MAX {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let id = format!("t{}", revision as usize * 7 % (5 * LISTS));
        let list = format!("l{}", revision as usize * 13 % LISTS);
        if revision % 9 == 0 {
            client.execute("DELETE FROM tasks WHERE id = $1", &[&id]).await.unwrap();
        } else {
            client.execute(put, &[&id, &list, &revision]).await.unwrap();
        }
    }
}

/// A client of forty lists of one task each, by a server whose policy raises what `refused` says of a list.
async fn start_with_a_policy(name: &str) -> (Client, Db) {
    let role = format!("{name}_reader");
    let setup = format!(
        "CREATE ROLE {role} LOGIN;
        ALTER ROLE {role} SET enable_seqscan = off;
        CREATE TABLE tasks (id text PRIMARY KEY, list text NOT NULL, revision int NOT NULL);
        CREATE INDEX ON tasks (list);
        INSERT INTO tasks SELECT 't' || n, 'l' || n, 0 FROM generate_series(0, 39) AS n;
        CREATE TABLE refused (list text, code text); GRANT SELECT ON refused TO PUBLIC;
        CREATE FUNCTION may_see(text) RETURNS bool LANGUAGE plpgsql STABLE AS $$ DECLARE
            found text := (SELECT code FROM refused WHERE list = $1); BEGIN
            IF found IS NOT NULL THEN RAISE 'nobody may ask' USING ERRCODE = found; END IF;
            RETURN true; END $$;
        CREATE POLICY seen ON tasks USING (may_see(list));
        ALTER TABLE tasks OWNER TO {role}; ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
        ALTER TABLE tasks FORCE ROW LEVEL SECURITY; GRANT CREATE ON DATABASE {name} TO {role};"
    );
    let url = database::create_database(name, &setup);
    let url = url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    let table = Table::new("tasks").all_columns().keys_only();
    let db = Db::builder(&url).table(table).connect().await.unwrap();
    let server = Server::builder().publish("tasks.byList", by_list).with_state(db.clone());
    let mut client = Client::connect(serve(&server).await).await;
    subscribe(&mut client, "tasks.byList", 0..40).await;
    (client, db)
}

/// A policy refuses to be asked about one list. The queries that are read together with it are read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_the_database_refuses_ends_alone() {
    let name = "reload_refused";
    let (mut client, _db) = start_with_a_policy(name).await;
    database::psql(name, "INSERT INTO refused VALUES ('l7', 'P0001')");
    database::psql(
        name,
        &format!("BEGIN; UPDATE tasks SET revision = 1 WHERE id = 't9'; {KILL_LISTENER}; COMMIT"),
    );
    client
        .until("what was missed", |client| client.documents("tasks")["t9"]["revision"] == 1)
        .await;
    client.until("the end of one", |client| client.nosub.len() == 1).await;
    assert!(!client.documents("tasks").contains_key("t7"));
    assert_eq!(client.documents("tasks").len(), 39);
}

/// No memory, a stack that is too deep, a cancellation: live queries go on once that has passed. So they do after
/// a lock that is not waited for, which is looked at now and then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_that_fails_for_what_may_pass_is_tried_again() {
    let name = "reload_passes";
    let (mut client, db) = start_with_a_policy(name).await;
    for (revision, code) in (1..).zip(["53200", "54001", "57014", "55P03"]) {
        let failed = db.stats().loads_failed;
        database::psql(name, &format!("INSERT INTO refused VALUES ('l7', '{code}')"));
        let update = format!("UPDATE tasks SET revision = {revision}");
        database::psql(name, &format!("BEGIN; {update}; {KILL_LISTENER}; COMMIT"));
        if code == "55P03" {
            let before = rollbacks(name);
            client.read_for(Duration::from_secs(3)).await;
            let tries = rollbacks(name) - before;
            assert!((1..=24).contains(&tries), "{tries} in some 3 seconds");
        } else {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            while db.stats().loads_failed < failed + 2 {
                assert!(tokio::time::Instant::now() < deadline, "{code}: {:?}", db.stats());
                client.read_for(Duration::from_millis(5)).await;
            }
        }
        assert_eq!(client.documents("tasks")["t7"]["revision"], revision - 1, "{code}");
        database::psql(name, "DELETE FROM refused");
        let is_newest = |client: &Client| {
            let tasks = client.documents("tasks");
            tasks.len() == 40 && tasks.values().all(|task| task["revision"] == revision)
        };
        client.until("what was missed", is_newest).await;
        assert!(client.nosub.is_empty(), "{code}: {:?}", client.nosub);
    }
}

/// How many transactions have failed in a database, except in its last second.
fn rollbacks(database: &str) -> u64 {
    let sql = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    database::psql(database, sql).trim().parse().unwrap()
}

/// The connections for reads and methods, by their processes.
fn connections(database: &str) -> BTreeSet<String> {
    let pids = "SELECT pid FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'ddp'";
    database::psql(database, pids).lines().map(str::to_owned).collect()
}

async fn what_the_database_refuses_costs_no_connection(feed: Feed) {
    let name = database::name("reload_refusals", feed);
    let setup = format!(
        "{} CREATE TABLE tasks (id int PRIMARY KEY, list stay); INSERT INTO tasks VALUES (1, '(1,1)')",
        database::STAY
    );
    let url = database::create_database(&name, &setup);
    let table = Table::new("tasks").all_columns();
    let db = Db::builder(&url).feed(feed).table(table).connect().await.unwrap();
    type Lists = Params<(Vec<String>,)>;
    let server = Server::builder()
        .publish("byLists", async |State(db): State<Db>, Params((lists,)): Lists| {
            db.find(&TASKS).filter(field("list").is_in(lists))
        })
        .method("read", async |State(db): State<Db>, Params((lists,)): Lists| {
            Ok::<_, Error>(db.find(&TASKS).filter(field("list").is_in(lists)).fetch().await?.len())
        })
        .with_state(db.clone());
    let mut client = Client::connect(serve(&server).await).await;
    client.subscribe("byLists", json!([["(1,1)"]])).await;
    assert_eq!(client.call("read", json!([["(1,1)"]])).await["result"], 1);
    let before = connections(&name);
    // More than are tried alone.
    let nowhere: Vec<_> = (0..=100).map(|nights| format!("(1,-{nights})")).collect();
    for round in 1..=20 {
        client.send_sub("byLists", json!([nowhere])).await;
        client.until("a refusal", |client| client.nosub.len() == round).await;
        assert_eq!(client.call("read", json!([nowhere])).await["error"]["error"], 500);
        // One less is looked into.
        assert_eq!(client.call("read", json!([nowhere[1..]])).await["result"], 0);
    }
    let after = connections(&name);
    assert!(before.is_subset(&after), "{before:?} before, {after:?} after");
    assert_eq!(client.call("read", json!([["(1,1)"]])).await["result"], 1);
    database::psql(&name, "UPDATE tasks SET list = '(2,2)'");
    client.until("it goes on", |client| client.documents("tasks").is_empty()).await;
}

/// Rows of 12 MB in all are too much for one read.
async fn a_read_that_is_divided_keeps_its_connection(feed: Feed) {
    let name = database::name("reload_divided", feed);
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, list text NOT NULL, revision text);
        INSERT INTO tasks SELECT n, 'l' || n, repeat('x', 400000) FROM generate_series(0, 29) AS n";
    let url = database::create_database(&name, setup);
    let table = Table::new("tasks").all_columns().rows_max(1);
    let db = Db::builder(&url).feed(feed).table(table).connect().await.unwrap();
    let server = Server::builder().publish("tasks.byList", by_list).with_state(db.clone());
    let mut client = Client::connect(serve(&server).await).await;
    subscribe(&mut client, "tasks.byList", 0..30).await;
    // On a busy machine a connection may be closed after all.
    for round in 0..5 {
        let (before, stats) = (connections(&name), db.stats());
        // More rows than are told: everything is read again.
        let update = "UPDATE tasks SET revision = ";
        database::psql(&name, &format!("{update} 'r{round}' || repeat('x', 400000) WHERE id < 2"));
        let prefix = format!("r{round}");
        let is_newest = |client: &Client| {
            let revision = &client.documents("tasks")["~0"]["revision"];
            revision.as_str().is_some_and(|revision| revision.starts_with(&prefix))
        };
        client.until("what was missed", is_newest).await;
        until_all_is_read(&db, stats.loads + 30).await;
        let statements = db.stats().load_statements - stats.load_statements;
        assert!(statements >= 2, "they were read by {statements} statement");
        if before.is_subset(&connections(&name)) {
            return;
        }
    }
    panic!("each round costs a connection");
}

async fn until_all_is_read(db: &Db, loads: u64) {
    let reading = async {
        while db.stats().loads < loads {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("all queries are read");
}

ddp_tests::over_both_feeds!(
    what_the_database_refuses_costs_no_connection,
    a_read_that_is_divided_keeps_its_connection,
    queries_that_are_alike_are_read_together,
    windows_catch_up_together,
    changes_during_a_reload_are_neither_lost_nor_shown_out_of_order,
);
