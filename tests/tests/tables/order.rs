//! Changes whose messages come in another order than they were made, or that share keys.

use ddp_postgres::{Feed, Table};

use super::{Fixture, sees};

const SETUP: &str = "
    CREATE TABLE tasks (id int PRIMARY KEY, title text);
    CREATE FUNCTION put(int, text) RETURNS int LANGUAGE sql AS
        'INSERT INTO tasks VALUES ($1, $2) RETURNING id';
    CREATE FUNCTION take(int) RETURNS int LANGUAGE sql AS
        'DELETE FROM tasks WHERE id = $1 RETURNING id';
    CREATE FUNCTION rename(int, text) RETURNS int LANGUAGE sql AS
        'UPDATE tasks SET title = $2 WHERE id = $1 RETURNING id';
    CREATE FUNCTION move(int, int) RETURNS int LANGUAGE sql AS
        'UPDATE tasks SET id = $2 WHERE id = $1 RETURNING id'";

/// After each change the client has what the table has.
async fn follows(feed: Feed, name: &str, setup: &str, table: Table, changes: &[&str]) {
    let name = ddp_tests::database::name(&format!("order_{name}"), feed);
    let fixture = Fixture::over(&name, setup, table, feed).await;
    let mut client = fixture.client().await;
    for (number, change) in changes.iter().enumerate() {
        fixture.psql("TRUNCATE tasks");
        fixture.psql("INSERT INTO tasks SELECT i, 'old' || i FROM generate_series(1, 12) i");
        if change.starts_with("BEGIN") {
            // Each statement in a message of its own.
            ddp_tests::database::psql_script(&fixture.database, change);
        } else {
            fixture.psql(change);
        }
        // What comes after the change shows that the client has that, too, except for what else was
        // read along with it: those documents come one by one.
        let end = 1000 + number;
        fixture.psql(&format!("INSERT INTO tasks VALUES ({end}, 'end')"));
        let id = format!("~{end}");
        client.until(change, |client| client.documents("tasks").contains_key(&id)).await;
        let rows = "SELECT string_agg(format('~%s title:%s', id, to_json(title)), '; '
            ORDER BY ('~' || id) COLLATE \"C\") FROM tasks";
        sees(&mut client, fixture.psql(rows).trim()).await;
    }
}

const TWINS: [&str; 4] = [
    "BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE tasks SET id = 2 WHERE title = 'old1';
     UPDATE tasks SET id = 1 WHERE title = 'old2'; COMMIT",
    "BEGIN; SET CONSTRAINTS ALL DEFERRED; INSERT INTO tasks VALUES (3, 'twin');
     DELETE FROM tasks WHERE title = 'old3'; COMMIT",
    "UPDATE tasks SET id = 13 - id",
    "UPDATE tasks SET id = id + 1",
];

const STATEMENTS: [&str; 10] = [
    "WITH gone AS (DELETE FROM tasks WHERE id = 9 RETURNING id),
        back AS (INSERT INTO tasks SELECT id, 'new' FROM gone RETURNING id)
     DELETE FROM tasks WHERE id = 10 AND (SELECT count(*) FROM back) > 0",
    // A job that its own RETURNING puts back.
    "DELETE FROM tasks WHERE id < 4 RETURNING put(id, 'back')",
    "UPDATE tasks SET title = 'outer' WHERE id = 5 RETURNING rename(7, 'inner'), take(8)",
    "SELECT take(3), put(3, 'a'), rename(3, 'b'), take(3), put(3, 'c')",
    "INSERT INTO tasks SELECT take(i), 'again' FROM generate_series(4, 6) i",
    "WITH a AS (UPDATE tasks SET title = 'a' WHERE id = 1 RETURNING id),
        b AS (INSERT INTO tasks VALUES (20, 'b') RETURNING id)
     SELECT take(20), put(20, 'c') FROM a, b",
    "SELECT move(1, 50), move(2, 1), move(50, 2)",
    "DO 'BEGIN DELETE FROM tasks WHERE id = 4; INSERT INTO tasks VALUES (4, ''do'');
        BEGIN DELETE FROM tasks WHERE id = 4; RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN NULL; END; END'",
    "MERGE INTO tasks USING (SELECT i AS id FROM generate_series(1, 30) i) AS v ON tasks.id = v.id
     WHEN MATCHED AND v.id < 5 THEN DELETE WHEN MATCHED THEN UPDATE SET title = 'm' || take(v.id - 4)
     WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'n')",
    "BEGIN; SELECT take(6); SELECT put(6, 'x'); TRUNCATE tasks; SELECT put(6, 'y'), rename(6, 'z');
     COMMIT",
];

