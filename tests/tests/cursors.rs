//! Cursors that the server reads and follows by itself, over both feeds.

use std::time::Duration;

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Params, Subscription};
use ddp_server::live_query::{Changes, Observed};
use ddp_server::query::descending;
use ddp_server::{Collection, Cursor, Error, Server, State, WriteFence, field};
use ddp_tests::database;
use ddp_tests::peer::{Peer, serve};
use serde::Deserialize;
use serde_json::json;
use tokio_postgres::NoTls;

#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Task {
    #[serde(rename = "_id")]
    id: String,
    rank: u32,
}

const TASKS: Collection<Task> = Collection::new("tasks");

const SETUP: &str = "
    CREATE TABLE tasks (id text PRIMARY KEY, rank int, text text);
    INSERT INTO tasks SELECT 't' || n, n, 'task ' || n FROM generate_series(1, 10) AS n;
";

async fn connect(test: &str, feed: Feed) -> (String, Db) {
    let name = database::name(test, feed);
    let url = database::create_database(&name, SETUP);
    let table = Table::new("tasks").all_columns();
    (name, Db::builder(url).feed(feed).table(table).connect().await.unwrap())
}

fn ids(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.id.as_str()).collect()
}

async fn next(changes: &mut Changes<Task>) -> Observed<Task> {
    let next = tokio::time::timeout(Duration::from_secs(20), changes.next()).await;
    next.expect("a change in time").expect("it goes on").unwrap()
}

async fn a_cursor_is_read_once_in_its_order(feed: Feed) {
    let (_, db) = connect("cursors_fetch", feed).await;
    let few = db.find(&TASKS).filter(field("rank").gt(2)).sort([descending("rank")]);
    let all = few.fetch().await.unwrap();
    assert_eq!(ids(&all), ["t10", "t9", "t8", "t7", "t6", "t5", "t4", "t3"]);
    assert_eq!(ids(&few.clone().skip(1).limit(2).fetch().await.unwrap()), ["t9", "t8"]);
    assert_eq!(few.clone().limit(0).fetch().await.unwrap(), []);
    let loads = db.stats().loads;
    assert_eq!(loads, 0, "no live query was made for it");
    assert!(db.find(&TASKS).filter(field("rank").eq("x")).fetch().await.is_err());
    let unknown = Collection::<Task>::new("unknown");
    assert!(db.find(&unknown).fetch().await.is_err());
}

async fn what_was_committed_is_read_however_far_the_feed_is(feed: Feed) {
    let (_, db) = connect("cursors_own_writes", feed).await;
    for number in 0..50_u32 {
        let transaction = db.begin(&WriteFence::detached()).await.unwrap();
        let id = format!("new{number}");
        transaction.execute("INSERT INTO tasks VALUES ($1, 99)", &[&id]).await.unwrap();
        transaction.commit().await.unwrap();
        let new = db.find(&TASKS).filter(field("_id").eq(id.as_str())).fetch().await.unwrap();
        assert_eq!(new, [Task { id, rank: 99 }]);
    }
}

/// Methods may do what they like to the settings of their connections.
async fn what_a_method_sets_does_not_change_how_rows_are_read(feed: Feed) {
    let name = database::name("cursors_settings", feed);
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, float float8, bytes bytea, span interval,
            instant timestamptz, money money);
        INSERT INTO tasks VALUES (1, 0.1::float8 + 0.2::float8, '\\x00ff', '1 day 2 h', '2020-01-01 12:00+00', 7)";
    let url = database::create_database(&name, setup);
    let table = Table::new("tasks").all_columns();
    let builder = Db::builder(url).feed(feed).table(table).connections_max(2);
    let db = builder.connect().await.unwrap();
    let tasks = db.find(&Collection::<serde_json::Value>::new("tasks"));
    let before = tasks.fetch().await.unwrap();
    for script in [
        "DISCARD ALL",
        "SET extra_float_digits = -5; SET bytea_output = escape; SET IntervalStyle = sql_standard;
        SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'SQL, DMY'; SET quote_all_identifiers = on; SET array_nulls = off",
    ] {
        // The only one that methods have.
        db.pool().get().await.unwrap().batch_execute(script).await.unwrap();
        assert_eq!(tasks.fetch().await.unwrap(), before, "{script}");
        // It is still as the method left it.
        let mode = "SELECT current_setting('extra_float_digits') <> '1' OR current_setting('IntervalStyle') <> 'iso_8601'";
        let is_left = db.pool().get().await.unwrap().query_one(mode, &[]).await.unwrap();
        assert!(script == "DISCARD ALL" || is_left.get::<_, bool>(0), "{script}");
    }
}

