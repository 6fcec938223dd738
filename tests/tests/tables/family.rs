//! Partitions and children that come and go between two looks at the catalogs.

use ddp_postgres::Feed;
use ddp_tests::{Client, database};
use tokio_postgres::NoTls;

use super::{Fixture, sees, shown};

const PARTED: &str = "CREATE TABLE tasks (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF tasks FOR VALUES FROM (0) TO (10);
    CREATE TABLE high PARTITION OF tasks FOR VALUES FROM (10) TO (20);
    INSERT INTO tasks VALUES (1, 'a'), (11, 'a'), (12, 'a')";
const MAKE: &str = "CREATE TABLE brief PARTITION OF tasks FOR VALUES FROM (20) TO (30);";
const INSERT: &str = "INSERT INTO tasks VALUES (21, 'x');";
const DROP: &str = "DROP TABLE brief;";

/// Without PostgreSQL's counters: what they tell comes late, or never.
const UNCOUNTED: &str = "DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET track_counts = off', current_database()); END $$;";
const BEFORE: &str = r#"~1 v:"a"; ~11 v:"a"; ~12 v:"a""#;

async fn start(name: &str, setup: &str, feed: Feed) -> (Fixture, Client) {
    let setup = format!("{UNCOUNTED} {setup}");
    let fixture = Fixture::unwatched(&database::name(name, feed), &setup, feed).await;
    let client = fixture.client().await;
    (fixture, client)
}