async fn one_statement_with_several_changes(feed: Feed) {
    follows(feed, "statement", SETUP, Table::new("tasks").all_columns(), &STATEMENTS).await;
}

async fn keys_that_two_rows_have_until_the_transaction_ends(feed: Feed) {
    let setup = SETUP.replace("PRIMARY KEY", "PRIMARY KEY DEFERRABLE");
    follows(feed, "deferrable", &setup, Table::new("tasks").all_columns(), &STATEMENTS).await;
    follows(feed, "deferrable_twins", &setup, Table::new("tasks").all_columns(), &TWINS).await;
}

async fn keys_that_parent_and_child_share(feed: Feed) {
    let setup = format!("{SETUP}; CREATE TABLE done (PRIMARY KEY (id)) INHERITS (tasks)");
    let changes = [
        "BEGIN; INSERT INTO done SELECT * FROM ONLY tasks WHERE id = 3;
        DELETE FROM ONLY tasks WHERE id = 3; COMMIT",
        "BEGIN; INSERT INTO done SELECT * FROM ONLY tasks WHERE id < 5;
        UPDATE done SET title = 'done'; DELETE FROM ONLY tasks WHERE id < 5; COMMIT",
    ];
    follows(feed, "inherited", &setup, Table::new("tasks").all_columns(), &changes).await;
}