async fn many_who_subscribe_once_leave_connections_to_methods(feed: Feed) {
    let name = database::name("cursors_storm", feed);
    let url = database::create_database(&name, SETUP);
    let (holder, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let table = Table::new("tasks").all_columns();
    let db = Db::builder(&url).feed(feed).table(table).connections_max(4).connect().await.unwrap();
    let server = Server::builder()
        .publish("once", async |State(db): State<Db>| db.find(&TASKS).once())
        .with_state(db.clone());
    let address = serve(&server).await;
    holder.batch_execute("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut peers = Vec::new();
    for number in 0..12 {
        let mut peer = Peer::connect(address).await;
        peer.sub("s", "once", json!([])).await;
        // Answered on the connection's task, on which the publication has started by then.
        peer.send(json!({"msg": "ping", "id": "p"})).await;
        peer.expect([json!({"msg": "pong", "id": "p"})]).await;
        if number < 6 {
            // PostgreSQL goes on with its read.
            peer.leave();
            continue;
        }
        peers.push(peer);
    }
    // Half of the four are theirs.
    let others = tokio::time::timeout(Duration::from_secs(20), async {
        (db.pool().get().await.unwrap(), db.pool().get().await.unwrap())
    });
    drop(others.await.expect("two connections for others"));
    holder.batch_execute("COMMIT").await.unwrap();
    for mut peer in peers {
        while peer.recv().await["msg"] != "ready" {}
    }
}

async fn a_read_that_is_given_up_keeps_its_connection_until_postgresql_has_ended_it(feed: Feed) {
    let name = database::name("cursors_given_up", feed);
    let url = database::create_database(&name, SETUP);
    let builder =
        Db::builder(url).feed(feed).table(Table::new("tasks").all_columns()).connections_max(4);
    let db = builder.connect().await.unwrap();
    let holder = db.pool().get().await.unwrap();
    holder.batch_execute("BEGIN; LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let cursor = db.find(&TASKS);
    let reading = tokio::spawn(async move { cursor.fetch().await });
    let waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock' AND query LIKE '%tasks%'";
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let waiting: i32 = loop {
        if let Ok(pid) = database::psql(&name, waiting).trim().parse() {
            break pid;
        }
        assert!(std::time::Instant::now() < deadline, "the read does not wait for the lock");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    reading.abort();
    assert!(reading.await.unwrap_err().is_cancelled());
    holder.batch_execute("COMMIT").await.unwrap();
    let other = db.pool().get().await.unwrap();
    let pid: i32 = other.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    assert_eq!(pid, waiting, "no other connection took its place");
}

async fn a_table_that_was_altered_is_read_as_it_is(feed: Feed) {
    let name = database::name("cursors_altered", feed);
    let url = database::create_database(&name, SETUP);
    let hour = Duration::from_secs(3600);
    let builder =
        Db::builder(url).feed(feed).table(Table::new("tasks").all_columns()).check_every(hour);
    let db = builder.connect().await.unwrap();
    assert_eq!(db.find(&TASKS).fetch().await.unwrap().len(), 10);
    database::psql(&name, "ALTER TABLE tasks DROP COLUMN text, ADD COLUMN done boolean");
    assert_eq!(db.find(&TASKS).fetch().await.unwrap().len(), 10, "nobody had noticed yet");
    database::psql(&name, "DROP TABLE tasks");
    assert_eq!(db.find(&TASKS).fetch().await.unwrap(), [], "as for subscribers");
}

async fn the_server_follows_a_query_through_the_loss_of_its_feed(feed: Feed) {
    let (name, db) = connect("cursors_observe", feed).await;
    let mut changes = db.find(&TASKS).filter(field("rank").lte(2)).observe().await.unwrap();
    assert_eq!(changes.count(), 2);
    for _ in 0..2 {
        assert!(matches!(next(&mut changes).await, Observed::Added { .. }));
    }
    database::psql(&name, "UPDATE tasks SET rank = 0 WHERE id = 't1'");
    let change = next(&mut changes).await;
    let is_rank = |task: &Task, rank| task.rank == rank;
    let Observed::Changed { document, old_document, .. } = change else { panic!("{change:?}") };
    assert!(is_rank(&document, 0) && is_rank(&old_document, 1));
    // What happens while the feed is away comes as a difference.
    database::psql(
        &name,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND application_name LIKE '% feed'",
    );
    database::psql(&name, "DELETE FROM tasks WHERE id = 't2'");
    let change = next(&mut changes).await;
    assert!(matches!(&change, Observed::Removed { old_document, .. } if old_document.id == "t2"));
    assert_eq!(changes.count(), 1);
    // If a table can no longer be followed, the stream says so and ends.
    database::psql(&name, "ALTER TABLE tasks RENAME COLUMN rank TO place");
    let over = tokio::time::timeout(Duration::from_secs(20), changes.next()).await;
    assert!(over.expect("in time").expect("an error").is_err());
    assert!(changes.next().await.is_none());
}

async fn what_is_published_once_is_sent_and_not_observed(feed: Feed) {
    let (name, db) = connect("cursors_once", feed).await;
    let server = Server::builder()
        .publish("once", async |State(db): State<Db>| {
            db.find(&TASKS).filter(field("rank").lte(2)).once()
        })
        .publish("live", async |State(db): State<Db>| db.find(&TASKS).filter(field("rank").eq(3)))
        .method("touch", async |State(db): State<Db>, fence: WriteFence| {
            let transaction = db.begin(&fence).await?;
            transaction.execute("UPDATE tasks SET text = 'new' WHERE rank <= 3", &[]).await?;
            transaction.commit().await?;
            Ok::<_, Error>(())
        })
        .with_state(db.clone());
    let mut peer = Peer::connect(serve(&server).await).await;
    peer.sub("once", "once", json!([])).await;
    for id in ["t1", "t2"] {
        let added = peer.recv().await;
        assert_eq!((&added["msg"], &added["id"]), (&json!("added"), &json!(id)));
    }
    peer.expect([json!({"msg": "ready", "subs": ["once"]})]).await;
    assert_eq!(db.stats().loads, 0, "nothing is observed");
    // A live document changes; those that were sent once do not.
    peer.sub("live", "live", json!([])).await;
    assert_eq!(peer.recv().await["id"], "t3");
    peer.expect([json!({"msg": "ready", "subs": ["live"]})]).await;
    peer.method("m", "touch", json!([])).await;
    let mut changed = Vec::new();
    let mut is_updated = false;
    while !is_updated {
        let message = peer.recv().await;
        is_updated = message["msg"] == "updated";
        if message["msg"] == "changed" {
            changed.push(message["id"].clone());
        }
    }
    assert_eq!(changed, [json!("t3")]);
    // They disappear with their subscription.
    peer.send(json!({"msg": "unsub", "id": "once"})).await;
    let mut removed = Vec::new();
    while removed.len() < 2 {
        let message = peer.recv().await;
        if message["msg"] == "removed" {
            removed.push(message["id"].clone());
        }
    }
    assert_eq!(removed, [json!("t1"), json!("t2")]);
    assert_eq!(database::psql(&name, "SELECT count(*) FROM tasks").trim(), "10");
}

const MEMBERS: Collection<()> = Collection::new("members");
const MESSAGES: Collection<()> = Collection::new("messages");

/// The publication of the guide on operations, for one user.
async fn messages(
    State(db): State<Db>,
    subscription: Subscription,
    Params((room,)): Params<(String,)>,
) -> Result<Cursor<()>, Error> {
    let refused = || Error::client(403, "You are not a member of this room");
    let membership = field("room_id").eq(room.as_str()).and(field("user_id").eq("ada"));
    let mut membership = db.find(&MEMBERS).filter(membership).observe().await?;
    if membership.count() == 0 {
        return Err(refused());
    }
    let watched = subscription.clone();
    let watch = tokio::spawn(async move {
        while membership.count() > 0 && membership.next().await.is_some() {}
        watched.error(refused());
    });
    subscription.on_stop(move || watch.abort());
    Ok(db.find(&MESSAGES).filter(field("room_id").eq(room)))
}

async fn a_subscription_ends_with_the_membership_that_allowed_it(feed: Feed) {
    let name = database::name("cursors_membership", feed);
    let url = database::create_database(
        &name,
        "CREATE TABLE members (room_id text, user_id text, since int, PRIMARY KEY (room_id, user_id));
         CREATE TABLE messages (id text PRIMARY KEY, room_id text);
         INSERT INTO members VALUES ('here', 'ada', 1), ('there', 'bob', 1);
         INSERT INTO messages VALUES ('m1', 'here'), ('m2', 'there');",
    );
    let builder = Db::builder(url).feed(feed).table(Table::new("members").all_columns());
    let db = builder.table(Table::new("messages").all_columns()).connect().await.unwrap();
    let server = Server::builder().publish("messages", messages).with_state(db);
    let mut peer = Peer::connect(serve(&server).await).await;
    peer.sub("there", "messages", json!(["there"])).await;
    assert_eq!(peer.recv().await["error"]["error"], 403);
    peer.sub("here", "messages", json!(["here"])).await;
    assert_eq!(peer.recv().await["id"], "m1");
    peer.expect([json!({"msg": "ready", "subs": ["here"]})]).await;
    // A change of the membership does no harm, and neither does the end of another one.
    database::psql(
        &name,
        "UPDATE members SET since = 2; DELETE FROM members WHERE user_id = 'bob'",
    );
    database::psql(&name, "INSERT INTO messages VALUES ('m3', 'here')");
    assert_eq!(peer.recv().await["id"], "m3");
    database::psql(&name, "DELETE FROM members");
    let mut removed = Vec::new();
    loop {
        let message = peer.recv().await;
        match message["msg"].as_str() {
            Some("removed") => removed.push(message["id"].clone()),
            Some("nosub") => {
                assert_eq!(
                    (&message["id"], &message["error"]["error"]),
                    (&json!("here"), &json!(403))
                );
                break;
            }
            _ => panic!("{message}"),
        }
    }
    assert_eq!(removed, [json!("m1"), json!("m3")]);
}

ddp_tests::over_both_feeds!(
    what_a_method_sets_does_not_change_how_rows_are_read,
    a_cursor_is_read_once_in_its_order,
    what_was_committed_is_read_however_far_the_feed_is,
    a_read_that_is_given_up_keeps_its_connection_until_postgresql_has_ended_it,
    many_who_subscribe_once_leave_connections_to_methods,
    a_table_that_was_altered_is_read_as_it_is,
    the_server_follows_a_query_through_the_loss_of_its_feed,
    what_is_published_once_is_sent_and_not_observed,
    a_subscription_ends_with_the_membership_that_allowed_it,
);
