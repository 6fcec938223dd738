//! Several databases and schemas in one server.

use ddp_postgres::{Db, DbBuilder, Table};
use ddp_server::extract::State;
use ddp_server::{Collection, Cursor, Server};
use ddp_tests::{Client, database};
use serde_json::{Value, json};

const HERE: Collection<Value> = Collection::new("here");
const THERE: Collection<Value> = Collection::new("there");

#[derive(Clone)]
struct Both {
    one: Db,
    other: Db,
}

async fn both(State(both): State<Both>) -> (Cursor<Value>, Cursor<Value>) {
    (both.one.find(&HERE), both.other.find(&THERE))
}

async fn client(one: Db, other: Db) -> Client {
    let server = Server::builder().publish("both", both).with_state(Both { one, other });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    let mut client = Client::connect(address).await;
    client.subscribe("both", json!([])).await;
    client
}

async fn sees(client: &mut Client, collection: &str, id: &str) {
    client.until(id, |client| client.documents(collection).contains_key(id)).await;
    assert_eq!(client.documents(collection).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_databases_in_one_server() {
    let setup = "CREATE TABLE tasks (id text PRIMARY KEY)";
    let mut dbs = Vec::new();
    for (name, collection) in [("tables_one", "here"), ("tables_other", "there")] {
        let url = database::create_database(name, setup);
        let table = Table::new("tasks").all_columns().collection(collection);
        dbs.push(Db::builder(url).table(table).connect().await.unwrap());
    }
    let [one, other] = dbs.try_into().unwrap();
    let mut client = client(one, other).await;
    database::psql("tables_one", "INSERT INTO tasks VALUES ('a')");
    sees(&mut client, "here", "a").await;
    database::psql("tables_other", "INSERT INTO tasks VALUES ('b')");
    sees(&mut client, "there", "b").await;
    assert_eq!(client.documents("here").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schemas_in_one_server() {
    let setup = "CREATE TABLE tasks (id text PRIMARY KEY); CREATE SCHEMA archive;
        CREATE TABLE archive.tasks (id text PRIMARY KEY)";
    let url = database::create_database("tables_schemas", setup);
    let db = Db::builder(url)
        .table(Table::new("tasks").all_columns().collection("here"))
        .table(Table::new("tasks").all_columns().schema("archive").collection("there"))
        .connect()
        .await
        .unwrap();
    let mut client = client(db.clone(), db).await;
    database::psql("tables_schemas", "INSERT INTO tasks VALUES ('a')");
    sees(&mut client, "here", "a").await;
    database::psql("tables_schemas", "INSERT INTO archive.tasks VALUES ('b')");
    sees(&mut client, "there", "b").await;
    assert_eq!(client.documents("here").len(), 1);
}

/// A database with a table of one name for each tenant.
fn tenants(url: &str, number: usize) -> DbBuilder {
    (1..=number).fold(Db::builder(url), |builder, tenant| {
        let (schema, collection) = (format!("s{tenant}"), format!("s{tenant}.tasks"));
        builder.table(Table::new("tasks").all_columns().schema(schema).collection(collection))
    })
}

/// How many pages of the catalogs a check reads, and a start that finds all triggers.
async fn pages_read(number: usize) -> u64 {
    let name = format!("tables_tenants_{number}");
    let setup = format!(
        "CREATE EXTENSION pg_stat_statements; DO $$ BEGIN FOR i IN 1..{number} LOOP
            EXECUTE format('CREATE SCHEMA s%s; CREATE TABLE s%1$s.tasks (id int PRIMARY KEY)', i);
        END LOOP; END $$"
    );
    let url = database::create_database(&name, &setup);
    tenants(&url, number).connect().await.unwrap().close().await;
    // The planner is to know how many there are.
    database::psql(&name, "ANALYZE");
    database::forget_statements(&name);
    let db = tenants(&url, number).connect().await.unwrap();
    db.check().await.unwrap();
    db.close().await;
    let pages = "SELECT sum(shared_blks_hit + shared_blks_read) FROM pg_stat_statements
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND query LIKE '%pg_catalog.pg_class%'";
    database::psql(&name, pages).trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_catalogs_are_read_in_proportion_to_the_number_of_tables() {
    let (few, many) = (pages_read(40).await, pages_read(160).await);
    // Four times as many tables: four times as many pages.
    assert!(2 * many < 9 * few, "{few} pages for 40 tables, {many} for 160");
}
