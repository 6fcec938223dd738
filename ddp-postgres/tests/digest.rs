//! What the checks of the catalogs notice, and what leaves them alone.

mod support;

use ddp_postgres::Table;
use ddp_postgres::testing::schema::{Layout, digest};
use support::{Database, run};

const SETUP: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN feeling AS mood;
    CREATE TYPE address AS (city text); CREATE COLLATION mine FROM \"C\";
    CREATE TABLE tasks (id int PRIMARY KEY, m feeling[], a address, t text COLLATE mine);
    CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (10);
    CREATE TABLE other (id int PRIMARY KEY, m mood); CREATE TYPE elsewhere AS ENUM ('a')";

/// Until then PostgreSQL may keep its counters to itself.
async fn flushed(database: &Database, layout: &Layout) -> String {
    run(&database.client, "SELECT pg_stat_force_next_flush()").await;
    digest(&database.client, layout).await.unwrap()
}

#[tokio::test]
async fn what_documents_depend_on_is_noticed() {
    let mut database = Database::new().await;
    database.run(SETUP).await;
    let layout = database.publish(&Table::new("tasks").all_columns()).await;
    let mut before = flushed(&database, &layout).await;
    for change in [
        "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
        "ALTER TYPE mood ADD VALUE 'new' BEFORE 'ok'",
        "CREATE FUNCTION written(mood) RETURNS json LANGUAGE sql AS 'SELECT ''7''::json';
        CREATE CAST (mood AS json) WITH FUNCTION written",
        "ALTER TYPE mood RENAME TO spirit",
        "CREATE SCHEMA types; ALTER DOMAIN feeling SET SCHEMA types",
        "ALTER SCHEMA types RENAME TO kinds",
        "ALTER TYPE address RENAME ATTRIBUTE city TO town",
        "ALTER TYPE address ADD ATTRIBUTE zip int",
        "ALTER COLLATION mine RENAME TO yours",
        "ALTER TABLE tasks ALTER COLUMN t TYPE text COLLATE \"C\"",
        "ALTER TABLE tasks ADD COLUMN n int",
        "CREATE UNIQUE INDEX ON tasks (t)",
        "ALTER TABLE tasks ADD FOREIGN KEY (id) REFERENCES other ON DELETE CASCADE",
        "ALTER TABLE tasks DROP CONSTRAINT tasks_id_fkey",
        "ALTER TABLE tasks DISABLE TRIGGER \"0_ddp_tasks_insert\"",
        "CREATE TABLE child () INHERITS (tasks)",
        "CREATE TABLE grandchild () INHERITS (child)",
        "DROP TABLE grandchild",
        // A temporary one, which was here and is gone.
        "CREATE TEMPORARY TABLE passing () INHERITS (tasks); DROP TABLE passing",
        "DROP TABLE child; CREATE TABLE child () INHERITS (tasks)",
        "ALTER TABLE child NO INHERIT tasks; ALTER TABLE child INHERIT tasks",
        "ALTER TABLE tasks RENAME TO old; ALTER TABLE other RENAME TO tasks",
        "DROP TABLE tasks",
    ] {
        database.run(change).await;
        let now = flushed(&database, &layout).await;
        assert_ne!(now, before, "{change}");
        before = now;
    }
}

#[tokio::test]
async fn a_partition_that_was_attached_again_leaves_its_mark() {
    let mut database = Database::new().await;
    database.run(SETUP).await;
    let layout = database.publish(&Table::new("parted").all_columns()).await;
    let before = digest(&database.client, &layout).await.unwrap();
    let again = "ALTER TABLE parted DETACH PARTITION low;
        ALTER TABLE parted ATTACH PARTITION low FOR VALUES FROM (0) TO (10)";
    database.run(again).await;
    assert_ne!(digest(&database.client, &layout).await.unwrap(), before);
}

/// Reading everything again is not free.
#[tokio::test]
async fn what_no_document_depends_on_is_passed_over() {
    let mut database = Database::new().await;
    database.run(SETUP).await;
    let tasks = database.publish(&Table::new("tasks").all_columns()).await;
    let parted = database.publish(&Table::new("parted").all_columns()).await;
    let before = (flushed(&database, &tasks).await, flushed(&database, &parted).await);
    for change in [
        "INSERT INTO tasks VALUES (1, '{sad}', '(x)', 't'); INSERT INTO parted VALUES (1)",
        "VACUUM ANALYZE",
        "TRUNCATE tasks, parted",
        "CREATE INDEX ON tasks (t)",
        "CREATE TABLE more (id int PRIMARY KEY); DROP TABLE more",
        "ALTER TYPE elsewhere RENAME VALUE 'a' TO 'b'",
        "DROP ROLE IF EXISTS digest_reader; CREATE ROLE digest_reader;
        GRANT SELECT ON tasks TO digest_reader; REVOKE SELECT ON tasks FROM digest_reader",
        "CREATE POLICY nobody ON tasks USING (false)",
        "CREATE FUNCTION nothing() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        // Messages and reads tell of it themselves.
        "CREATE TABLE high PARTITION OF parted FOR VALUES FROM (10) TO (20); DROP TABLE high",
    ] {
        for statement in change.split(';') {
            database.run(statement).await;
        }
        let now = (flushed(&database, &tasks).await, flushed(&database, &parted).await);
        assert_eq!(now, before, "{change}");
    }
    // Nor are the parts of other tables its own, if it never had any.
    database.run("CREATE TABLE child () INHERITS (other)").await;
    let now = (flushed(&database, &tasks).await, flushed(&database, &parted).await);
    assert_eq!(now, before);
}
