//! Describing tables, and installing their triggers once.

mod support;

use ddp_postgres::Table;
use ddp_postgres::testing::schema::{Error, Layout, describe, install, uninstall};
use ddp_postgres::testing::value::ValueKind;
use support::{Database, cluster, net, run};

/// The triggers and functions, with the transactions that created them.
async fn installed(database: &Database) -> Vec<String> {
    let sql = "SELECT t.tgname || t.xmin::text FROM pg_trigger t WHERE t.tgname LIKE '0_ddp%'
        UNION ALL SELECT p.proname || p.xmin::text FROM pg_proc p
        WHERE p.pronamespace = to_regnamespace('ddp') AND p.proname <> 'foreign_parts' ORDER BY 1";
    let rows = database.client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_second_installation_does_nothing() {
    let mut database = Database::new().await;
    database.run("CREATE TABLE tasks (id int PRIMARY KEY, a text, b text)").await;
    let table = Table::new("tasks").columns(["a"]);
    let layout = database.publish(&table).await;
    let before = installed(&database).await;
    assert_eq!(before.len(), 8);

    // Any lock on the table would wait for this one.
    let mut other = database.connect().await;
    let holder = other.transaction().await.unwrap();
    holder.batch_execute("LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE").await.unwrap();
    database.publish(&table).await;
    assert_eq!(installed(&database).await, before);

    let layout_b = changed(&database, "b").await;
    let error = install(&mut database.client, std::slice::from_ref(&layout_b)).await.unwrap_err();
    assert!(matches!(&error, Error::Busy { relation } if relation == r#""public"."tasks""#));
    holder.rollback().await.unwrap();

    install(&mut database.client, std::slice::from_ref(&layout_b)).await.unwrap();
    assert_ne!(installed(&database).await, before);
    assert_eq!(installed(&database).await.len(), 8);

    // A disabled or dropped trigger is restored.
    for damage in [
        "ALTER TABLE tasks DISABLE TRIGGER \"0_ddp_tasks_update\"",
        "DROP TRIGGER \"0_ddp_tasks_insert\" ON tasks",
    ] {
        database.run(damage).await;
        install(&mut database.client, std::slice::from_ref(&layout_b)).await.unwrap();
        let mut listener = database.listen(&[&layout_b]).await;
        database.run("INSERT INTO tasks VALUES (1, 'a', 'b'); UPDATE tasks SET b = 'c'").await;
        assert_eq!(listener.batches().await.len(), 1, "{damage}");
        database.run("DELETE FROM tasks").await;
    }

    uninstall(&mut database.client, std::slice::from_ref(&layout)).await.unwrap();
    uninstall(&mut database.client, &[layout]).await.unwrap();
    assert_eq!(installed(&database).await, Vec::<String>::new());
    database.run("INSERT INTO tasks VALUES (2)").await;
}

async fn changed(database: &Database, column: &str) -> Layout {
    describe(&database.client, &Table::new("tasks").columns([column])).await.unwrap()
}

#[tokio::test]
async fn a_part_that_went_since_it_was_described_may_be_tried_again() {
    let mut database = Database::new().await;
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE low PARTITION OF tasks FOR VALUES FROM (0) TO (10)";
    database.run(setup).await;
    let layout = describe(&database.client, &Table::new("tasks").all_columns()).await.unwrap();
    database.run("DROP TABLE low").await;
    let error = install(&mut database.client, std::slice::from_ref(&layout)).await.unwrap_err();
    assert!(matches!(&error, Error::Changed { .. }), "{error}");
    database.publish(&Table::new("tasks").all_columns()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_servers_install_at_once() {
    let database = Database::new().await;
    database
        .run("CREATE TABLE tasks (id int PRIMARY KEY, a text); CREATE TABLE lists (id int PRIMARY KEY)")
        .await;
    let mut servers = Vec::new();
    for number in 0..8 {
        let mut client = database.connect().await;
        servers.push(tokio::spawn(async move {
            let tasks = describe(&client, &Table::new("tasks").all_columns()).await.unwrap();
            let lists = describe(&client, &Table::new("lists").all_columns()).await.unwrap();
            let both = if number % 2 == 0 { [tasks, lists] } else { [lists, tasks] };
            install(&mut client, &both).await
        }));
    }
    let mut writer = database.connect().await;
    for id in 0..50 {
        // Writers that touch both tables in either order must survive it.
        let transaction = writer.transaction().await.unwrap();
        let sql = format!("INSERT INTO lists VALUES ({id}); INSERT INTO tasks VALUES ({id})");
        transaction.batch_execute(&sql).await.unwrap();
        transaction.commit().await.unwrap();
    }
    for server in servers {
        server.await.unwrap().unwrap();
    }
    assert_eq!(installed(&database).await.len(), 16);
}

#[tokio::test]
async fn names_of_any_kind() {
    let mut database = Database::new().await;
    let long = "é".repeat(30);
    let names = [
        ("public", "My Table"),
        ("public", r#"quo"te's $$ back\slash"#),
        ("Odd Schema", "tasks"),
        ("public", "tasks"),
        ("public", long.as_str()),
        ("public", "state"),
    ];
    database.run("CREATE SCHEMA \"Odd Schema\"").await;
    let mut channels = Vec::new();
    for (schema, name) in names {
        let quoted = name.replace('"', "\"\"");
        let relation = format!("\"{schema}\".\"{quoted}\"");
        database
            .run(&format!(
                r#"CREATE TABLE {relation} ("state" int PRIMARY KEY, "body" text, "My ""Col" text,
                "ddp_row" int, "ddp_new" int, "sent" int, "number" int)"#
            ))
            .await;
        let collection = format!("{long} of {schema}.{name}");
        for collection in [collection.as_str(), name] {
            let table = Table::new(name).all_columns().schema(schema).collection(collection);
            let layout = database.publish(&table).await;
            assert!(layout.channel().len() <= 63);
            channels.push(layout.channel().to_owned());
            let mut listener = database.listen(&[&layout]).await;
            database.run(&format!("INSERT INTO {relation} VALUES (1, 'a', 'b', 1, 2, 3, 4)")).await;
            database.run(&format!("UPDATE {relation} SET \"state\" = 2")).await;
            database.run(&format!("DELETE FROM {relation}")).await;
            let told: Vec<String> =
                listener.batches().await.iter().map(|batch| net(&layout, batch)).collect();
            let fields = r#""a","b",1,2,3,4"#;
            assert_eq!(
                told,
                [format!("~1={fields}"), format!("~1=gone ~2={fields}"), "~2=gone".to_owned()]
            );
        }
    }
    channels.sort();
    channels.dedup();
    assert_eq!(channels.len(), 2 * names.len());
}

#[tokio::test]
async fn a_description() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE tasks (created_at timestamptz, task_id bigint UNIQUE NOT NULL,
                list_id uuid NOT NULL, dropped int, code varchar(20), note text, PRIMARY KEY (list_id, code));
            ALTER TABLE tasks DROP COLUMN dropped",
        )
        .await;
    let table =
        Table::new("tasks").key("task_id").camel_case().columns(["created_at", "code", "list_id"]);
    let layout = describe(&database.client, &table.rename("code", "short")).await.unwrap();
    let fields: Vec<&str> = layout.columns().iter().map(|column| &**column.field()).collect();
    assert_eq!(fields, ["createdAt", "_id", "listId", "short"]);
    assert_eq!((layout.key(), layout.id_column()), (&[1][..], Some(1)));
    assert_eq!(layout.column_of_field("listId"), Some(2));
    let kinds: Vec<_> = layout.columns().iter().map(|column| column.kind()).collect();
    assert_eq!(
        kinds,
        [&ValueKind::Timestamp, &ValueKind::BigInteger, &ValueKind::Text, &ValueKind::Text]
    );
    assert_eq!(layout.columns()[3].type_name(), "character varying(20)");
    assert!(layout.columns()[0].is_nullable() && !layout.columns()[2].is_nullable());
}

#[tokio::test]
async fn tables_that_cannot_be_published() {
    let database = Database::new().await;
    database
        .run(
            "CREATE TABLE two (a int, b int, PRIMARY KEY (a, b), _id int, c int NOT NULL);
            CREATE UNIQUE INDEX ON two (a, c, b);
            CREATE TABLE none (a int NOT NULL, b text, c int NOT NULL, d int[] NOT NULL UNIQUE);
            CREATE UNIQUE INDEX ON none (a) WHERE b IS NULL;
            CREATE UNIQUE INDEX ON none (c, (a + 1));
            CREATE MATERIALIZED VIEW kept AS SELECT 1 AS id;
            CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER far FOREIGN DATA WRAPPER nothing;
            CREATE FOREIGN TABLE remote (id int) SERVER far;
            CREATE TABLE split (id int) PARTITION BY LIST (id);
            ALTER TABLE split ADD PRIMARY KEY (id);
            CREATE TABLE parent (id int PRIMARY KEY);
            CREATE FOREIGN TABLE child () INHERITS (parent) SERVER far;
            CREATE TEMPORARY TABLE passing (id int PRIMARY KEY);
            CREATE TABLE good (id int PRIMARY KEY, _id int, a_b int, \"aB\" int, \"$x\" int, n int UNIQUE);
            CREATE VIEW seen AS SELECT 1 AS id",
        )
        .await;
    let temporary =
        "SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = 'passing'";
    let temporary: String = database.client.query_one(temporary, &[]).await.unwrap().get(0);
    let good = || Table::new("good").columns(["n"]);
    for (table, message) in [
        (Table::new("missing").all_columns(), "there is no table \"public\".\"missing\""),
        (Table::new("good").all_columns().schema("other"), "there is no table"),
        (Table::new("seen").all_columns(), "is not a table"),
        (Table::new("kept").all_columns(), "is not a table"),
        (Table::new("remote").all_columns(), "is not a table"),
        (Table::new("passing").all_columns().schema(&temporary), "is a temporary table"),
        (Table::new("parent").all_columns(), "\"public\".\"child\", a part of table"),
        (Table::new("two").all_columns(), "become the field \"_id\""),
        (Table::new("two").all_columns().key("a"), "cannot have the key \"a\""),
        (
            Table::new("two").all_columns().key_columns(["a", "c"]),
            "cannot have the key \"a\", \"c\"",
        ),
        (Table::new("none").all_columns(), "no primary key"),
        (Table::new("none").all_columns().key("a"), "cannot have the key"),
        (Table::new("none").all_columns().key("c"), "cannot have the key"),
        (Table::new("none").all_columns().key("d"), "cannot have the key"),
        (good().key("n"), "cannot have the key"),
        (good().key("x"), "no column \"x\""),
        (good().columns(["x"]), "no column \"x\""),
        (good().columns(["n", "Id"]), "no column \"Id\"; did you mean \"id\"?: columns are"),
        (good().rename("x", "y"), "no column \"x\""),
        (good().ejson("x"), "no column \"x\""),
        (good().ejson("n"), "is not json"),
        (good().columns(["_id"]), "become the field \"_id\""),
        (good().columns(["a_b", "aB"]).camel_case(), "become the field \"aB\""),
        (good().columns(["$x"]), "cannot be named \"$x\""),
        (good().rename("n", "a.b"), "cannot be named \"a.b\""),
    ] {
        let error = describe(&database.client, &table).await.expect_err(message).to_string();
        assert!(error.contains(message), "{error}");
    }
    assert!(describe(&database.client, &good().rename("_id", "old")).await.is_ok());
    let three = Table::new("two").columns(["c"]).key_columns(["c", "b", "a"]);
    let layout = describe(&database.client, &three).await.unwrap();
    assert_eq!((layout.key(), layout.id_column()), (&[2, 1, 0][..], None));
}

#[tokio::test]
async fn a_role_without_rights_is_told_so() {
    let mut database = Database::new().await;
    database
        .run("DROP ROLE IF EXISTS visitor; CREATE ROLE visitor; CREATE TABLE tasks (id int PRIMARY KEY)")
        .await;
    let layout = describe(&database.client, &Table::new("tasks").all_columns()).await.unwrap();
    run(&database.client, "SET ROLE visitor").await;
    let error = install(&mut database.client, &[layout]).await.unwrap_err().to_string();
    assert!(error.contains("permission denied"), "{error}");
    assert!(cluster().is_owner());
}

/// Triggers see it as NULL.
#[tokio::test]
async fn virtual_generated_columns_are_refused() {
    let database = Database::new().await;
    let version = "SELECT current_setting('server_version_num')::int";
    let version: i32 = database.client.query_one(version, &[]).await.unwrap().get(0);
    let sql = "CREATE TABLE tasks (id int PRIMARY KEY, n int GENERATED ALWAYS AS (id * 2) VIRTUAL)";
    let created = database.client.batch_execute(sql).await;
    if version < 180_000 {
        let error = created.unwrap_err();
        assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::SYNTAX_ERROR));
        return;
    }
    created.unwrap();
    let error = describe(&database.client, &Table::new("tasks").all_columns())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("virtual generated column"), "{error}");
    let few = Table::new("tasks").columns(["id"]);
    assert!(describe(&database.client, &few).await.is_ok());
}

#[tokio::test]
async fn autovacuum_gives_way() {
    let options = ddp_cluster::ClusterOptions::temporary()
        .without_durability()
        .setting("autovacuum_naptime", "1s");
    let cluster = ddp_cluster::Cluster::start(options).unwrap();
    let config: tokio_postgres::Config = cluster.url().parse().unwrap();
    let (mut client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    // It would take minutes. The role owns its tables, but does not see what other processes do.
    let setup = "CREATE ROLE app; GRANT CREATE ON DATABASE postgres TO app;
        GRANT CREATE ON SCHEMA public TO app; SET ROLE app;
        CREATE TABLE tasks (id int PRIMARY KEY, v text) WITH (autovacuum_vacuum_threshold = 1,
            autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100,
            autovacuum_vacuum_cost_limit = 1);
        INSERT INTO tasks SELECT g, repeat('x', 200) FROM generate_series(1, 100000) g;
        UPDATE tasks SET v = 'y' WHERE id % 2 = 0";
    run(&client, setup).await;
    run(&client, "RESET ROLE").await;
    let is_at_work = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
        WHERE relation = 'tasks'::regclass AND mode = 'ShareUpdateExclusiveLock' AND granted
            AND backend_type = 'autovacuum worker')";
    while !client.query_one(is_at_work, &[]).await.unwrap().get::<_, bool>(0) {}
    run(&client, "SET ROLE app").await;
    let layout = describe(&client, &Table::new("tasks").all_columns()).await.unwrap();
    install(&mut client, &[layout]).await.unwrap();
}
