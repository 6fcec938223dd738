//! Tables made by others, all the way to the clients.

mod alter;
mod keys;
mod order;
mod roles;
mod several;

use std::net::SocketAddr;

use ddp_postgres::{Db, DbBuilder, Feed, Table};
use ddp_server::extract::{Params, State};
use ddp_server::query::Value as Constant;
use ddp_server::{Collection, Cursor, Server, field};
use ddp_tests::{Client, database};
use serde_json::Value;

const TASKS: Collection<Value> = Collection::new("tasks");

/// A database with these tables, and a server on it.
struct Fixture {
    database: String,
    address: SocketAddr,
    db: Db,
}

impl Fixture {
    async fn start(name: &str, setup: &str, table: Table) -> Self {
        Self::over(name, setup, table, Feed::default()).await
    }

    async fn over(name: &str, setup: &str, table: Table, feed: Feed) -> Self {
        let database = format!("tables_{name}");
        let url = database::create_database(&database, setup);
        let (address, db) = serve(builder(&url).table(table).feed(feed)).await;
        Self { database, address, db }
    }

    fn psql(&self, sql: &str) -> String {
        database::psql(&self.database, sql)
    }

    /// A client subscribed to all tasks.
    async fn client(&self) -> Client {
        let mut client = Client::connect(self.address).await;
        client.subscribe("tasks", serde_json::json!([])).await;
        client
    }
}

/// A database handle that soon notices changes to its tables.
fn builder(url: &str) -> DbBuilder {
    Db::builder(url).check_every(std::time::Duration::from_millis(100))
}

async fn serve(builder: DbBuilder) -> (SocketAddr, Db) {
    let db = builder.connect().await.unwrap_or_else(|error| panic!("{error}"));
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .publish("tasks.where", tasks_where)
        .with_state(db.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { server.serve(listener).await });
    (address, db)
}

async fn tasks_where(
    State(db): State<Db>,
    Params((name, value)): Params<(String, Value)>,
) -> Cursor<Value> {
    let value = match &value {
        Value::Number(number) => Constant::Int(number.as_i64().unwrap()),
        value => Constant::from(value.as_str().unwrap()),
    };
    db.find(&TASKS).filter(field(&name).eq(value))
}

/// The client's tasks: ids and fields, in the order of their names.
fn shown(client: &Client) -> String {
    let documents = client.documents("tasks");
    let show = |(id, fields): (&String, &serde_json::Map<String, Value>)| {
        let mut fields: Vec<_> = fields.iter().map(|(name, v)| format!("{name}:{v}")).collect();
        fields.sort();
        format!("{id} {}", fields.join(","))
    };
    documents.iter().map(show).collect::<Vec<_>>().join("; ")
}

/// Waits until the client has exactly this.
async fn sees(client: &mut Client, expected: &str) {
    client.until(expected, |client| shown(client) == expected).await;
}
