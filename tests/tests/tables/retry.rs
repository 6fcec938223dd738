//! What makes a collection unavailable, and passes.

use std::time::Duration;

use ddp_postgres::{Db, Feed, Table};
use ddp_tests::{Client, database};
use serde_json::json;
use tokio_postgres::NoTls;

use super::{CHECK_EVERY, Fixture, NEVER, builder, sees, serve, shown};

const PARTED: &str = "CREATE TABLE tasks (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF tasks FOR VALUES FROM (0) TO (10);
    INSERT INTO tasks VALUES (1, 'a')";

/// Those who are there go on, and others are let in.
async fn a_new_partition_that_somebody_has_locked(feed: Feed) {
    let name = database::name("locked_partition", feed);
    let fixture = Fixture::over(&name, PARTED, Table::new("tasks").all_columns(), feed).await;
    let mut client = fixture.client().await;
    let url = database::database_url(&fixture.database);
    let (load, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    fixture.psql("CREATE TABLE high PARTITION OF tasks FOR VALUES FROM (10) TO (20)");
    load.batch_execute("BEGIN; LOCK TABLE high IN EXCLUSIVE MODE").await.unwrap();
    // From now on triggers are missing, for as long as the lock is held.
    fixture.db.check().await.unwrap();
    let mut other = fixture.client().await;
    sees(&mut other, r#"~1 v:"a""#).await;
    fixture.psql("UPDATE tasks SET v = 'b' WHERE id = 1");
    for client in [&mut client, &mut other] {
        sees(client, r#"~1 v:"b""#).await;
    }
    load.batch_execute("INSERT INTO high VALUES (11, 'x'); COMMIT").await.unwrap();
    for client in [&mut client, &mut other] {
        sees(client, r#"~1 v:"b"; ~11 v:"x""#).await;
    }
    fixture.psql("UPDATE high SET v = 'y'");
    for client in [&mut client, &mut other] {
        sees(client, r#"~1 v:"b"; ~11 v:"y""#).await;
        assert!(client.nosub.is_empty());
    }
}

/// Nobody has it locked, but what is in the way passes all the same: a lack of resources. Some checks
/// pass over the table, and none of them leaves clients with what was there before.
async fn triggers_that_the_database_has_no_room_for(feed: Feed) {
    let name = database::name("no_room", feed);
    let fixture = Fixture::unwatched(&name, PARTED, feed).await;
    let mut client = fixture.client().await;
    fixture.psql(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE 'no room' USING ERRCODE = 'disk_full'; END $$;
        CREATE EVENT TRIGGER no_room ON ddl_command_start WHEN TAG IN ('CREATE TRIGGER')
            EXECUTE FUNCTION refuse();
        CREATE TABLE high PARTITION OF tasks FOR VALUES FROM (10) TO (20)",
    );
    let mut expected = r#"~1 v:"a""#.to_owned();
    for id in 11..19 {
        fixture.psql(&format!("INSERT INTO high VALUES ({id}, 'x')"));
        fixture.db.check().await.unwrap();
        expected.push_str(&format!(r#"; ~{id} v:"x""#));
        sees(&mut client, &expected).await;
    }
    fixture.psql("DROP EVENT TRIGGER no_room");
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'high'::regclass";
    while fixture.psql(triggers).trim() == "0" {
        fixture.db.check().await.unwrap();
    }
    fixture.psql("DELETE FROM high WHERE id > 11");
    sees(&mut client, r#"~1 v:"a"; ~11 v:"x""#).await;
    assert!(client.nosub.is_empty());
}

/// No catalog that matters to documents shows that it has come.
async fn a_privilege_that_comes_later(feed: Feed) {
    let name = database::name("later_privilege", feed);
    let database = format!("tables_{name}");
    let role = format!("owner_{feed:?}").to_lowercase();
    let setup = format!(
        "CREATE ROLE {role} LOGIN REPLICATION; GRANT CREATE ON DATABASE {database} TO {role};
        GRANT CREATE ON SCHEMA public TO {role}; SET ROLE {role}; {PARTED}"
    );
    let url = database::create_database(&database, &setup);
    let url = url.replace("postgres://postgres@", &format!("postgres://{role}@"));
    let builder =
        builder(&url).check_every(CHECK_EVERY).table(Table::new("tasks").all_columns()).feed(feed);
    let (address, db) = serve(builder).await;
    let fixture = Fixture { database, address, db };
    let mut client = fixture.client().await;
    fixture.psql("CREATE TABLE high PARTITION OF tasks FOR VALUES FROM (10) TO (20)");
    client.until("nosub", |client| !client.nosub.is_empty()).await;
    assert_eq!(client.nosub.values().next().unwrap()["error"], "collection-unavailable");
    fixture.psql(&format!("ALTER TABLE high OWNER TO {role}"));
    let mut late = fixture.checks_until_available().await;
    fixture.psql("INSERT INTO high VALUES (11, 'x')");
    sees(&mut late, r#"~1 v:"a"; ~11 v:"x""#).await;
}

/// Whoever has the table locked delays only the new triggers.
async fn triggers_that_cannot_be_installed_again_at_once(feed: Feed) {
    let setup =
        "CREATE TABLE tasks (id int PRIMARY KEY, v text); INSERT INTO tasks VALUES (1, 'a')";
    let name = database::name("reinstalled", feed);
    let fixture = Fixture::over(&name, setup, Table::new("tasks").all_columns(), feed).await;
    let mut client = fixture.client().await;
    let url = database::database_url(&fixture.database);
    let (writer, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    fixture.psql("ALTER TABLE tasks ADD COLUMN n int");
    writer.batch_execute("BEGIN; UPDATE tasks SET v = 'b'").await.unwrap();
    // The old triggers tell every change: whoever comes now is served.
    let mut other = fixture.client().await;
    sees(&mut client, r#"~1 n:null,v:"a""#).await;
    sees(&mut other, r#"~1 n:null,v:"a""#).await;
    writer.batch_execute("COMMIT").await.unwrap();
    sees(&mut client, r#"~1 n:null,v:"b""#).await;
    let triggers = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'ddp'::regnamespace AND prosrc LIKE '%\"n\"%'";
    while fixture.psql(triggers).trim() == "0" {
        fixture.db.check().await.unwrap();
    }
    fixture.psql("UPDATE tasks SET n = 7");
    sees(&mut client, r#"~1 n:7,v:"b""#).await;
    sees(&mut other, r#"~1 n:7,v:"b""#).await;
}

/// What it was described with is gone before its triggers are looked for, and the catalogs look as before.
async fn a_partition_that_goes_while_a_server_looks_that_may_not_install(feed: Feed) {
    // Locks on the catalogs would hold up other tests.
    let cluster = database::start_cluster();
    let url = cluster.database_url("postgres");
    cluster.psql("postgres", PARTED).unwrap();
    cluster.psql("postgres", "CREATE TABLE brief (LIKE tasks INCLUDING ALL)").unwrap();
    let table = || Table::new("tasks").all_columns();
    let installer = builder(&url).table(table()).feed(feed).connect().await.unwrap();
    installer.close().await;
    let builder = Db::builder(&url).check_every(NEVER).table(table()).feed(feed).without_install();
    let (address, db) = serve(builder).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    db.check().await.unwrap();

    // Only the columns are looked up in one of these catalogs, and only triggers in the other.
    let mut holders = Vec::new();
    for catalog in ["pg_database", "pg_description"] {
        let (holder, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        holders.push((holder, format!("BEGIN; LOCK TABLE pg_catalog.{catalog}")));
    }
    let (writer, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    // Their caches need what is locked later.
    let (attach, detach) = (
        "ALTER TABLE tasks ATTACH PARTITION brief FOR VALUES FROM (20) TO (30)",
        "ALTER TABLE tasks DETACH PARTITION brief",
    );
    writer
        .batch_execute(&format!(
            "{attach}; {detach}; ALTER TABLE tasks ADD n int; ALTER TABLE brief ADD n int"
        ))
        .await
        .unwrap();
    for (holder, lock) in &holders {
        holder.batch_execute(lock).await.unwrap();
    }
    let looking = tokio::spawn({
        let db = db.clone();
        async move { db.check().await }
    });
    for ((holder, _), change) in holders.iter().zip([attach, detach]) {
        until_somebody_waits(&writer).await;
        writer.batch_execute(change).await.unwrap();
        holder.batch_execute("COMMIT").await.unwrap();
    }
    looking.await.unwrap().unwrap();
    writer.batch_execute("UPDATE tasks SET n = 1").await.unwrap();
    let goes_on = |client: &Client| {
        assert!(client.nosub.is_empty(), "{:?}", client.nosub);
        shown(client) == r#"~1 n:1,v:"a""#
    };
    client.until("the update", goes_on).await;
    db.close().await;
}

/// Waits until a session waits for a lock. It reads no catalog that may be locked.
async fn until_somebody_waits(client: &tokio_postgres::Client) {
    let waiting = "SELECT count(*) FROM pg_catalog.pg_lock_status() AS l WHERE NOT l.granted";
    let until = async {
        while client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), until).await.expect("a look waits");
}

ddp_tests::over_both_feeds!(
    a_partition_that_goes_while_a_server_looks_that_may_not_install,
    a_new_partition_that_somebody_has_locked,
    a_privilege_that_comes_later,
    triggers_that_cannot_be_installed_again_at_once,
    triggers_that_the_database_has_no_room_for,
);