async fn keys_that_are_computed_from_what_cascades_change(feed: Feed) {
    let setup = "CREATE TABLE other (k int PRIMARY KEY); INSERT INTO other VALUES (1), (2), (3);
        CREATE TABLE tasks (id int GENERATED ALWAYS AS (coalesce(a, 0) * 100 + coalesce(b, 0) * 10 + n) STORED PRIMARY KEY,
            title text, a int REFERENCES other ON UPDATE CASCADE, b int REFERENCES other ON UPDATE CASCADE, n int)";
    let name = ddp_tests::database::name("order_computed", feed);
    let table = Table::new("tasks").columns(["title"]);
    let fixture = Fixture::over(&name, setup, table, feed).await;
    let mut client = fixture.client().await;
    fixture.psql("INSERT INTO tasks (title, a, b, n) VALUES ('x', 1, 1, 0), ('y', 2, 3, 1)");
    fixture.psql("UPDATE other SET k = 5 WHERE k = 1");
    fixture.psql("INSERT INTO tasks (title, n) VALUES ('end', 1)");
    super::sees(&mut client, r#"~1 title:"end"; ~231 title:"y"; ~550 title:"x""#).await;
}

/// Moves between partitions that PostgreSQL's statement triggers are told nothing of.
const MOVES: [&str; 8] = [
    "MERGE INTO tasks USING (VALUES (1)) v (i) ON id = i WHEN MATCHED THEN UPDATE SET id = 30",
    "MERGE INTO tasks USING tasks s ON tasks.id = s.id
     WHEN MATCHED AND s.id < 3 THEN UPDATE SET id = s.id + 30
     WHEN MATCHED AND s.id < 6 THEN UPDATE SET id = s.id + 40, title = 'moved'
     WHEN MATCHED THEN UPDATE SET title = 'stayed'",
    "MERGE INTO high USING (VALUES (8)) v (i) ON id = i WHEN MATCHED THEN UPDATE SET id = 45",
    "MERGE INTO tasks USING (VALUES (1), (2), (50)) v (i) ON id = i WHEN MATCHED AND id = 2 THEN DELETE
     WHEN MATCHED THEN UPDATE SET id = 46 WHEN NOT MATCHED THEN INSERT VALUES (i, 'n')",
    "SELECT merged(2, 31)",
    "DO 'BEGIN MERGE INTO tasks USING (VALUES (3)) v (i) ON id = i
        WHEN MATCHED THEN UPDATE SET id = 47; END'",
    "BEGIN; PREPARE moving AS
     MERGE INTO tasks USING (VALUES (4)) v (i) ON id = i WHEN MATCHED THEN UPDATE SET id = 32;
     EXECUTE moving; UPDATE tasks SET title = 'again' WHERE id = 32; COMMIT",
    "BEGIN; SAVEPOINT s; MERGE INTO tasks USING (VALUES (4)) v (i) ON id = i
     WHEN MATCHED THEN UPDATE SET id = 33; ROLLBACK TO s; UPDATE tasks SET id = 34 WHERE id = 5;
     MERGE INTO tasks USING (VALUES (34)) v (i) ON id = i WHEN MATCHED THEN UPDATE SET id = 5; COMMIT",
];

const PARTED: &str = "
    CREATE TABLE tasks (id int PRIMARY KEY, title text) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF tasks FOR VALUES FROM (0) TO (7);
    CREATE TABLE high PARTITION OF tasks FOR VALUES FROM (7) TO (10000) PARTITION BY RANGE (id);
    CREATE TABLE higher PARTITION OF high FOR VALUES FROM (7) TO (40);
    CREATE TABLE highest PARTITION OF high FOR VALUES FROM (40) TO (10000);
    CREATE FUNCTION merged(int, int) RETURNS void LANGUAGE sql AS
        'MERGE INTO tasks USING (VALUES ($1)) v (i) ON id = i WHEN MATCHED THEN UPDATE SET id = $2'";

async fn rows_that_a_merge_moves(feed: Feed) {
    follows(feed, "merge", PARTED, Table::new("tasks").all_columns(), &MOVES).await;
    let by_keys = Table::new("tasks").all_columns().keys_only();
    follows(feed, "merge_keys", PARTED, by_keys, &MOVES).await;
}

/// What certainly is no MERGE is told by itself, and whatever sets another column.
async fn rows_that_an_update_moves_are_told(feed: Feed) {
    let name = ddp_tests::database::name("order_moved", feed);
    let fixture = Fixture::over(&name, PARTED, Table::new("tasks").all_columns(), feed).await;
    let mut client = fixture.client().await;
    fixture.psql("INSERT INTO tasks VALUES (1, 'a')");
    sees(&mut client, r#"~1 title:"a""#).await;
    let requeries = fixture.db.stats().requeries;
    let session = ddp_tests::database::connect(&fixture.database).await;
    for (change, expected) in [
        ("UPDATE tasks SET id = 20 WHERE id = 1", r#"~20 title:"a""#),
        ("WITH v AS (SELECT 2 AS i) UPDATE tasks SET id = i FROM v", r#"~2 title:"a""#),
        ("DO 'BEGIN UPDATE tasks SET id = 21; END'", r#"~21 title:"a""#),
        ("UPDATE tasks SET title = 'execute MERGE'", r#"~21 title:"execute MERGE""#),
        (
            "MERGE INTO tasks USING (VALUES (21)) v (i) ON id = i WHEN MATCHED THEN UPDATE SET title = 'm'",
            r#"~21 title:"m""#,
        ),
    ] {
        fixture.psql(change);
        sees(&mut client, expected).await;
    }
    session.execute("UPDATE tasks SET id = $1", &[&60]).await.unwrap();
    sees(&mut client, r#"~60 title:"m""#).await;
    assert_eq!(fixture.db.stats().requeries, requeries);
}

async fn rows_that_a_truncation_s_own_triggers_put_in(feed: Feed) {
    let setup = format!(
        "{SETUP}; CREATE TABLE other (id int);
        CREATE FUNCTION refill() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN INSERT INTO tasks VALUES (77, ''again'') ON CONFLICT DO NOTHING; RETURN NULL; END';
        CREATE TRIGGER refill AFTER TRUNCATE ON other EXECUTE FUNCTION refill();
        CREATE TRIGGER \"00\" AFTER TRUNCATE ON tasks EXECUTE FUNCTION refill()"
    );
    follows(
        feed,
        "truncate",
        &setup,
        Table::new("tasks").all_columns(),
        &["TRUNCATE other, tasks", "TRUNCATE tasks"],
    )
    .await;
}

async fn one_statement_with_several_changes_by_keys(feed: Feed) {
    follows(feed, "keys", SETUP, Table::new("tasks").all_columns().keys_only(), &STATEMENTS).await;
}

async fn triggers_of_the_application_that_change_the_same_table(feed: Feed) {
    let setup = format!(
        "{SETUP};
        CREATE FUNCTION after() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.title = 'twice' THEN UPDATE tasks SET title = 'once' WHERE id = NEW.id; END IF;
            IF NEW.title = 'not' THEN DELETE FROM tasks WHERE id = NEW.id; END IF;
            IF NEW.title = 'move' THEN UPDATE tasks SET id = id + 100 WHERE id = NEW.id; END IF;
            RETURN NULL; END $$;
        CREATE TRIGGER after AFTER INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION after();
        CREATE FUNCTION before() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF NEW.title = 'next' THEN PERFORM rename(NEW.id + 1, 'changed before'); END IF;
            RETURN NEW; END $$;
        CREATE TRIGGER before BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION before()"
    );
    let changes = [
        "INSERT INTO tasks VALUES (20, 'twice'), (21, 'not')",
        "UPDATE tasks SET title = 'twice' WHERE id IN (3, 4)",
        "UPDATE tasks SET title = 'not' WHERE id = 5",
        "UPDATE tasks SET title = 'next' WHERE id IN (1, 7)",
        "INSERT INTO tasks VALUES (30, 'next'), (31, 'twice') ON CONFLICT DO NOTHING",
    ];
    follows(feed, "triggers", &setup, Table::new("tasks").all_columns(), &changes).await;
}

async fn cascades_to_the_same_table(feed: Feed) {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, title text,
            up int REFERENCES tasks ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
        CREATE FUNCTION tree() RETURNS void LANGUAGE sql AS
            'UPDATE tasks SET up = id - 1 WHERE id BETWEEN 2 AND 6'";
    let name = ddp_tests::database::name("order_cascades", feed);
    let fixture = Fixture::over(&name, setup, Table::new("tasks").columns(["title", "up"]), feed);
    let fixture = fixture.await;
    let mut client = fixture.client().await;
    for (number, change) in [
        "SELECT tree(); UPDATE tasks SET id = 40 WHERE id = 1",
        "SELECT tree(); UPDATE tasks SET id = id + 100, title = 'moved' WHERE id < 7",
        "SELECT tree(); DELETE FROM tasks WHERE id = 3",
        "SELECT tree(); WITH a AS (DELETE FROM tasks WHERE id = 4) UPDATE tasks SET title = 'a' WHERE id > 4",
    ]
    .iter()
    .enumerate()
    {
        fixture.psql("TRUNCATE tasks; INSERT INTO tasks SELECT i, 't' FROM generate_series(1, 8) i");
        fixture.psql(change);
        let end = 1000 + number;
        fixture.psql(&format!("INSERT INTO tasks VALUES ({end}, 'end')"));
        let id = format!("~{end}");
        client.until(change, |client| client.documents("tasks").contains_key(&id)).await;
        let rows = "SELECT string_agg(format('~%s title:%s,up:%s', id, to_json(title),
            coalesce(up::text, 'null')), '; ' ORDER BY ('~' || id) COLLATE \"C\") FROM tasks";
        sees(&mut client, fixture.psql(rows).trim()).await;
    }
}

ddp_tests::over_both_feeds!(
    one_statement_with_several_changes,
    one_statement_with_several_changes_by_keys,
    keys_that_two_rows_have_until_the_transaction_ends,
    keys_that_parent_and_child_share,
    keys_that_are_computed_from_what_cascades_change,
    rows_that_a_truncation_s_own_triggers_put_in,
    triggers_of_the_application_that_change_the_same_table,
    cascades_to_the_same_table,
    rows_that_a_merge_moves,
    rows_that_an_update_moves_are_told,
);
