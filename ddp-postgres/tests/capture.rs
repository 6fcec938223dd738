//! What the triggers send for each kind of statement.

mod support;

use ddp_postgres::Feed;
use ddp_postgres::Table;
use ddp_postgres::testing::schema::Layout;
use ddp_postgres::testing::{Effect, Row};
use support::{Database, Listener, feed, run};

async fn tasks() -> (Database, Layout, Listener) {
    let mut database = Database::new().await;
    database.run("CREATE TABLE tasks (id int PRIMARY KEY, title text, secret text)").await;
    let table = Table::new("tasks").columns(["title"]);
    let layout = database.publish(&table).await;
    let listener = database.listen(&[&layout]).await;
    (database, layout, listener)
}

/// `MERGE`, or before PostgreSQL 15 a statement that does the same.
async fn merge(database: &Database) -> &'static str {
    let version = "SELECT current_setting('server_version_num')::int";
    if database.client.query_one(version, &[]).await.unwrap().get::<_, i32>(0) < 150_000 {
        return "WITH gone AS (DELETE FROM tasks WHERE id = 3),
            same AS (UPDATE tasks SET title = 'f' WHERE id = 1) INSERT INTO tasks VALUES (4, 'g')";
    }
    "MERGE INTO tasks t USING (VALUES (1, 'f'), (3, 'x'), (4, 'g')) AS s (id, title)
        ON t.id = s.id WHEN MATCHED AND t.id = 3 THEN DELETE
        WHEN MATCHED THEN UPDATE SET title = s.title
        WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.title)"
}

