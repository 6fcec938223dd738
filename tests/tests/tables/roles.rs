//! Installation by one role and operation by another; row-level security; other versions.

use ddp_postgres::{Db, Feed, Table};
use ddp_tests::{Client, database};
use serde_json::json;

use super::{Fixture, builder, sees, serve};

const SETUP: &str = "CREATE TABLE tasks (id int PRIMARY KEY, title text)";

fn as_role(url: &str, role: &str) -> String {
    url.replace("postgres://postgres@", &format!("postgres://{role}@"))
}

/// These schemas as a script. None if PostgreSQL came without the program.
pub(super) fn dump(url: &str, schemas: &[&str]) -> Option<String> {
    let program = ddp_cluster::Cluster::find_binaries().unwrap().join("pg_dump");
    if !program.is_file() {
        // The package of PostgreSQL 18 from npm has the server alone.
        println!("{} is not installed", program.display());
        return None;
    }
    let mut command = std::process::Command::new(program);
    let schemas = schemas.iter().flat_map(|schema| ["-n", schema]);
    let dump = command.arg("--inserts").args(schemas).arg(url).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let script = String::from_utf8(dump.stdout).unwrap();
    // Without commands of psql that only newer ones know.
    let lines = script.lines().filter(|line| !line.starts_with('\\'));
    Some(lines.map(|line| format!("{line}\n")).collect())
}

