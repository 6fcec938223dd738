//! What makes a collection unavailable, and passes.

use ddp_postgres::{Feed, Table};
use ddp_tests::database;
use serde_json::json;
use tokio_postgres::NoTls;

use super::{CHECK_EVERY, Fixture, builder, sees, serve};

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

ddp_tests::over_both_feeds!(
    a_new_partition_that_somebody_has_locked,
    a_privilege_that_comes_later,
    triggers_that_cannot_be_installed_again_at_once,
);
