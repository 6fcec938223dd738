//! Databases in other encodings than UTF-8, with bytes that are not text.

use std::net::SocketAddr;

use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Params, State};
use ddp_server::{Collection, Cursor, Server, field};
use ddp_tests::peer::serve;
use ddp_tests::{Client, database};
use serde_json::{Value, json};

const TASKS: Collection<Value> = Collection::new("tasks");
const LISTS: Collection<Value> = Collection::new("lists");

const ANY_BYTES: &str = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";

const SETUP: &str = "CREATE TABLE tasks (id text PRIMARY KEY, list text, title text);
    CREATE TABLE lists (id text PRIMARY KEY, title text);
    INSERT INTO tasks VALUES ('a', 'good', 'é')";

async fn by_list(State(db): State<Db>, Params((list,)): Params<(String,)>) -> Cursor<Value> {
    db.find(&TASKS).filter(field("list").eq(list))
}

struct Fixture {
    name: String,
    db: Db,
    address: SocketAddr,
    /// Sees the good list, and all lists.
    good: Client,
}

impl Fixture {
    async fn start(name: &str, feed: Feed, table: Table) -> Self {
        let name = database::name(&format!("encodings_{name}"), feed);
        let url = database::create_database_with(&name, ANY_BYTES, SETUP);
        let builder = Db::builder(url).feed(feed).table(table);
        let lists = Table::new("lists").columns(["title"]);
        let db = builder.table(lists).connect().await.unwrap();
        let server = Server::builder()
            .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
            .publish("tasks.byList", by_list)
            .publish("lists", async |State(db): State<Db>| db.find(&LISTS))
            .with_state(db.clone());
        let address = serve(&server).await;
        let mut good = Client::connect(address).await;
        good.subscribe("tasks.byList", json!(["good"])).await;
        good.subscribe("lists", json!([])).await;
        Self { name, db, address, good }
    }

    fn psql(&self, sql: &str) {
        database::psql(&self.name, sql);
    }

    async fn all(&self) -> (Client, String) {
        let mut client = Client::connect(self.address).await;
        let id = client.subscribe("tasks", json!([])).await;
        (client, id)
    }

    /// What others write still arrives, by a feed that was never interrupted.
    async fn goes_on(&mut self, id: &str) {
        self.psql(&format!(
            "INSERT INTO tasks VALUES ('{id}', 'good', 'è'); INSERT INTO lists VALUES ('{id}', 'x')"
        ));
        let has = |client: &Client, name: &str| {
            client.collections.get(name).is_some_and(|documents| documents.contains_key(id))
        };
        self.good.until(id, |client| has(client, "tasks") && has(client, "lists")).await;
        assert!(self.good.nosub.is_empty(), "{:?}", self.good.nosub);
        assert_eq!(self.db.stats().gaps_connection, 0);
    }
}

fn tasks() -> Table {
    Table::new("tasks").columns(["list", "title"])
}

async fn bytes_that_are_no_text_end_only_the_queries_that_want_them(feed: Feed) {
    let mut fixture = Fixture::start("any", feed, tasks()).await;
    for (number, (harm, mend)) in [
        // One row, several, a change, and a key.
        ("INSERT INTO tasks VALUES ('x', 'bad', E'\\xe9')", "DELETE FROM tasks WHERE id = 'x'"),
        (
            "INSERT INTO tasks SELECT 'x' || n, 'bad', E'\\xe9' FROM generate_series(1, 3) AS n",
            "UPDATE tasks SET title = 'é' WHERE list = 'bad'",
        ),
        (
            "UPDATE tasks SET title = E'\\xff' WHERE list = 'bad'",
            "UPDATE tasks SET title = upper(id) WHERE list = 'bad'",
        ),
        ("INSERT INTO tasks VALUES (E'\\xe9', 'bad', 'x')", "DELETE FROM tasks WHERE title = 'x'"),
        (
            "INSERT INTO tasks VALUES ('long', 'bad', repeat(E'\\xe9', 20000))",
            "UPDATE tasks SET title = repeat('é', 20000) WHERE id = 'long'",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let (mut all, id) = fixture.all().await;
        fixture.psql(harm);
        all.until("nosub", |client| client.nosub.contains_key(&id)).await;
        assert_eq!(all.nosub[&id]["error"], 500, "{harm}");
        fixture.goes_on(&format!("after harm {number}")).await;
        let error = fixture.db.find(&TASKS).fetch().await.unwrap_err().to_string();
        assert!(error.contains("\"public\".\"tasks\"") && error.contains(".columns("), "{error}");
        fixture.psql(mend);
        fixture.goes_on(&format!("mended {number}")).await;
    }
    let (client, _) = fixture.all().await;
    assert_eq!(client.collections["tasks"]["x2"]["title"], "X2");
}

async fn bytes_that_are_no_text_in_rows_that_are_read_by_their_keys(feed: Feed) {
    let mut fixture = Fixture::start("keys", feed, tasks().keys_only()).await;
    let (mut all, id) = fixture.all().await;
    fixture.psql("INSERT INTO tasks VALUES ('x', 'bad', E'\\xe9'), (E'\\xe9', 'bad', '')");
    all.until("nosub", |client| client.nosub.contains_key(&id)).await;
    fixture.goes_on("after").await;
}

ddp_tests::over_both_feeds!(
    bytes_that_are_no_text_end_only_the_queries_that_want_them,
    bytes_that_are_no_text_in_rows_that_are_read_by_their_keys,
);

/// It has no SQLSTATE, as a lost connection has none, but trying again does not help.
#[tokio::test]
async fn a_value_that_cannot_be_read_is_no_lost_connection() {
    let url = database::create_database_with("encodings_value", ANY_BYTES, SETUP);
    let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET client_encoding = SQL_ASCII").await.unwrap();
    let row = client.query_one("SELECT E'\\xe9', 1::int4", &[]).await.unwrap();
    for error in
        [row.try_get::<_, String>(0).unwrap_err(), row.try_get::<_, String>(1).unwrap_err()]
    {
        assert!(error.code().is_none());
        let error = ddp_postgres::Error::from(error);
        assert!(!error.is_transient(), "{error}");
    }
    let gone = client.batch_execute("SELECT pg_terminate_backend(pg_backend_pid())");
    gone.await.unwrap_err();
    let error = client.query_one("SELECT 1", &[]).await.unwrap_err();
    assert!(ddp_postgres::Error::from(error).is_transient());
}
