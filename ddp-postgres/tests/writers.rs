//! What the triggers meet at writers: nothing of it fails a statement.

mod support;

use ddp_postgres::Table;
use ddp_postgres::testing::schema::Layout;
use support::{Database, Listener, feed, run};
use tokio_postgres::Client;

/// Without operators of their own, which may be revoked as well: with one row and with several, with
/// keys that move, and with more than one message takes.
const STATEMENTS: [&str; 7] = [
    "INSERT INTO tasks VALUES (1, 'a')",
    "UPDATE tasks SET title = 'b'",
    "UPDATE tasks SET id = 2",
    "INSERT INTO tasks VALUES (3, 'c'), (4, 'd')",
    "UPDATE tasks SET title = 'e'",
    "DELETE FROM tasks",
    "TRUNCATE tasks",
];

async fn tasks() -> (Database, Layout, Listener) {
    let mut database = Database::new().await;
    database.run("CREATE TABLE tasks (id int PRIMARY KEY, title text, secret text)").await;
    let layout = database.publish(&Table::new("tasks").columns(["title"])).await;
    let listener = database.listen(&[&layout]).await;
    (database, layout, listener)
}

/// A session of a role that may do nothing but write to the table.
async fn clerk(database: &Database, name: &str) -> Client {
    // Roles are shared by the whole cluster.
    let role = format!("{name}_{:?}", feed()).to_lowercase();
    database
        .run(&format!(
            "CREATE ROLE {role}; REVOKE ALL ON SCHEMA public FROM PUBLIC; REVOKE ALL ON DATABASE {} FROM PUBLIC;
            REVOKE ALL ON LANGUAGE plpgsql FROM PUBLIC; REVOKE ALL ON ALL FUNCTIONS IN SCHEMA ddp FROM PUBLIC;
            GRANT USAGE ON SCHEMA public TO {role};
            GRANT INSERT, UPDATE, DELETE, SELECT, TRUNCATE ON tasks TO {role}",
            database.name
        ))
        .await;
    let clerk = database.connect().await;
    run(&clerk, &format!("SET ROLE {role}")).await;
    clerk
}

async fn whatever_our_settings_hold() {
    let (database, layout, mut listener) = tasks().await;
    let clerk = clerk(&database, "junk").await;
    let setting = "SELECT (regexp_match(prosrc, 'ddp\\.s_[0-9a-f]+'))[1] FROM pg_proc
        WHERE pronamespace = 'ddp'::regnamespace AND proname LIKE 'tasks_insert%'";
    let setting: String = database.client.query_one(setting, &[]).await.unwrap().get(0);
    let junk =
        ["", " ", "x", "-", "0x10", "1e5", "½", "-9223372036854775808", "9223372036854775807"];
    for junk in junk.into_iter().chain(["99999999999999999999", "-1", "4294967296000"]) {
        for statement in STATEMENTS {
            let sql = format!(
                "BEGIN; SET ddp.unknown = '{junk}'; SET LOCAL {setting} = '{junk}'; {statement}; COMMIT"
            );
            clerk
                .batch_execute(&sql)
                .await
                .unwrap_or_else(|e| panic!("{junk:?}: {statement}: {e:?}"));
        }
        // What a session has set for good, for a transaction of several messages.
        run(&clerk, &format!("SET {setting} = '{junk}'")).await;
        for statement in STATEMENTS {
            clerk.batch_execute(statement).await.unwrap_or_else(|e| panic!("{statement}: {e:?}"));
        }
        run(&clerk, &format!("RESET {setting}")).await;
        // Each change was told, if only as something to be read again.
        assert!(listener.assembled().await.len() >= STATEMENTS.len(), "{junk:?}");
        run(&clerk, STATEMENTS[0]).await;
        assert_eq!(listener.net(&layout).await, r#"~1="a""#, "after {junk:?}");
        run(&clerk, STATEMENTS[6]).await;
        listener.assembled().await;
    }
}

/// Each function that the triggers call, in turn and together.
async fn whatever_is_revoked_from_public() {
    let (database, layout, mut listener) = tasks().await;
    let clerk = clerk(&database, "revoked").await;
    let called = "SELECT DISTINCT p.oid::regprocedure::text, p.proname::text
        FROM pg_proc f, regexp_matches(f.prosrc, 'pg_catalog\\.(\\w+)\\(', 'g') AS name
            JOIN pg_proc p ON p.proname = name[1] AND p.pronamespace = 'pg_catalog'::regnamespace
        WHERE f.pronamespace = 'ddp'::regnamespace AND f.proname LIKE 'tasks%'
            AND p.prokind IN ('f', 'a') ORDER BY 1";
    let called = database.client.query(called, &[]).await.unwrap();
    let functions: Vec<String> = called.iter().map(|row| row.get(0)).collect();
    assert!(functions.len() > 30, "{functions:?}");
    let writes = async |what: &str| {
        for statement in STATEMENTS {
            let result = clerk.batch_execute(statement).await;
            result.unwrap_or_else(|error| panic!("{what}: {statement}: {error:?}"));
        }
    };
    for function in &functions {
        database.run(&format!("REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")).await;
        writes(function).await;
        database.run(&format!("GRANT EXECUTE ON FUNCTION {function} TO PUBLIC")).await;
    }
    let all = functions.join(", ");
    database.run(&format!("REVOKE EXECUTE ON FUNCTION {all} FROM PUBLIC")).await;
    writes("all").await;
    database.run(&format!("GRANT EXECUTE ON FUNCTION {all} TO PUBLIC")).await;
    listener.assembled().await;
    run(&clerk, STATEMENTS[0]).await;
    assert_eq!(listener.net(&layout).await, r#"~1="a""#, "the same session tells again");
}

over_both_feeds!(whatever_our_settings_hold, whatever_is_revoked_from_public);
