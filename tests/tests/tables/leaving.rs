//! A partition that `DETACH PARTITION … CONCURRENTLY` is taking away, while somebody still reads.

use ddp_postgres::Feed;
use ddp_tests::{Client, database};

use super::{Fixture, sees, shown};

const SETUP: &str = "CREATE TABLE tasks (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF tasks FOR VALUES FROM (0) TO (10);
    CREATE TABLE high PARTITION OF tasks FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (id);
    CREATE TABLE highest PARTITION OF high FOR VALUES FROM (10) TO (20);
    INSERT INTO tasks VALUES (1, 'a'), (2, 'a'), (11, 'a'), (12, 'a'), (13, 'a')";
const PENDING: &str = "SELECT count(*) FROM pg_inherits WHERE inhdetachpending";

/// Sees this, and until then no document of the partition.
async fn sees_only(client: &mut Client, expected: &str) {
    let told = client.until(expected, |client| {
        let ids: Vec<_> = client.documents("tasks").into_keys().collect();
        assert_eq!(ids, ["~1", "~2"], "{}", shown(client));
        shown(client) == expected
    });
    told.await;
}

/// Waits until a query of the database answers this.
async fn until(fixture: &Fixture, query: &str, answer: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while fixture.psql(query).trim() != answer {
        assert!(std::time::Instant::now() < deadline, "{query}: {}", fixture.psql(query));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn rows_of_a_partition_that_is_being_detached_are_gone(feed: Feed) {
    let fixture = Fixture::unwatched(&database::name("leaving", feed), SETUP, feed).await;
    let mut client = fixture.client().await;
    let session = || database::connect(&fixture.database);
    let [holder, gate, old, late, detacher] =
        [session().await, session().await, session().await, session().await, session().await];
    // One whose snapshot is older, and one whose statement is older.
    old.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await.unwrap();
    gate.batch_execute("BEGIN; SELECT pg_advisory_xact_lock(7)").await.unwrap();
    let late = tokio::spawn(async move {
        let update = "UPDATE tasks SET v = 'late' WHERE id IN (1, 11) \
            AND pg_advisory_xact_lock_shared(7) IS NOT NULL";
        late.batch_execute(update).await.unwrap();
    });
    until(
        &fixture,
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'advisory'",
        "1",
    )
    .await;
    holder.batch_execute("BEGIN; SELECT count(*) FROM tasks").await.unwrap();
    let detached = tokio::spawn(async move {
        detacher
            .batch_execute("ALTER TABLE tasks DETACH PARTITION high CONCURRENTLY")
            .await
            .unwrap();
    });
    until(&fixture, PENDING, "1").await;
    fixture.db.check().await.unwrap();
    sees(&mut client, r#"~1 v:"a"; ~2 v:"a""#).await;

    fixture.psql(
        "INSERT INTO high VALUES (14, 'x'); UPDATE high SET v = 'x' WHERE id = 11;
        UPDATE highest SET v = 'y' WHERE id = 11; DELETE FROM highest WHERE id = 12",
    );
    fixture.psql("UPDATE tasks SET v = 'direct' WHERE id = 1");
    sees_only(&mut client, r#"~1 v:"direct"; ~2 v:"a""#).await;
    gate.batch_execute("COMMIT").await.unwrap();
    late.await.unwrap();
    sees_only(&mut client, r#"~1 v:"late"; ~2 v:"a""#).await;
    old.batch_execute("UPDATE tasks SET v = 'old' WHERE id IN (2, 13); COMMIT").await.unwrap();
    sees_only(&mut client, r#"~1 v:"late"; ~2 v:"old""#).await;
    // With one snapshot, PostgreSQL lets a transaction write to it although that is newer.
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ";
    let insert = "INSERT INTO tasks VALUES (15, 'x')";
    fixture.psql(&format!("{begin}; {insert}; UPDATE tasks SET v = 'new' WHERE id = 1; COMMIT"));
    assert_eq!(fixture.psql("SELECT count(*) FROM highest WHERE id = 15").trim(), "1");
    sees_only(&mut client, r#"~1 v:"new"; ~2 v:"old""#).await;
    // Whatever has nothing to do with it is told by itself.
    let requeries = fixture.db.stats().requeries;
    fixture.psql("UPDATE tasks SET v = 'usual' WHERE id = 1");
    fixture.psql(&format!("{begin}; UPDATE tasks SET v = v || '!' WHERE id = 1; COMMIT"));
    sees_only(&mut client, r#"~1 v:"usual!"; ~2 v:"old""#).await;
    assert_eq!((fixture.db.stats().requeries, fixture.psql(PENDING).trim()), (requeries, "1"));

    holder.batch_execute("COMMIT").await.unwrap();
    detached.await.unwrap();
    fixture.db.check().await.unwrap();
    let triggers = "SELECT count(*) FROM pg_trigger
        WHERE tgrelid IN ('high'::regclass, 'highest'::regclass) AND tgname LIKE '0_ddp%'";
    assert_eq!(fixture.psql(triggers).trim(), "0");
    fixture.psql("INSERT INTO high VALUES (16, 'x')");
    fixture.psql("UPDATE tasks SET v = 'end' WHERE id = 1");
    sees_only(&mut client, r#"~1 v:"end"; ~2 v:"old""#).await;
}

ddp_tests::over_both_feeds!(rows_of_a_partition_that_is_being_detached_are_gone);