async fn a_partition_that_is_loaded_while_it_is_detached(feed: Feed) {
    let (fixture, mut client) = start("reattached", PARTED, feed).await;
    sees(&mut client, BEFORE).await;
    for (how, value) in [("", 'b'), (" CONCURRENTLY", 'd')] {
        fixture.psql(&format!("ALTER TABLE tasks DETACH PARTITION high{how}"));
        fixture.psql(&format!("TRUNCATE high; INSERT INTO high VALUES (15, '{value}')"));
        sees(&mut client, r#"~1 v:"a""#).await;
        fixture.psql("ALTER TABLE tasks ATTACH PARTITION high FOR VALUES FROM (10) TO (20)");
        fixture.db.check().await.unwrap();
        sees(&mut client, &format!(r#"~1 v:"a"; ~15 v:"{value}""#)).await;
        fixture.psql("UPDATE high SET v = 'c'");
        sees(&mut client, r#"~1 v:"a"; ~15 v:"c""#).await;
    }
    // Another table takes its place, with as many rows.
    fixture.psql(
        "DROP TABLE high; CREATE TABLE high PARTITION OF tasks FOR VALUES FROM (10) TO (20);
        ALTER TABLE tasks DETACH PARTITION high; INSERT INTO high VALUES (16, 'e');
        ALTER TABLE tasks ATTACH PARTITION high FOR VALUES FROM (10) TO (20)",
    );
    fixture.db.check().await.unwrap();
    sees(&mut client, r#"~1 v:"a"; ~16 v:"e""#).await;
}

async fn a_partition_that_is_dropped_before_anybody_looks(feed: Feed) {
    let (fixture, mut client) = start("brief", PARTED, feed).await;
    for number in 0..3 {
        fixture.psql(MAKE);
        fixture.psql(INSERT);
        client.until("its row", |client| client.documents("tasks").contains_key("~21")).await;
        fixture.psql(DROP);
        fixture.checks_until(&mut client, BEFORE).await;
        // All in one transaction: nobody needs to look.
        let update = format!("UPDATE tasks SET v = 'a{number}' WHERE id = 12");
        fixture.psql(&format!("BEGIN; {MAKE} {INSERT} {update}; {DROP} COMMIT"));
        let is_told = format!("a{number}");
        client.until("the update", |c| c.documents("tasks")["~12"]["v"] == is_told).await;
        assert!(!client.documents("tasks").contains_key("~21"), "{}", shown(&client));
        fixture.psql("UPDATE tasks SET v = 'a' WHERE id = 12");
        sees(&mut client, BEFORE).await;
    }
}

async fn a_partition_that_only_a_read_has_seen(feed: Feed) {
    let (fixture, mut client) = start("seen_once", PARTED, feed).await;
    fixture.psql(
        "CREATE TABLE brief (LIKE tasks INCLUDING ALL); INSERT INTO brief VALUES (21, 'x');
        ALTER TABLE tasks ATTACH PARTITION brief FOR VALUES FROM (20) TO (30)",
    );
    let mut late = Client::connect(fixture.address).await;
    late.subscribe("tasks.where", serde_json::json!(["v", "x"])).await;
    assert_eq!(shown(&late), r#"~21 v:"x""#);
    fixture.psql(DROP);
    fixture.checks_until(&mut late, "").await;
    sees(&mut client, BEFORE).await;
}

async fn a_partition_that_is_newer_than_the_writer_s_snapshot(feed: Feed) {
    let (fixture, mut client) = start("newer", PARTED, feed).await;
    let url = database::database_url(&fixture.database);
    let (writer, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    // A function of the triggers is planned by then.
    writer.batch_execute("UPDATE tasks SET v = 'b' WHERE id = 12").await.unwrap();
    writer.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    fixture.psql(MAKE);
    let more = "UPDATE tasks SET v = 'c' WHERE id = 12";
    writer.batch_execute(&format!("{INSERT} {more}; COMMIT")).await.unwrap();
    fixture.psql(DROP);
    let after = r#"~1 v:"a"; ~11 v:"a"; ~12 v:"c""#;
    fixture.checks_until(&mut client, after).await;
    // Usually such a transaction's rows come by themselves.
    let requeries = fixture.db.stats().requeries;
    let usual = "BEGIN ISOLATION LEVEL REPEATABLE READ; UPDATE tasks SET v = 'a' WHERE id = 12;
        UPDATE tasks SET v = 'a' WHERE id < 20; COMMIT";
    writer.batch_execute(usual).await.unwrap();
    sees(&mut client, BEFORE).await;
    assert_eq!(fixture.db.stats().requeries, requeries);
}

/// Somebody has another partition locked, for `VACUUM FULL` say.
async fn writers_wait_for_no_partition_that_they_do_not_touch(feed: Feed) {
    let (fixture, mut client) = start("untouched", PARTED, feed).await;
    let url = database::database_url(&fixture.database);
    let (holder, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    holder.batch_execute("BEGIN; LOCK TABLE ONLY high IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let mut expected = String::new();
    for isolation in ["READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        for change in [
            "INSERT INTO tasks VALUES (2, 'b')",
            "INSERT INTO tasks VALUES (3, 'b'), (4, 'b')",
            "UPDATE tasks SET v = 'c' WHERE id = 2",
            "UPDATE tasks SET v = 'c' WHERE id < 4",
            "UPDATE tasks SET id = 5 WHERE id = 2",
            "DELETE FROM tasks WHERE id = 3",
            "DELETE FROM tasks WHERE id < 5",
            "DELETE FROM low",
        ] {
            // A wait would be an error.
            let (writer, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            let script = format!(
                "SET lock_timeout = '5s'; BEGIN ISOLATION LEVEL {isolation}; {change};
                DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM pg_locks WHERE pid = pg_backend_pid()
                    AND relation = 'high'::regclass); END $$; COMMIT"
            );
            let written = writer.batch_execute(&script).await;
            assert!(written.is_ok(), "{isolation}: {change}: {written:?}");
        }
        expected = format!("{isolation} told");
        let insert = format!("INSERT INTO tasks VALUES (1, '{expected}')");
        let begin = format!("SET lock_timeout = '5s'; BEGIN ISOLATION LEVEL {isolation}");
        fixture.psql(&format!("{begin}; {insert}; COMMIT"));
        // It comes by itself: nobody can read while the partition is locked.
        let is_told = |task: &serde_json::Map<_, _>| task["v"] == *expected;
        client.until(&expected, |c| c.documents("tasks").get("~1").is_some_and(is_told)).await;
    }
    holder.batch_execute("COMMIT").await.unwrap();
    sees(&mut client, &format!(r#"~1 v:"{expected}"; ~11 v:"a"; ~12 v:"a""#)).await;
}

async fn a_first_child_that_is_dropped_before_anybody_looks(feed: Feed) {
    let setup =
        "CREATE TABLE tasks (id int PRIMARY KEY, v text); INSERT INTO tasks VALUES (1, 'a')";
    let (fixture, mut client) = start("first_child", setup, feed).await;
    fixture.psql("CREATE TABLE child () INHERITS (tasks); INSERT INTO child VALUES (2, 'x')");
    fixture.psql("UPDATE tasks SET v = 'b'");
    sees(&mut client, r#"~1 v:"b"; ~2 v:"b""#).await;
    fixture.psql("DROP TABLE child");
    fixture.checks_until(&mut client, r#"~1 v:"b""#).await;
}

async fn rows_of_a_temporary_child_are_nobody_elses(feed: Feed) {
    let setup =
        "CREATE TABLE tasks (id int PRIMARY KEY, v text); INSERT INTO tasks VALUES (1, 'a')";
    let (fixture, mut client) = start("temporary_child", setup, feed).await;
    let url = database::database_url(&fixture.database);
    let (session, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let child = "CREATE TEMPORARY TABLE child () INHERITS (tasks);
        INSERT INTO child VALUES (1, 'mine'), (2, 'mine')";
    session.batch_execute(child).await.unwrap();
    fixture.db.check().await.unwrap();
    for value in ["b", "c"] {
        session.batch_execute(&format!("UPDATE tasks SET v = '{value}'")).await.unwrap();
        client.until(value, |client| client.documents("tasks")["~1"]["v"] == value).await;
        assert_eq!(shown(&client), format!(r#"~1 v:"{value}""#));
    }
    session
        .batch_execute("DELETE FROM tasks WHERE id = 1; INSERT INTO tasks VALUES (3, 'd')")
        .await
        .unwrap();
    sees(&mut client, r#"~3 v:"d""#).await;
    let mut late = fixture.client().await;
    session.batch_execute("UPDATE tasks SET v = 'e'").await.unwrap();
    sees(&mut late, r#"~3 v:"e""#).await;
    sees(&mut client, r#"~3 v:"e""#).await;

    // Once it is gone, changes are told by themselves again.
    drop(session);
    connection.await.unwrap().unwrap();
    let requeries = loop {
        fixture.db.check().await.unwrap();
        let before = fixture.db.stats().requeries;
        fixture.psql("UPDATE tasks SET v = v || 'f'");
        let newest = fixture.psql("SELECT v FROM tasks");
        client.until("the row", |c| c.documents("tasks")["~3"]["v"] == newest.trim()).await;
        if fixture.db.stats().requeries == before {
            break before;
        }
    };
    fixture.psql("UPDATE tasks SET v = 'g'");
    sees(&mut client, r#"~3 v:"g""#).await;
    assert_eq!(fixture.db.stats().requeries, requeries);
}

/// The parent has another child, and so is known to be a tree.
async fn rows_of_a_new_temporary_child_are_never_shown(feed: Feed) {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, v text);
        CREATE TABLE other () INHERITS (tasks);
        INSERT INTO tasks VALUES (1, 'a'); INSERT INTO other VALUES (3, 'a')";
    let (fixture, mut client) = start("new_temporary_child", setup, feed).await;
    let script = "CREATE TEMPORARY TABLE child () INHERITS (tasks);
        INSERT INTO child VALUES (2, 'mine'); UPDATE tasks SET v = 'b'";
    fixture.psql(script);
    let expected = r#"~1 v:"b"; ~3 v:"b""#;
    let told = client.until(expected, |client| {
        assert!(!client.documents("tasks").contains_key("~2"), "{}", shown(client));
        shown(client) == expected
    });
    told.await;
}

/// Nobody knows that the table may have children.
async fn rows_of_a_first_temporary_child_are_never_shown(feed: Feed) {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, v text);
        INSERT INTO tasks VALUES (1, 'a'), (3, 'a')";
    let (fixture, mut client) = start("first_temporary_child", setup, feed).await;
    let url = database::database_url(&fixture.database);
    let (session, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    // A session that only has another temporary table tells its rows as usual.
    session.batch_execute("CREATE TEMPORARY TABLE mine (id int)").await.unwrap();
    let requeries = fixture.db.stats().requeries;
    session.batch_execute("UPDATE tasks SET v = 'b' WHERE id = 3").await.unwrap();
    sees(&mut client, r#"~1 v:"a"; ~3 v:"b""#).await;
    assert_eq!(fixture.db.stats().requeries, requeries);

    let child = "CREATE TEMPORARY TABLE child () INHERITS (tasks);
        INSERT INTO child VALUES (1, 'mine'), (2, 'mine'), (4, 'mine')";
    session.batch_execute(child).await.unwrap();
    for change in [
        "UPDATE tasks SET v = 'yours' WHERE id = 2",
        "UPDATE tasks SET id = 5 WHERE id = 4",
        "DELETE FROM tasks WHERE id = 1 AND v = 'mine'",
        "UPDATE tasks SET v = 'c'",
    ] {
        session.batch_execute(change).await.unwrap();
    }
    let expected = r#"~1 v:"c"; ~3 v:"c""#;
    let told = client.until(expected, |client| {
        let ids: Vec<_> = client.documents("tasks").into_keys().collect();
        assert_eq!(ids, ["~1", "~3"], "{}", shown(client));
        shown(client) == expected
    });
    told.await;
    // Rows of a first child that is not a session's own are seen, and stay if they are.
    session.batch_execute("DROP TABLE child").await.unwrap();
    fixture.psql("CREATE TABLE child () INHERITS (tasks); INSERT INTO child VALUES (6, 'x')");
    session.batch_execute("UPDATE tasks SET v = 'd'").await.unwrap();
    sees(&mut client, r#"~1 v:"d"; ~3 v:"d"; ~6 v:"d""#).await;
    session.batch_execute("TRUNCATE ONLY tasks").await.unwrap();
    sees(&mut client, r#"~6 v:"d""#).await;
}

async fn a_child_that_is_newer_than_the_writer_s_snapshot(feed: Feed) {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, v text);
        CREATE TABLE other () INHERITS (tasks); CREATE TABLE brief (LIKE tasks);
        INSERT INTO tasks VALUES (1, 'a'), (12, 'a'); INSERT INTO brief VALUES (21, 'x')";
    let (fixture, mut client) = start("newer_child", setup, feed).await;
    let url = database::database_url(&fixture.database);
    let (writer, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    // A function of the triggers is planned by then.
    writer.batch_execute("UPDATE tasks SET v = 'b' WHERE id = 12").await.unwrap();
    sees(&mut client, r#"~1 v:"a"; ~12 v:"b""#).await;
    writer.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    fixture.psql("ALTER TABLE brief INHERIT tasks");
    let update = "UPDATE tasks SET v = 'c' WHERE id IN (12, 21)";
    let told = writer.execute(update, &[]).await.unwrap();
    assert_eq!(told, 2, "the row of the new child is among them");
    writer.batch_execute("COMMIT").await.unwrap();
    fixture.psql("ALTER TABLE brief NO INHERIT tasks");
    fixture.checks_until(&mut client, r#"~1 v:"a"; ~12 v:"c""#).await;
}

ddp_tests::over_both_feeds!(
    writers_wait_for_no_partition_that_they_do_not_touch,
    rows_of_a_first_temporary_child_are_never_shown,
    a_child_that_is_newer_than_the_writer_s_snapshot,
    a_partition_that_is_loaded_while_it_is_detached,
    a_partition_that_is_dropped_before_anybody_looks,
    a_partition_that_only_a_read_has_seen,
    a_partition_that_is_newer_than_the_writer_s_snapshot,
    a_first_child_that_is_dropped_before_anybody_looks,
    rows_of_a_new_temporary_child_are_never_shown,
    rows_of_a_temporary_child_are_nobody_elses,
);