async fn statements_of_each_kind() {
    let (database, layout, mut listener) = tasks().await;
    let titles = [
        ("INSERT INTO tasks VALUES (1, 'a'), (2, 'b')", r#"~1="a" ~2="b""#),
        ("UPDATE tasks SET title = 'c' WHERE id = 1", r#"~1="c""#),
        ("DELETE FROM tasks WHERE id = 2", "~2=gone"),
        (
            "INSERT INTO tasks VALUES (1, 'x'), (3, 'd') ON CONFLICT (id) DO UPDATE SET title = 'e'",
            r#"~1="e" ~3="d""#,
        ),
        (merge(&database).await, r#"~1="f" ~3=gone ~4="g""#),
        ("TRUNCATE tasks", "truncated"),
        (
            "BEGIN; INSERT INTO tasks VALUES (7, 'a'); TRUNCATE tasks;
            INSERT INTO tasks VALUES (8, NULL); COMMIT",
            // A trigger of the same statement might have put the first one in again.
            "requery",
        ),
        (
            "WITH gone AS (DELETE FROM tasks WHERE id = 8 RETURNING id)
                INSERT INTO tasks SELECT id, 'again' FROM gone",
            "read ~8",
        ),
        (
            "BEGIN; INSERT INTO tasks VALUES (9); UPDATE tasks SET title = 'x' WHERE id = 9;
            DELETE FROM tasks WHERE id = 9; COMMIT",
            // All of it is one message of the client.
            "read ~9",
        ),
    ];
    for (sql, expected) in titles {
        database.run(sql).await;
        assert_eq!(listener.net(&layout).await, expected, "{sql}");
        assert!(!listener.payloads.iter().any(|p| p.contains("secret")), "{:?}", listener.payloads);
    }
}

async fn copy_and_statements_without_rows() {
    let (database, layout, mut listener) = tasks().await;
    for sql in [
        "UPDATE tasks SET title = 'x'",
        "DELETE FROM tasks",
        "INSERT INTO tasks SELECT 1 WHERE false",
        "INSERT INTO tasks VALUES (5, 'five')",
        "BEGIN; INSERT INTO tasks VALUES (6); ROLLBACK",
    ] {
        database.run(sql).await;
    }
    assert_eq!(listener.net(&layout).await, r#"~5="five""#);
    assert_eq!(listener.payloads.len(), 1);

    let sink = database.client.copy_in("COPY tasks FROM STDIN").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    let rows = bytes::Bytes::from_static(b"1\tone\ts\n2\t\\N\ts\n");
    futures::SinkExt::send(&mut sink, rows).await.unwrap();
    sink.finish().await.unwrap();
    assert_eq!(listener.net(&layout).await, r#"~1="one" ~2=null"#);
    assert_eq!(listener.payloads.len(), 1);
}

async fn keys_that_change() {
    let (database, layout, mut listener) = tasks().await;
    database.run("ALTER TABLE tasks DROP CONSTRAINT tasks_pkey").await;
    database.run("ALTER TABLE tasks ADD PRIMARY KEY (id) DEFERRABLE").await;
    database.run("INSERT INTO tasks SELECT i, i::text FROM generate_series(1, 3) i").await;
    listener.batches().await;
    for (sql, expected) in [
        ("UPDATE tasks SET id = id + 1", "read ~1 ~2 ~3 ~4"),
        ("UPDATE tasks SET id = 5 - id WHERE id IN (2, 3)", r#"~2="2" ~3="1""#),
        ("UPDATE tasks SET id = id, title = 'same' WHERE id = 4", r#"~4="same""#),
        (
            "BEGIN; UPDATE tasks SET id = 9 WHERE id = 4; UPDATE tasks SET title = 'n' WHERE id = 9;
            COMMIT",
            "read ~4 ~9",
        ),
        (
            "BEGIN; SAVEPOINT a; UPDATE tasks SET id = 10 WHERE id = 9; ROLLBACK TO a;
            UPDATE tasks SET title = 'o' WHERE id = 9; COMMIT",
            r#"~9="o""#,
        ),
    ] {
        database.run(sql).await;
        assert_eq!(listener.net(&layout).await, expected, "{sql}");
    }
    // A trigger of the application may change a key that the statement does not name.
    database
        .run(
            "CREATE FUNCTION rekey() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN NEW.id := NEW.id + 100; RETURN NEW; END';
            CREATE TRIGGER rekey BEFORE UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION rekey();
            UPDATE tasks SET title = 'p' WHERE id = 9",
        )
        .await;
    assert_eq!(listener.net(&layout).await, r#"~109="p" ~9=gone"#);

    database.run("TRUNCATE tasks; DROP TRIGGER rekey ON tasks").await;
    database.run("INSERT INTO tasks SELECT i FROM generate_series(1000, 5000) i").await;
    listener.batches().await;
    database.run("UPDATE tasks SET id = id + 1").await;
    let batches = listener.batches().await;
    assert_eq!(batches[0].unread().len(), 4002);
    database.run("UPDATE tasks SET id = id + 10000").await;
    assert_eq!(listener.net(&layout).await, "requery");
    database.run("UPDATE tasks SET title = 'q' WHERE id = 11001").await;
    assert_eq!(listener.net(&layout).await, r#"~11001="q""#);
}

async fn savepoints_and_equal_statements_keep_the_numbers_gapless() {
    let (database, layout, mut listener) = tasks().await;
    for sql in [
        "BEGIN",
        "INSERT INTO tasks VALUES (1, 'a')",
        "SAVEPOINT s",
        "UPDATE tasks SET title = 'b'",
        "UPDATE tasks SET title = 'c'",
        "ROLLBACK TO s",
        "INSERT INTO tasks VALUES (2, 'd')",
        "SAVEPOINT t",
        "UPDATE tasks SET title = 'e' WHERE id = 2",
        "RELEASE t",
        "DO 'BEGIN INSERT INTO tasks VALUES (3); RAISE division_by_zero;
            EXCEPTION WHEN division_by_zero THEN NULL; END'",
        "UPDATE tasks SET title = 'f' WHERE id = 2",
        "UPDATE tasks SET title = 'f' WHERE id = 2",
        "COMMIT",
    ] {
        database.run(sql).await;
    }
    assert_eq!(listener.net(&layout).await, r#"~1="a" ~2="f""#);
    let numbers: Vec<&str> =
        listener.payloads.iter().map(|payload| payload.split(' ').nth(1).unwrap()).collect();
    assert_eq!(numbers, ["1", "2", "3", "4", "5"]);
    // The number is forgotten with the transaction.
    database.run("UPDATE tasks SET title = 'g' WHERE id = 1").await;
    assert_eq!(listener.net(&layout).await, r#"~1="g""#);
}

async fn long_rows_come_in_parts() {
    let (database, layout, mut listener) = tasks().await;
    for text in ["repeat('é€𝄞\"\\', 60000)", "repeat('x', 1000000)", "repeat('aé', 3950)"] {
        database.run("TRUNCATE tasks").await;
        listener.batches().await;
        database.run(&format!("INSERT INTO tasks VALUES (1, {text}), (2, 'short')")).await;
        let batches = listener.batches().await;
        assert_eq!(batches.len(), 1);
        let is_in_parts = feed() == Feed::Notify;
        assert!(
            batches[0].effect != Effect::Requery && (listener.payloads.len() > 1) == is_in_parts
        );
        let are_short = listener.payloads.iter().all(|payload| payload.len() < 8000);
        assert_eq!(are_short, is_in_parts);
        let told: Vec<&str> =
            batches[0].changes().iter().map(|c| c.row.as_ref().unwrap().text()).collect();
        assert_eq!(told, database.rows(&layout).await);
    }
    let mut slack = 7_700;
    while slack < 8_100 {
        database.run(&format!("UPDATE tasks SET title = repeat('y', {slack}) WHERE id = 2")).await;
        let batches = listener.batches().await;
        assert_eq!(
            batches[0].changes()[0].row.as_ref().unwrap().value(1).unwrap().len(),
            slack + 2
        );
        slack += 7;
    }
}

async fn too_many_rows_or_bytes_ask_for_a_requery() {
    let (database, layout, mut listener) = tasks().await;
    database.run("INSERT INTO tasks SELECT i, 'a' FROM generate_series(1, 20000) i").await;
    assert_eq!(listener.net(&layout).await, "requery");
    database.run("UPDATE tasks SET title = 'b'").await;
    assert_eq!(listener.net(&layout).await, "requery");
    database.run("UPDATE tasks SET title = 'c' WHERE id <= 10000").await;
    assert_eq!(listener.batches().await[0].changes().len(), 10_000);
    database.run("DELETE FROM tasks WHERE id <= 10000").await;
    assert_eq!(listener.batches().await[0].changes().len(), 10_000);
    database.run("INSERT INTO tasks SELECT i FROM generate_series(1, 2) i").await;
    listener.batches().await;
    database.run("DELETE FROM tasks").await;
    assert_eq!(listener.net(&layout).await, "requery");
    assert_eq!(listener.payloads.len(), 1);
    for text in ["repeat('x', 2000000)", "repeat(chr(1), 1000000)"] {
        database.run(&format!("INSERT INTO tasks VALUES (1, {text})")).await;
        assert_eq!(listener.net(&layout).await, "requery");
        database.run("DELETE FROM tasks").await;
        listener.batches().await;
    }
}

async fn cascades_and_several_tables_in_one_transaction() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE lists (id uuid PRIMARY KEY, name text);
            CREATE TABLE tasks (id bigserial PRIMARY KEY, list uuid REFERENCES lists
                ON DELETE CASCADE ON UPDATE CASCADE, parent bigint REFERENCES tasks ON DELETE CASCADE)",
        )
        .await;
    let lists = database.publish(&Table::new("lists").all_columns()).await;
    let tasks = database.publish(&Table::new("tasks").string_ids().columns(["list"])).await;
    let mut listener = database.listen(&[&lists, &tasks]).await;
    let (a, b) = ("aaaaaaaa-0000-0000-0000-000000000000", "bbbbbbbb-0000-0000-0000-000000000000");
    database
        .run(&format!(
            "BEGIN; INSERT INTO lists VALUES ('{a}', 'l');
            INSERT INTO tasks (list, parent) VALUES ('{a}', NULL), ('{a}', 1); COMMIT"
        ))
        .await;
    let told = listener.batches().await;
    assert_eq!(net_of(&lists, &told[0]), format!("{a}=\"l\""));
    assert_eq!(net_of(&tasks, &told[1]), format!("1=\"{a}\" 2=\"{a}\""));
    assert_eq!(told[0].xid, told[1].xid);
    database.run(&format!("UPDATE lists SET id = '{b}'")).await;
    let told = listener.batches().await;
    let mut words: Vec<String> = told
        .iter()
        .map(|t| net_of(if *t.collection == *"lists" { &lists } else { &tasks }, t))
        .collect();
    words.sort();
    assert_eq!(words, [format!("1=\"{b}\" 2=\"{b}\""), format!("{a}=gone {b}=\"l\"")]);
    database.run("DELETE FROM lists").await;
    let told = listener.batches().await;
    let tasks_told = told.iter().find(|batch| *batch.collection == *"tasks").unwrap();
    assert!(tasks_told.effect == Effect::Requery || net_of(&tasks, tasks_told) == "1=gone 2=gone");
}

fn net_of(layout: &Layout, batch: &ddp_postgres::testing::Batch) -> String {
    support::net(layout, batch)
}

async fn changes_by_the_application_s_own_triggers_are_the_last_word() {
    let (database, layout, mut listener) = tasks().await;
    database
        .run(
            "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                UPDATE tasks SET title = upper(title) WHERE title <> upper(title); RETURN NULL; END $$;
            CREATE TRIGGER shout AFTER INSERT ON tasks FOR EACH STATEMENT EXECUTE FUNCTION shout();
            INSERT INTO tasks VALUES (1, 'a')",
        )
        .await;
    assert_eq!(listener.net(&layout).await, "read ~1");
    // A row trigger runs before the statement trigger: its change is sent first, but is the newer
    // one.
    database
        .run(
            "DROP TRIGGER shout ON tasks;
            CREATE TRIGGER shout AFTER INSERT ON tasks FOR EACH ROW EXECUTE FUNCTION shout();
            INSERT INTO tasks VALUES (2, 'b')",
        )
        .await;
    assert_eq!(listener.net(&layout).await, "read ~2");
}

async fn the_order_within_a_statement_is_not_trusted() {
    let (database, layout, mut listener) = tasks().await;
    database
        .run(
            "CREATE FUNCTION put(int, text) RETURNS int LANGUAGE sql AS
                'INSERT INTO tasks VALUES ($1, $2) RETURNING id';
            CREATE FUNCTION drop_and_put(int, text) RETURNS int LANGUAGE plpgsql AS
                'BEGIN DELETE FROM tasks WHERE id = $1; RETURN put($1, $2); END';
            INSERT INTO tasks VALUES (9, 'a'), (10, 'b'), (11, 'c')",
        )
        .await;
    listener.batches().await;
    for (sql, expected) in [
        (
            "WITH gone AS (DELETE FROM tasks WHERE id = 9 RETURNING id),
                back AS (INSERT INTO tasks SELECT id, 'new' FROM gone RETURNING id)
            DELETE FROM tasks WHERE id = 10 AND (SELECT count(*) FROM back) > 0",
            "read ~10 ~9",
        ),
        ("DELETE FROM tasks WHERE id = 9 RETURNING put(id, 'back')", "read ~9"),
        ("SELECT drop_and_put(9, 'again')", "read ~9"),
        // Each row in one message only.
        ("DELETE FROM tasks WHERE id = 9 RETURNING put(id + 20, 'x')", r#"~29="x" ~9=gone"#),
        ("SELECT put(9, 'y')", r#"~9="y""#),
        (
            "MERGE INTO tasks USING (VALUES (9), (12)) AS v (id) ON tasks.id = v.id
            WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (v.id, 'm')",
            r#"~12="m" ~9=gone"#,
        ),
        (
            "INSERT INTO tasks VALUES (12, 'n'), (13, 'n') ON CONFLICT (id) DO UPDATE SET title = 'o'",
            r#"~12="o" ~13="n""#,
        ),
    ] {
        database.run(sql).await;
        assert_eq!(listener.net(&layout).await, expected, "{sql}");
    }
    // One statement of the client after the other.
    for sql in [
        "BEGIN",
        "UPDATE tasks SET title = 'p' WHERE id = 12",
        "SELECT put(14, 'q')",
        "DELETE FROM tasks WHERE id = 12",
        "SELECT put(12, 'r')",
        "COMMIT",
    ] {
        database.run(sql).await;
    }
    assert_eq!(listener.net(&layout).await, r#"~12="r" ~14="q""#);
}

async fn keys_that_cascades_change_are_read() {
    let mut database = Database::new().await;
    database
        .run(
            "CREATE TABLE tasks (a int, b int, up int, PRIMARY KEY (a, b),
                FOREIGN KEY (a, up) REFERENCES tasks ON UPDATE CASCADE);
            INSERT INTO tasks VALUES (1, 1, NULL), (1, 2, 1), (1, 3, 2)",
        )
        .await;
    let layout = database.publish(&Table::new("tasks").all_columns()).await;
    let mut listener = database.listen(&[&layout]).await;
    database.run("UPDATE tasks SET a = 2 WHERE b = 1").await;
    let told = listener.net(&layout).await;
    assert!(told.starts_with("read ") && told.split(' ').count() == 7, "{told}");
    database.run("INSERT INTO tasks VALUES (5, 5, NULL)").await;
    assert!(listener.net(&layout).await.ends_with("=5,5,null"));
    database.run("UPDATE tasks SET a = 6 WHERE a = 5").await;
    assert!(!listener.net(&layout).await.starts_with("read"), "one row cannot move twice");
}

async fn other_encodings() {
    for encoding in ["LATIN1", "EUC_JP", "SQL_ASCII"] {
        let options =
            format!("ENCODING '{encoding}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
        let mut database = Database::with(&options).await;
        database.run("CREATE TABLE tasks (id int PRIMARY KEY, title text)").await;
        let layout = database.publish(&Table::new("tasks").all_columns()).await;
        let mut listener = database.listen(&[&layout]).await;
        let letter = if encoding == "EUC_JP" { "日" } else { "é" };
        database
            .run(&format!(
                "INSERT INTO tasks VALUES (1, repeat('{letter}x', 9000)), (2, '{letter}')"
            ))
            .await;
        let batches = listener.batches().await;
        let told: Vec<&str> =
            batches[0].changes().iter().map(|c| c.row.as_ref().unwrap().text()).collect();
        assert_eq!(told, database.rows(&layout).await, "{encoding}");
        assert_eq!(
            batches[0].changes()[1].row.as_ref().unwrap().value(1),
            Some(&*format!("\"{letter}\""))
        );
    }
}

async fn a_writer_needs_no_privileges_and_can_fool_nobody() {
    let (database, layout, mut listener) = tasks().await;
    // Roles are shared by the whole cluster.
    let clerk_role = format!("clerk_{:?}", feed()).to_lowercase();
    database
        .run(&format!(
            "CREATE ROLE {clerk_role};
            GRANT INSERT, UPDATE, DELETE, SELECT, TRUNCATE ON tasks TO {clerk_role};
            CREATE SCHEMA evil AUTHORIZATION {clerk_role}"
        ))
        .await;
    let clerk = database.connect().await;
    let set = format!("SET ROLE {clerk_role}; SET search_path = evil, public, pg_catalog");
    run(&clerk, &set).await;
    run(
        &clerk,
        "CREATE FUNCTION evil.concat(VARIADIC text[]) RETURNS text LANGUAGE sql AS $$ SELECT 'evil' $$;
        CREATE FUNCTION evil.to_json(public.tasks) RETURNS json LANGUAGE sql AS $$ SELECT '{}'::json $$;
        CREATE FUNCTION evil.never(int, int) RETURNS bool LANGUAGE sql AS $$ SELECT false $$;
        CREATE FUNCTION evil.never(bigint, int) RETURNS bool LANGUAGE sql AS $$ SELECT false $$;
        CREATE FUNCTION evil.nothing(int, int) RETURNS int LANGUAGE sql AS $$ SELECT 0 $$;
        CREATE OPERATOR evil.= (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.never);
        CREATE OPERATOR evil.> (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.never);
        CREATE OPERATOR evil.<= (LEFTARG = bigint, RIGHTARG = int, FUNCTION = evil.never);
        CREATE OPERATOR evil.+ (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.nothing);
        CREATE TABLE evil.ddp_new AS SELECT 666 AS id, 'evil' AS title;
        CREATE TABLE evil.ddp_old AS SELECT 666 AS id, 'evil' AS title",
    )
    .await;
    for (sql, expected) in [
        ("INSERT INTO tasks VALUES (1, 'a'), (2, repeat('b', 10000))", None),
        ("UPDATE tasks SET title = 'b' WHERE id OPERATOR(pg_catalog.=) 1", Some(r#"~1="b""#)),
        ("UPDATE tasks SET id = 3 WHERE id OPERATOR(pg_catalog.=) 1", Some(r#"~1=gone ~3="b""#)),
        ("DELETE FROM tasks WHERE id OPERATOR(pg_catalog.=) 3", Some("~3=gone")),
        ("TRUNCATE tasks", Some("truncated")),
    ] {
        run(&clerk, sql).await;
        let told = listener.net(&layout).await;
        assert!(expected.is_none_or(|expected| told == expected), "{sql}: {told}");
        assert!(!told.contains("evil") && !told.contains("requery"), "{sql}: {told}");
    }
}

async fn a_table_that_is_altered_stays_writable() {
    let (mut database, layout, mut listener) = tasks().await;
    database.run("INSERT INTO tasks VALUES (1, 'a'); ALTER TABLE tasks RENAME title TO name").await;
    listener.batches().await;
    for sql in [
        "UPDATE tasks SET name = 'b'",
        "UPDATE tasks SET id = 2",
        "INSERT INTO tasks VALUES (3)",
        "BEGIN; UPDATE tasks SET id = id + 10; UPDATE tasks SET name = 'c'; TRUNCATE tasks; COMMIT",
        "ALTER TABLE tasks RENAME id TO key; INSERT INTO tasks VALUES (4); UPDATE tasks SET key = 5",
        "DELETE FROM tasks",
    ] {
        database.run(sql).await;
        let told = listener.batches().await;
        assert!(
            !told.is_empty() && told.iter().all(|batch| batch.effect == Effect::Requery),
            "{sql}: {told:?}"
        );
    }
    assert!(Row::parse(&layout, r#"{"id":1,"name":"b"}"#).is_err());
    let renamed = database.publish(&Table::new("tasks").columns(["name"])).await;
    database.run("INSERT INTO tasks VALUES (6, 'f')").await;
    assert_eq!(listener.net(&renamed).await, "requery");
    let mut listener = database.listen(&[&renamed]).await;
    database.run("UPDATE tasks SET key = 7").await;
    assert_eq!(listener.net(&renamed).await, r#"~6=gone ~7="f""#);
}

over_both_feeds!(
    statements_of_each_kind,
    copy_and_statements_without_rows,
    keys_that_change,
    savepoints_and_equal_statements_keep_the_numbers_gapless,
    long_rows_come_in_parts,
    too_many_rows_or_bytes_ask_for_a_requery,
    cascades_and_several_tables_in_one_transaction,
    changes_by_the_application_s_own_triggers_are_the_last_word,
    the_order_within_a_statement_is_not_trusted,
    keys_that_cascades_change_are_read,
    other_encodings,
    a_writer_needs_no_privileges_and_can_fool_nobody,
    a_table_that_is_altered_stays_writable,
);
