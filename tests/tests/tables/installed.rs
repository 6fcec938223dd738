//! What is installed can be listed and taken away without knowing the tables.

use std::time::Instant;

use ddp_postgres::{Feed, Installed, Table};
use ddp_tests::{Client, database};
use serde_json::json;

use super::roles::dump;
use super::{Fixture, builder, sees, serve};

/// Everything of ours in the database, and the slots of its feeds.
const LEFT: &str = "SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = 'ddp'
    UNION ALL SELECT 'function ' || proname FROM pg_proc
        WHERE proname ~ '^(tasks|lists|events|old|others|foreign_parts)'
    UNION ALL SELECT 'publication ' || pubname FROM pg_publication
    UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
    UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE database = current_database()
    UNION ALL SELECT 'trigger ' || tgname FROM pg_trigger WHERE tgname LIKE '0_ddp%' ORDER BY 1";

const SETUP: &str = "CREATE SCHEMA \"Odd as it is\"; CREATE TABLE tasks (id int PRIMARY KEY);
    CREATE TABLE \"Odd as it is\".tasks (id int PRIMARY KEY);
    CREATE TABLE events (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (10);
    CREATE TABLE lists (id int PRIMARY KEY); CREATE TABLE gone (id int PRIMARY KEY);";

fn tables() -> [Table; 6] {
    [
        Table::new("tasks"),
        Table::new("tasks").collection("others"),
        Table::new("tasks").schema("Odd as it is").collection("tasks as such"),
        Table::new("events"),
        Table::new("lists"),
        Table::new("gone").collection("old"),
    ]
    .map(Table::all_columns)
}

fn told(installed: &[Installed]) -> Vec<String> {
    installed.iter().map(ToString::to_string).collect()
}

/// Whoever can connect can tell of installations, and as often as they like.
async fn forged_announcements_are_one_check_in_a_second(feed: Feed) {
    let setup = "CREATE EXTENSION pg_stat_statements; CREATE TABLE tasks (id int PRIMARY KEY);
        INSERT INTO tasks VALUES (1)";
    let fixture = Fixture::unwatched(&database::name("announced", feed), setup, feed).await;
    let mut client = fixture.client().await;
    let checks = "SELECT sum(calls) FROM pg_stat_statements
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND query LIKE '%GROUP BY w.number ORDER BY w.number'";
    let checks = || fixture.psql(checks).trim().parse::<u64>().unwrap();
    let send = match feed {
        Feed::Wal => "pg_logical_emit_message(true, 'ddp installed', ",
        _ => "pg_notify('ddp installed', ",
    };
    let (began, before) = (Instant::now(), checks());
    let announce = |number| format!("SELECT {send} '{number}'); SELECT pg_sleep(0.01);");
    database::psql_script(&fixture.database, &(0..300).map(announce).collect::<String>());
    fixture.psql("ALTER TABLE tasks ADD v text");
    fixture.psql(&format!("SELECT {send}'last')"));
    // The last is not forgotten.
    sees(&mut client, "~1 v:null").await;
    let (made, within) = (checks() - before, began.elapsed());
    assert!(made >= 3, "{made} checks in {within:?}");
    // One finds a new column, and looks whether there is yet another.
    assert!(made <= within.as_secs() + 4, "{made} checks in {within:?}");
}

async fn what_is_installed_is_listed_and_all_of_it_goes(feed: Feed) {
    let name = database::name("installed_all", feed);
    let url = database::create_database(&name, SETUP);
    let anybody = || builder(&url);
    assert_eq!(anybody().installed().await.unwrap(), []);
    assert_eq!(anybody().uninstall_all().await.unwrap(), []);

    let all = tables().into_iter().fold(builder(&url).feed(feed), |b, table| b.table(table));
    let (address, db) = serve(all).await;
    let _client = ddp_tests::Client::connect(address).await;
    db.close().await;
    let changes = "ALTER TABLE lists RENAME TO \"the lists\"; DROP TABLE gone;
        ALTER TABLE \"the lists\" SET SCHEMA \"Odd as it is\"";
    database::psql(&name, changes);
    // A closed connection's slot goes when PostgreSQL notices.
    let in_use = "DO $$ BEGIN
        WHILE EXISTS (SELECT FROM pg_replication_slots WHERE database = current_database()) LOOP
            PERFORM pg_sleep(0.01); END LOOP; END $$";
    database::psql(&name, &format!("SET statement_timeout = '20s'; {in_use}"));
    let of = match feed {
        Feed::Wal => "feed wal, owner postgres, triggers on",
        _ => "feed notify, owner postgres, triggers on",
    };
    let listed = anybody().installed().await.unwrap();
    let expected = [
        format!(
            r#""Odd as it is"."tasks" as tasks as such: format 2, {of} "Odd as it is"."tasks""#
        ),
        format!(
            r#""public"."events" as events: format 3, {of} "public"."events", "public"."events_low""#
        ),
        format!(r#""public"."gone" as old: format 2, {of} no table"#),
        format!(r#""public"."lists" as lists: format 2, {of} "Odd as it is"."the lists""#),
        format!(r#""public"."tasks" as others: format 2, {of} "public"."tasks""#),
        format!(r#""public"."tasks" as tasks: format 2, {of} "public"."tasks""#),
    ];
    assert_eq!(told(&listed), expected);
    assert_eq!(listed[0].table.as_deref(), Some(r#""Odd as it is"."tasks""#));
    assert_eq!(listed[0].collection.as_deref(), Some("tasks as such"));
    assert_eq!((listed[0].feed, listed[0].format), (Some(feed), Some(2)));
    assert_ne!(database::psql(&name, LEFT), "");

    assert_eq!(anybody().uninstall_all().await.unwrap(), listed);
    assert_eq!(database::psql(&name, LEFT), "");
    assert_eq!(anybody().installed().await.unwrap(), []);
    database::psql(&name, "INSERT INTO tasks VALUES (1); INSERT INTO events VALUES (1)");
}

async fn what_others_keep_in_the_schema_stays(feed: Feed) {
    let name = database::name("installed_others", feed);
    let others = "CREATE SCHEMA ddp; CREATE TABLE ddp.theirs (id int PRIMARY KEY);
        CREATE FUNCTION ddp.log_insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        COMMENT ON FUNCTION ddp.log_insert() IS 'Tells the changes of everybody';
        CREATE TRIGGER log AFTER INSERT ON tasks EXECUTE FUNCTION ddp.log_insert();
        CREATE TABLE told (id int); CREATE PUBLICATION ddp FOR TABLE told;";
    let url = database::create_database(&name, &format!("{SETUP}{others}"));
    let of_tasks = || builder(&url).feed(feed).table(Table::new("tasks").all_columns());
    for by_name in [true, false] {
        of_tasks().connect().await.unwrap().close().await;
        let listed = builder(&url).installed().await.unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        if by_name {
            of_tasks().uninstall().await.unwrap();
        } else {
            assert_eq!(builder(&url).uninstall_all().await.unwrap(), listed);
        }
        assert_eq!(database::psql(&name, LEFT), "publication ddp\nschema ddp\n");
        let theirs =
            "INSERT INTO tasks VALUES (1); DELETE FROM tasks; SELECT tgname FROM pg_trigger
            WHERE NOT tgisinternal; SELECT pubname FROM pg_publication_tables; TABLE ddp.theirs";
        assert_eq!(database::psql(&name, theirs), "log\nddp\n");
    }
}

ddp_tests::over_both_feeds!(
    forged_announcements_are_one_check_in_a_second,
    what_is_installed_is_listed_and_all_of_it_goes,
    what_others_keep_in_the_schema_stays,
);

#[tokio::test]
async fn functions_that_have_lost_their_comments_go_as_well() {
    let name = "installed_uncommented";
    let url = database::create_database(name, SETUP);
    builder(&url).table(Table::new("tasks").all_columns()).connect().await.unwrap().close().await;
    let uncomment = "DO $$ DECLARE f regprocedure; BEGIN
        FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'ddp'::regnamespace LOOP
            EXECUTE format('COMMENT ON FUNCTION %s IS NULL', f);
        END LOOP; END $$";
    database::psql(name, uncomment);
    let listed = builder(&url).installed().await.unwrap();
    let expected = r#"(unknown) as (unknown): owner postgres, triggers on "public"."tasks""#;
    assert_eq!(told(&listed), [expected]);
    builder(&url).uninstall_all().await.unwrap();
    assert_eq!(database::psql(name, LEFT), "");
}

/// What cannot be dropped is an error, and never left in silence.
#[tokio::test]
async fn what_another_role_installed_is_listed_and_its_own_to_remove() {
    let name = "installed_foreign";
    let setup = format!("{SETUP}; CREATE ROLE visits LOGIN; CREATE ROLE triggers LOGIN;");
    let url = database::create_database(name, &setup);
    database::psql(
        name,
        "GRANT CREATE ON DATABASE installed_foreign TO triggers;
        GRANT SELECT, TRIGGER ON tasks TO triggers",
    );
    let of =
        |role: &str| builder(&url.replace("postgres://postgres@", &format!("postgres://{role}@")));
    let triggers = || of("triggers").table(Table::new("tasks").all_columns());
    triggers().connect().await.unwrap().close().await;
    let listed = of("visits").installed().await.unwrap();
    let [tasks] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!(tasks.owner, "triggers");
    let error = of("visits").uninstall_all().await.unwrap_err().to_string();
    let begins =
        r#"what is installed for table "public"."tasks" could not be removed: permission denied"#;
    assert!(error.starts_with(begins), "{error}");
    assert!(error.ends_with(": let the role triggers do it, or a superuser"), "{error}");
    assert_eq!(of("visits").installed().await.unwrap(), listed);
    // The role owns the functions, but not the table.
    assert_eq!(of("triggers").uninstall_all().await.unwrap(), listed);
    assert_eq!(database::psql(name, LEFT), "");
    triggers().connect().await.unwrap().close().await;
    triggers().uninstall().await.unwrap();
    assert_eq!(database::psql(name, LEFT), "");
}

/// PostgreSQL gives a lock in the order in which it was asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_installs_meanwhile_is_an_error() {
    const LOCK: &str = "SELECT pg_advisory_lock(7234030185973969780)";
    let name = "installed_meanwhile";
    let url = database::create_database(name, SETUP);
    let of = |table: &str| builder(&url).table(Table::new(table).all_columns());
    of("tasks").connect().await.unwrap().close().await;
    let (holder, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    holder.batch_execute(LOCK).await.unwrap();
    let waiting = async |count: i64| {
        let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        for _ in 0..1_000 {
            if holder.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{count} sessions never waited for the lock");
    };
    let (all, lists) = (builder(&url), of("lists"));
    let uninstalled = tokio::spawn(async move { all.uninstall_all().await });
    waiting(1).await;
    let connected = tokio::spawn(lists.connect());
    waiting(2).await;
    holder.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    let error = uninstalled.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("has been installed again by a server that runs"), "{error}");
    connected.await.unwrap().unwrap().close().await;
    let [lists] = &builder(&url).installed().await.unwrap()[..] else { panic!("one table") };
    assert_eq!(lists.collection.as_deref(), Some("lists"));
    builder(&url).uninstall_all().await.unwrap();
    assert_eq!(database::psql(name, LEFT), "");
}

/// The triggers need functions in a schema that is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dump_without_ddp_is_healed_by_the_next_start() {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY); INSERT INTO tasks VALUES (1)";
    let url = database::create_database("installed_dumped", setup);
    let tasks = || Table::new("tasks").all_columns();
    builder(&url).table(tasks()).connect().await.unwrap().close().await;
    let Some(script) = dump(&url, &["public"]) else { return };
    let restored = "installed_restored";
    let url = database::create_database(restored, "DROP SCHEMA public");
    database::psql_script(restored, &script);
    let row = "SELECT (SELECT count(*) FROM public.tasks), count(*) FROM pg_trigger WHERE tgname LIKE '0_ddp%'";
    assert_eq!(database::psql(restored, row).trim(), "1|0", "all but the triggers");
    let (address, db) = serve(builder(&url).table(tasks())).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    database::psql(restored, "INSERT INTO public.tasks VALUES (2)");
    sees(&mut client, "~1 ; ~2 ").await;
    db.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_whose_connection_is_ended_is_begun_again() {
    let name = "tables_ended";
    let ends =
        "CREATE SEQUENCE times; CREATE FUNCTION ends() RETURNS event_trigger LANGUAGE plpgsql AS
            $$ BEGIN IF nextval('public.times') = 1 THEN
                PERFORM pg_terminate_backend(pg_backend_pid()); END IF; END $$;
        CREATE EVENT TRIGGER ends ON ddl_command_end WHEN TAG IN ('CREATE TRIGGER')
            EXECUTE FUNCTION ends()";
    let url = database::create_database(name, &format!("{SETUP}{ends}"));
    let (address, db) = serve(builder(&url).table(Table::new("tasks").all_columns())).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    database::psql(name, "INSERT INTO tasks VALUES (1)");
    sees(&mut client, "~1 ").await;
    db.close().await;
}
