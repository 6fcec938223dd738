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

async fn start(name: &str, setup: &str, feed: Feed) -> (Fixture, Client) {
    let fixture = Fixture::unwatched(&database::name(name, feed), setup, feed).await;
    let client = fixture.client().await;
    (fixture, client)
}

async fn a_partition_that_is_loaded_while_it_is_detached(feed: Feed) {
    let (fixture, mut client) = start("reattached", PARTED, feed).await;
    sees(&mut client, r#"~1 v:"a"; ~11 v:"a"; ~12 v:"a""#).await;
    fixture.psql("ALTER TABLE tasks DETACH PARTITION high");
    fixture.psql("TRUNCATE high; INSERT INTO high VALUES (15, 'b')");
    sees(&mut client, r#"~1 v:"a""#).await;
    fixture.psql("ALTER TABLE tasks ATTACH PARTITION high FOR VALUES FROM (10) TO (20)");
    fixture.db.check().await.unwrap();
    sees(&mut client, r#"~1 v:"a"; ~15 v:"b""#).await;
    fixture.psql("UPDATE high SET v = 'c'");
    sees(&mut client, r#"~1 v:"a"; ~15 v:"c""#).await;
}

async fn a_partition_that_is_dropped_before_anybody_looks(feed: Feed) {
    let (fixture, mut client) = start("brief", PARTED, feed).await;
    let before = r#"~1 v:"a"; ~11 v:"a"; ~12 v:"a""#;
    for number in 0..3 {
        fixture.psql(MAKE);
        fixture.psql(INSERT);
        client.until("its row", |client| client.documents("tasks").contains_key("~21")).await;
        fixture.psql(DROP);
        fixture.checks_until(&mut client, before).await;
        // All in one transaction, whose row comes like any other.
        let update = format!("UPDATE tasks SET v = 'a{number}' WHERE id = 12");
        fixture.psql(&format!("BEGIN; {MAKE} {INSERT} {update}; {DROP} COMMIT"));
        let is_told = format!("a{number}");
        client.until("the update", |c| c.documents("tasks")["~12"]["v"] == is_told).await;
        fixture.psql("UPDATE tasks SET v = 'a' WHERE id = 12");
        fixture.checks_until(&mut client, before).await;
    }
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

ddp_tests::over_both_feeds!(
    a_partition_that_is_loaded_while_it_is_detached,
    a_partition_that_is_dropped_before_anybody_looks,
    a_first_child_that_is_dropped_before_anybody_looks,
    rows_of_a_temporary_child_are_nobody_elses,
);