/// Everything of ours in the database.
fn left(database: &str) -> String {
    database::psql(
        database,
        "SELECT nspname FROM pg_namespace WHERE nspname = 'ddp'
        UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE '%tasks%'
        UNION ALL SELECT pubname FROM pg_publication
        UNION ALL SELECT tgname FROM pg_trigger WHERE tgname LIKE '0_ddp%'",
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_role_installs_by_psql_and_a_lesser_one_runs() {
    let setup = format!(
        "{SETUP}; INSERT INTO tasks VALUES (1, 'a'); CREATE ROLE owner; CREATE ROLE app LOGIN;
        ALTER TABLE tasks OWNER TO owner;
        REVOKE ALL ON DATABASE tables_lesser FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC;
        GRANT CONNECT ON DATABASE tables_lesser TO app;
        GRANT USAGE ON SCHEMA public TO app;
        GRANT SELECT ON tasks TO app;"
    );
    let url = database::create_database("tables_lesser", &setup);
    let lesser = || {
        builder(&as_role(&url, "app")).table(Table::new("tasks").all_columns()).without_install()
    };
    let error = lesser().connect().await.unwrap_err().to_string();
    assert!(error.contains("lacks the right triggers"), "{error}");
    let may_not = builder(&as_role(&url, "app")).table(Table::new("tasks").all_columns());
    let error = may_not.connect().await.unwrap_err().to_string();
    let denied =
        "cannot create the schema ddp: permission denied for database tables_lesser (42501)";
    assert!(error.starts_with(denied), "{error}");
    assert!(error.contains(": GRANT CREATE ON DATABASE tables_lesser TO app, or"), "{error}");

    let sql = builder(&url).table(Table::new("tasks").all_columns()).install_sql().await.unwrap();
    assert_eq!(left("tables_lesser"), "", "nothing is changed by asking");
    let grants =
        "GRANT CREATE ON DATABASE tables_lesser TO owner; GRANT USAGE ON SCHEMA public TO owner";
    database::psql("tables_lesser", grants);
    for _ in 0..2 {
        let script = format!("SET ROLE owner;\n{sql}");
        database::psql_script("tables_lesser", &script);
    }
    let (address, db) = serve(lesser()).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    sees(&mut client, r#"~1 title:"a""#).await;
    database::psql("tables_lesser", "UPDATE tasks SET title = 'b'");
    sees(&mut client, r#"~1 title:"b""#).await;

    // It does not hide what it cannot repair.
    database::psql("tables_lesser", "ALTER TABLE tasks DISABLE TRIGGER ALL");
    client.until("nosub", |client| !client.nosub.is_empty()).await;
    assert_eq!(client.nosub.values().next().unwrap()["error"], "collection-unavailable");
    db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grants_that_an_error_names_are_enough() {
    let name = "tables_grants";
    let setup = format!("{SETUP}; CREATE SCHEMA ddp; CREATE ROLE granted LOGIN;");
    let url = database::create_database(name, &setup);
    database::psql(name, "GRANT SELECT ON tasks TO granted");
    let installs = || builder(&as_role(&url, "granted")).table(Table::new("tasks").all_columns());
    let error = installs().connect().await.unwrap_err().to_string();
    assert!(error.starts_with("cannot install the triggers of table "), "{error}");
    let grants = [
        r#"GRANT TRIGGER ON "public"."tasks" TO granted"#,
        "GRANT CREATE, USAGE ON SCHEMA ddp TO granted",
    ];
    for grant in grants {
        assert!(error.contains(grant), "{error}");
        database::psql(name, grant);
    }
    installs().connect().await.unwrap().close().await;

    // The publication of this feed belongs to the database.
    let error = installs().feed(Feed::Wal).connect().await.unwrap_err().to_string();
    assert!(error.starts_with("cannot create the publication ddp: "), "{error}");
}

/// Reads at the start, after an interruption, in a window, once and by their keys.
async fn grants_of_the_published_columns_are_enough(feed: Feed) {
    let name = database::name("tables_columns", feed);
    let role = format!("{name}_reader");
    let replication = if feed == Feed::Wal { "REPLICATION" } else { "" };
    let setup = format!(
        "CREATE TABLE tasks (id int PRIMARY KEY, title text, secret text);
        INSERT INTO tasks VALUES (1, 'a', 's'); CREATE ROLE {role} LOGIN {replication};
        GRANT SELECT (id, title) ON tasks TO {role}"
    );
    let url = database::create_database(&name, &setup);
    let table = || Table::new("tasks").columns(["title"]);
    builder(&url).feed(feed).table(table()).connect().await.unwrap().close().await;
    let reads = builder(&as_role(&url, &role)).feed(feed).table(table()).without_install();
    let (address, db) = serve(reads).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    sees(&mut client, r#"~1 title:"a""#).await;
    let mut other = Client::connect(address).await;
    other.subscribe("tasks.where", json!(["title", "b"])).await;
    database::psql(&name, "UPDATE tasks SET title = 'b'");
    sees(&mut client, r#"~1 title:"b""#).await;
    sees(&mut other, r#"~1 title:"b""#).await;
    // Several kinds of change of one row are read by its key; too many rows are all read again.
    database::psql(
        &name,
        "WITH gone AS (DELETE FROM tasks RETURNING id) INSERT INTO tasks SELECT id, 'c' FROM gone",
    );
    sees(&mut client, r#"~1 title:"c""#).await;
    database::psql(
        &name,
        "INSERT INTO tasks SELECT g, 'd' FROM generate_series(2, 10002) g; DELETE FROM tasks WHERE id > 2",
    );
    sees(&mut client, r#"~1 title:"c"; ~2 title:"d""#).await;
    // The rows are written anew, so that older snapshots see none.
    database::psql(
        &name,
        "ALTER TABLE tasks ALTER COLUMN secret TYPE bytea USING NULL; DELETE FROM tasks WHERE id = 2",
    );
    let mut late = Client::connect(address).await;
    late.subscribe("tasks.where", json!(["title", "c"])).await;
    sees(&mut late, r#"~1 title:"c""#).await;
    let backend = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'ddp feed' AND datname = current_database()";
    database::psql(&name, &format!("{backend}; UPDATE tasks SET title = 'e'"));
    sees(&mut client, r#"~1 title:"e""#).await;
    db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_may_not_read_is_named_at_the_start() {
    let name = "tables_unreadable";
    let setup = "CREATE SCHEMA hidden; CREATE TABLE hidden.tasks (id int PRIMARY KEY, \"Title\" text, n int);
        CREATE ROLE stranger LOGIN";
    let url = database::create_database(name, setup);
    let table = || Table::new("tasks").schema("hidden").columns(["Title"]);
    builder(&url).table(table()).connect().await.unwrap().close().await;
    let reads = || builder(&as_role(&url, "stranger")).table(table()).without_install();
    for (expected, granted) in [
        (
            vec![
                "GRANT USAGE ON SCHEMA \"hidden\" TO stranger",
                "GRANT SELECT ON \"hidden\".\"tasks\" TO stranger",
            ],
            "GRANT USAGE ON SCHEMA hidden TO stranger",
        ),
        (
            vec![": GRANT SELECT ON \"hidden\".\"tasks\" TO stranger"],
            "GRANT SELECT (id) ON hidden.tasks TO stranger",
        ),
        (vec![": GRANT SELECT (\"Title\") ON \"hidden\".\"tasks\" TO stranger"], ""),
    ] {
        let error = reads().connect().await.unwrap_err().to_string();
        assert!(
            error.starts_with("role stranger may not read table \"hidden\".\"tasks\""),
            "{error}"
        );
        for words in &expected {
            assert!(error.contains(words), "{error}");
        }
        // What is named last is enough.
        let grants = error.split_once("published: ").unwrap().1;
        database::psql(name, if granted.is_empty() { grants } else { granted });
    }
    reads().connect().await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_forbids_an_installation_is_named_with_the_statement() {
    let name = "tables_forbidden";
    let setup = format!(
        "{SETUP}; CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'no % today', tg_tag; END $$"
    );
    let url = database::create_database(name, &setup);
    let tasks = || builder(&url).table(Table::new("tasks").all_columns());
    let forbid = |tag: &str| {
        database::psql(
            name,
            &format!("DROP EVENT TRIGGER IF EXISTS forbid; CREATE EVENT TRIGGER forbid ON ddl_command_start
                WHEN TAG IN ('{tag}') EXECUTE FUNCTION forbid()"),
        )
    };
    for (tag, statement) in [
        ("CREATE SCHEMA", "CREATE SCHEMA ddp"),
        ("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION ddp.\"tasks_insert_"),
        ("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER \"0_ddp_tasks_insert\""),
    ] {
        forbid(tag);
        let error = tasks().connect().await.unwrap_err().to_string();
        let start =
            format!("cannot install the triggers of table \"public\".\"tasks\": {statement}");
        assert!(error.starts_with(&start), "{error}");
        for words in [format!(": no {tag} today (P0001): "), "DbBuilder::install_sql".to_owned()] {
            assert!(error.contains(&words), "{error}");
        }
    }
    database::psql(name, "DROP EVENT TRIGGER forbid");
    tasks().connect().await.unwrap().close().await;

    let error =
        builder(&url).table(Table::new("public.tasks").all_columns()).connect().await.unwrap_err();
    assert!(error.to_string().contains("is Table::new(\"tasks\").schema(\"public\")"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_that_may_not_notify_is_told_what_to_grant() {
    let name = "tables_mute_role";
    let setup = format!(
        "{SETUP}; CREATE ROLE mute LOGIN; ALTER TABLE tasks OWNER TO mute;
        GRANT CREATE ON DATABASE {name} TO mute;
        REVOKE EXECUTE ON FUNCTION pg_notify, pg_current_snapshot FROM PUBLIC"
    );
    let url = database::create_database(name, &setup);
    let installs = || builder(&as_role(&url, "mute")).table(Table::new("tasks").all_columns());
    let error = installs().connect().await.unwrap_err().to_string();
    let grant = "GRANT EXECUTE ON FUNCTION pg_current_snapshot(), pg_notify(text, text) TO mute";
    assert!(error.ends_with(grant) && error.starts_with("role mute may not execute"), "{error}");
    database::psql(name, grant);
    installs().connect().await.unwrap().close().await;
}

/// One who may only read cannot install, and needs not.
async fn a_read_only_database_will_do_once_its_triggers_are_there(feed: Feed) {
    let name = database::name("tables_read_only", feed);
    let setup = format!(
        "{SETUP}; INSERT INTO tasks VALUES (1, 'a');
        ALTER DATABASE {name} SET default_transaction_read_only = on"
    );
    let url = database::create_database(&name, &setup);
    let tasks = |url: &str| builder(url).feed(feed).table(Table::new("tasks").all_columns());
    let error = tasks(&url).connect().await.unwrap_err().to_string();
    for words in ["CREATE SCHEMA ddp: ", "(25006)", "default_transaction_read_only", "install_sql"]
    {
        assert!(error.contains(words), "{error}");
    }
    let writes = format!("{url}?options=-c%20default_transaction_read_only%3Doff");
    tasks(&writes).connect().await.unwrap().close().await;
    let (address, _db) = serve(tasks(&url).without_install()).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    sees(&mut client, r#"~1 title:"a""#).await;
    database::psql(&name, "BEGIN READ WRITE; UPDATE tasks SET title = 'b'; COMMIT");
    sees(&mut client, r#"~1 title:"b""#).await;
}

/// A table that another server writes to.
async fn rows_that_a_subscription_applies_are_refused(feed: Feed) {
    let (name, source) =
        (database::name("tables_subscribed", feed), database::name("tables_source", feed));
    let published = format!("{SETUP}; CREATE PUBLICATION told FOR TABLE tasks");
    let source_url = database::create_database(&source, &published);
    let slot = format!("SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')");
    database::psql(&source, &slot);
    let setup = "CREATE TABLE tasks (id int, title text) PARTITION BY LIST (id);
        ALTER TABLE tasks ADD PRIMARY KEY (id)";
    let url = database::create_database(&name, setup);
    let tasks = || builder(&url).feed(feed).table(Table::new("tasks").all_columns());
    let (address, db) = serve(tasks()).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    let subscription = format!(
        "CREATE SUBSCRIPTION {name} CONNECTION '{source_url}' PUBLICATION told
        WITH (create_slot = false, slot_name = '{name}')"
    );
    database::psql(&name, &subscription);
    client.until("nosub", |client| !client.nosub.is_empty()).await;
    let error = tasks().connect().await.unwrap_err().to_string();
    assert!(error.contains(&format!("subscription \"{name}\" applies rows to")), "{error}");
    for sql in ["DISABLE", "SET (slot_name = NONE)"] {
        database::psql(&name, &format!("ALTER SUBSCRIPTION {name} {sql}"));
    }
    database::psql(&name, &format!("DROP SUBSCRIPTION {name}"));
    database::psql(&source, &format!("SELECT pg_drop_replication_slot('{name}')"));
    loop {
        db.check().await.unwrap();
        let id = client.send_sub("tasks", json!([])).await;
        client.until("an answer", |c| c.ready.contains(&id) || c.nosub.contains_key(&id)).await;
        if client.ready.contains(&id) {
            break;
        }
    }
}

ddp_tests::over_both_feeds!(
    grants_of_the_published_columns_are_enough,
    a_read_only_database_will_do_once_its_triggers_are_there,
    rows_that_a_subscription_applies_are_refused,
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uninstallation_leaves_nothing_behind() {
    let name = "tables_uninstalled";
    let setup = format!("{SETUP}; CREATE TABLE others (id int PRIMARY KEY)");
    let url = database::create_database(name, &setup);
    let both = || {
        let builder = builder(&url).feed(Feed::Wal);
        builder.table(Table::new("tasks").all_columns()).table(Table::new("others").all_columns())
    };
    let db = both().connect().await.unwrap();
    assert_ne!(left(name), "");
    builder(&url).table(Table::new("others").all_columns()).uninstall().await.unwrap();
    assert!(left(name).contains("ddp"), "a schema that is in use stays");
    db.uninstall().await.unwrap();
    assert_eq!(left(name), "");
    assert_eq!(database::psql(name, "INSERT INTO tasks VALUES (1)"), "");

    // Even if the table has changed.
    both().connect().await.unwrap().close().await;
    database::psql(name, "ALTER TABLE tasks DROP COLUMN id; ALTER TABLE others RENAME TO old");
    both().uninstall().await.unwrap();
    both().uninstall().await.unwrap();
    assert_eq!(left(name), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_policies_hide_from_the_server_are_never_shown() {
    let setup = format!(
        "{SETUP}; INSERT INTO tasks VALUES (1, 'a'), (2, 'b'); CREATE ROLE guarded LOGIN;
        GRANT CREATE ON DATABASE tables_policies TO guarded; ALTER TABLE tasks OWNER TO guarded;
        ALTER TABLE tasks ENABLE ROW LEVEL SECURITY;
        CREATE POLICY first ON tasks USING (id = 1)"
    );
    let url = database::create_database("tables_policies", &setup);
    let guarded = || builder(&as_role(&url, "guarded")).table(Table::new("tasks").all_columns());
    // The owner is exempt, unless it is forced.
    let (address, _db) = serve(guarded()).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    sees(&mut client, r#"~1 title:"a"; ~2 title:"b""#).await;
    database::psql("tables_policies", "ALTER TABLE tasks FORCE ROW LEVEL SECURITY");
    client.until("nosub", |client| !client.nosub.is_empty()).await;
    sees(&mut client, "").await;
    let error = guarded().connect().await.unwrap_err().to_string();
    assert!(error.contains("row-level security"), "{error}");

    // With keys only, the server reads the rows itself, and sees what it may see.
    let keys =
        builder(&as_role(&url, "guarded")).table(Table::new("tasks").all_columns().keys_only());
    let (address, _db) = serve(keys).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    sees(&mut client, r#"~1 title:"a""#).await;
    database::psql("tables_policies", "UPDATE tasks SET title = 'c'");
    sees(&mut client, r#"~1 title:"c""#).await;
    database::psql("tables_policies", "UPDATE tasks SET id = 3 WHERE id = 1");
    sees(&mut client, "").await;
}

/// What a future version might have installed.
fn pretend_newer(fixture: &Fixture) {
    fixture.psql(
        r"DO $$ DECLARE f record; BEGIN
            FOR f IN SELECT p.oid::regprocedure AS name, obj_description(p.oid) AS comment
                FROM pg_proc p WHERE pronamespace = 'ddp'::regnamespace LOOP
                EXECUTE format('ALTER FUNCTION %s STABLE', f.name);
                EXECUTE format('COMMENT ON FUNCTION %s IS %L', f.name,
                    regexp_replace(f.comment, 'format \d+.*', 'format 99, new)'));
            END LOOP; END $$",
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_of_a_newer_version_are_left_alone() {
    let fixture = Fixture::start("newer", SETUP, Table::new("tasks").all_columns()).await;
    let mut client = fixture.client().await;
    fixture.psql("INSERT INTO tasks VALUES (1, 'a')");
    sees(&mut client, r#"~1 title:"a""#).await;
    pretend_newer(&fixture);
    let url = database::database_url(&fixture.database);
    for install in [true, false] {
        let newer = Db::builder(&url).table(Table::new("tasks").all_columns());
        let newer = if install { newer } else { newer.without_install() };
        let error = newer.connect().await.unwrap_err().to_string();
        assert!(error.contains("newer version") && error.contains("format 99"), "{error}");
    }
    // The running server reads again, whatever the messages say.
    fixture.psql("INSERT INTO tasks VALUES (2, 'b')");
    sees(&mut client, r#"~1 title:"a"; ~2 title:"b""#).await;
    fixture.db.check().await.unwrap();
    fixture.psql("UPDATE tasks SET title = 'c'");
    sees(&mut client, r#"~1 title:"c"; ~2 title:"c""#).await;
    let comments =
        fixture.psql("SELECT obj_description(oid) FROM pg_proc WHERE proname LIKE 'tasks%'");
    assert!(comments.contains("format 99") && !comments.contains("format 1,"), "{comments}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_publish_different_columns_do_not_fight() {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, title text, n int)";
    let fixture = Fixture::start("columns", setup, Table::new("tasks").all_columns()).await;
    let mut client = fixture.client().await;
    let url = database::database_url(&fixture.database);
    let (address, db) = serve(builder(&url).table(Table::new("tasks").columns(["n"]))).await;
    let mut other = Client::connect(address).await;
    other.subscribe("tasks", json!([])).await;
    let triggers = || fixture.psql("SELECT xmin, oid FROM pg_proc WHERE proname LIKE 'tasks%'");
    let before = triggers();
    for number in 1..4 {
        fixture.db.check().await.unwrap();
        db.check().await.unwrap();
        fixture.psql(&format!("DELETE FROM tasks; INSERT INTO tasks VALUES ({number}, 'a', 1)"));
        sees(&mut client, &format!(r#"~{number} n:1,title:"a""#)).await;
        sees(&mut other, &format!("~{number} n:1")).await;
    }
    assert_eq!(triggers(), before, "the last server to start has the last word");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_of_some_schemas_needs_ddp() {
    let url = database::create_database("tables_dumped", SETUP);
    let (_, db) = serve(builder(&url).table(Table::new("tasks").all_columns())).await;
    db.close().await;
    let _ = database::create_database("tables_restored", "DROP SCHEMA public");
    let Some(script) = dump(&url, &["public", "ddp"]) else { return };
    database::psql("tables_restored", &script);
    let sorted = |database| {
        let mut names: Vec<_> = left(database).lines().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(sorted("tables_restored"), sorted("tables_dumped"));
    let writes = "INSERT INTO public.tasks VALUES (1, 'a'); SELECT count(*) FROM public.tasks";
    assert_eq!(database::psql("tables_restored", writes).trim(), "1");
}
