//! Tables made by others, all the way to the clients.

mod alter;
mod choice;
mod depends;
mod family;
mod foreign;
mod installed;
mod keys;
mod leaving;
mod order;
mod retry;
mod roles;
mod several;
mod swapped;
mod two_phase;

use std::net::SocketAddr;
use std::time::Duration;

use ddp_postgres::{Db, DbBuilder, Feed, Table};
use ddp_server::extract::{Params, State};
use ddp_server::query::Value as Constant;
use ddp_server::{Collection, Cursor, Server, field};
use ddp_tests::{Client, database};
use serde_json::Value;

const TASKS: Collection<Value> = Collection::new("tasks");

const CHECK_EVERY: Duration = Duration::from_millis(100);
const NEVER: Duration = Duration::from_secs(3600);

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
        Self::every(CHECK_EVERY, name, setup, table, feed).await
    }

    /// A server that checks its tables only when it is asked to.
    async fn unwatched(name: &str, setup: &str, feed: Feed) -> Self {
        let fixture =
            Self::every(NEVER, name, setup, Table::new("tasks").all_columns(), feed).await;
        // Its own installation is announced, and has it check the tables once.
        fixture.db.check().await.unwrap();
        fixture
    }

    async fn every(
        check_every: Duration,
        name: &str,
        setup: &str,
        table: Table,
        feed: Feed,
    ) -> Self {
        let database = format!("tables_{name}");
        let url = database::create_database(&database, setup);
        let builder = builder(&url).check_every(check_every).table(table).feed(feed);
        let (address, db) = serve(builder).await;
        Self { database, address, db }
    }

    fn psql(&self, sql: &str) -> String {
        database::psql(&self.database, sql)
    }

    /// Has the tables checked until the client has exactly this.
    async fn checks_until(&self, client: &mut Client, expected: &str) {
        for _ in 0..1000 {
            self.db.check().await.unwrap();
            client.read_for(Duration::from_millis(20)).await;
            if shown(client) == expected {
                return;
            }
        }
        panic!("{expected} is not seen, but {}", shown(client));
    }

    /// Has the tables checked until all tasks can be subscribed to.
    async fn checks_until_available(&self) -> Client {
        let mut client = Client::connect(self.address).await;
        loop {
            let id = client.send_sub("tasks", serde_json::json!([])).await;
            client.until("an answer", |c| c.ready.contains(&id) || c.nosub.contains_key(&id)).await;
            if client.ready.contains(&id) {
                return client;
            }
            self.db.check().await.unwrap();
        }
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
    Db::builder(url).check_every(CHECK_EVERY)
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
