//! A database for each test, in one cluster for each test program.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "every test program uses some of it")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use ddp_cluster::{Cluster, ClusterOptions};
use ddp_postgres::Feed;
use ddp_postgres::Table;
use ddp_postgres::testing::schema::{self, Layout, SESSION_OPTIONS};
use ddp_postgres::testing::{Assembled, Assembler, Batch, Effect};
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

const FENCE: &str = "ddp_test_fence";

/// Types of our own, and what names mean.
pub const TYPES: &str = "CREATE TYPE mood AS ENUM ('happy', 'so so');
    CREATE DOMAIN cents_base AS int4; CREATE DOMAIN cents AS cents_base CHECK (VALUE >= 0);
    CREATE DOMAIN moment AS timestamptz; CREATE DOMAIN amounts AS numeric[];
    CREATE TYPE place AS (x numeric, label text, seen timestamptz);
    CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION cube;
    CREATE SCHEMA s; CREATE TABLE s.things (); CREATE TYPE s.kind AS ENUM ('a', 'b c');
    CREATE FUNCTION s.act(int) RETURNS int LANGUAGE sql AS 'SELECT $1';
    CREATE FUNCTION s.kind_json(s.kind) RETURNS json LANGUAGE plpgsql AS
        'BEGIN RAISE division_by_zero; END';
    CREATE CAST (s.kind AS json) WITH FUNCTION s.kind_json(s.kind);
    CREATE TYPE kinds AS (kind s.kind, x float8)";

/// What a writer may have set that changes how values are written.
pub const ODD_SETTINGS: &str = "SET TimeZone = 'Asia/Kathmandu'; SET extra_float_digits = 0;
    SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET bytea_output = 'escape';
    SET standard_conforming_strings = on; SET xmloption = document;
    SET quote_all_identifiers = on; SET array_nulls = on;
    SET lc_monetary = 'de_DE.UTF-8'";

tokio::task_local! {
    /// The feed under test.
    pub static FEED: Feed;
}

/// Makes two tests of each function: one for each change feed.
#[macro_export]
macro_rules! over_both_feeds {
    ($($test:ident),* $(,)?) => {
        $crate::over_both_feeds!(@ over_notify, Notify, $($test),*);
        $crate::over_both_feeds!(@ over_wal, Wal, $($test),*);
    };
    (@ $module:ident, $feed:ident, $($test:ident),*) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $test() {
                    let feed = ::ddp_postgres::Feed::$feed;
                    $crate::support::FEED.scope(feed, super::$test()).await;
                }
            )*
        }
    };
}

/// The feed under test; `notify` if the test is not about feeds.
pub fn feed() -> Feed {
    FEED.try_with(|feed| *feed).unwrap_or_default()
}

pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let options = ClusterOptions::temporary()
            .without_durability()
            .locale("de_DE")
            .setting("synchronous_commit", "on")
            .setting("wal_level", "logical")
            .setting("max_wal_senders", "100")
            .setting("max_replication_slots", "100")
            .setting("log_statement", "all")
            .setting("max_connections", "200");
        Cluster::start(options).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// A new database for one test.
pub struct Database {
    pub name: String,
    pub client: Client,
}

impl Database {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// A new database with options of `CREATE DATABASE`.
    pub async fn with(options: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let admin = connect("postgres", "").await;
        admin.batch_execute(&format!("CREATE DATABASE {name} {options}")).await.unwrap();
        let client = connect(&name, SESSION_OPTIONS).await;
        Self { name, client }
    }

    pub async fn connect(&self) -> Client {
        connect(&self.name, "").await
    }

    pub async fn run(&self, sql: &str) {
        run(&self.client, sql).await;
    }

    pub async fn publish(&mut self, table: &Table) -> Layout {
        let layout = schema::describe(&self.client, table).await.unwrap().with_feed(feed());
        let layouts = std::slice::from_ref(&layout);
        schema::install(&mut self.client, layouts).await.unwrap_or_else(|e| panic!("{e}"));
        layout
    }

    pub async fn listen(&self, layouts: &[&Layout]) -> Listener {
        Listener::new(&self.name, layouts).await
    }

    /// Every row as a live query's SELECT reads it.
    pub async fn rows(&self, layout: &Layout) -> Vec<String> {
        let (row, key) = (layout.row_json_sql("t"), layout.key_json_sql("t"));
        let sql = format!("SELECT {row} FROM {} AS t ORDER BY {key}", layout.relation());
        let rows = self.client.query(&sql, &[]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }
}

pub async fn run(client: &Client, sql: &str) {
    if let Err(error) = client.batch_execute(sql).await {
        panic!("{error:?}\n{sql}");
    }
}

pub async fn connect(database: &str, options: &str) -> Client {
    let mut config: Config = cluster().database_url(database).parse().unwrap();
    let (client, connection) = config.options(options).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Hears what the triggers send, and feeds an assembler.
pub struct Listener {
    source: Source,
    assembler: Assembler,
    pub payloads: Vec<String>,
}

enum Source {
    Notify(Client, mpsc::UnboundedReceiver<(String, String)>),
    /// A session with a temporary slot.
    Wal(Client),
}

impl Source {
    async fn notify(database: &str, layouts: &[&Layout]) -> Self {
        let config: Config = cluster().database_url(database).parse().unwrap();
        let (client, mut connection) = config.connect(NoTls).await.unwrap();
        let (sender, messages) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) =
                futures::future::poll_fn(|context| connection.poll_message(context)).await
            {
                if let AsyncMessage::Notification(n) = message {
                    let _ = sender.send((n.channel().to_owned(), n.payload().to_owned()));
                }
            }
        });
        run(&client, &format!("LISTEN {FENCE}")).await;
        for layout in layouts {
            run(&client, &format!("LISTEN \"{}\"", layout.channel().replace('"', "\"\""))).await;
        }
        Self::Notify(client, messages)
    }

    async fn wal(database: &str) -> Self {
        let client = connect(database, "").await;
        let slot = format!("listener_{}", ddp_server::random::id().to_lowercase());
        let sql = "SELECT pg_create_logical_replication_slot($1, 'pgoutput', true)";
        client.query(sql, &[&slot]).await.unwrap();
        run(&client, &format!("SET ddp_test.slot = '{slot}'")).await;
        Self::Wal(client)
    }

    /// The channels and payloads of everything committed before this call.
    async fn payloads(&mut self) -> Vec<(String, String)> {
        let mut payloads = Vec::new();
        match self {
            Self::Notify(client, messages) => {
                run(client, &format!("NOTIFY {FENCE}")).await;
                loop {
                    let payload = messages.recv().await.unwrap();
                    if payload.0 == FENCE {
                        return payloads;
                    }
                    payloads.push(payload);
                }
            }
            Self::Wal(client) => {
                let sql = "SELECT data FROM pg_logical_slot_get_binary_changes(
                    current_setting('ddp_test.slot'), NULL, NULL,
                    'proto_version', '1', 'publication_names', 'ddp', 'messages', 'true')";
                for row in client.query(sql, &[]).await.unwrap() {
                    let data: &[u8] = row.get(0);
                    // A letter, flags, the position; the prefix; the length; the content.
                    if data[0] == b'M' {
                        let end = 10 + data[10..].iter().position(|byte| *byte == 0).unwrap();
                        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                        payloads.push((text(&data[10..end]), text(&data[end + 5..])));
                    }
                }
                payloads
            }
        }
    }
}

impl Listener {
    async fn new(database: &str, layouts: &[&Layout]) -> Self {
        let source = match feed() {
            Feed::Notify => Source::notify(database, layouts).await,
            Feed::Wal => Source::wal(database).await,
            other => panic!("no test listens by {other:?} yet"),
        };
        let mut assembler = Assembler::new(8 << 20);
        for layout in layouts {
            assembler.listen(Arc::new((*layout).clone()));
        }
        Self { source, assembler, payloads: Vec::new() }
    }

    /// Everything committed before this call.
    pub async fn assembled(&mut self) -> Vec<Assembled> {
        self.payloads.clear();
        for (channel, payload) in self.source.payloads().await {
            self.assembler.feed(&channel, &payload);
            self.payloads.push(payload);
        }
        self.assembler.end_of_burst();
        std::iter::from_fn(|| self.assembler.poll()).collect()
    }

    /// Knows a table as it is described now.
    pub fn know(&mut self, layout: &Layout) {
        self.assembler.listen(Arc::new(layout.clone()));
    }

    pub async fn batches(&mut self) -> Vec<Batch> {
        let batch = |assembled| match assembled {
            Assembled::Batch(batch) => batch,
            Assembled::Gap(gap) => panic!("{gap:?}"),
        };
        self.assembled().await.into_iter().map(batch).collect()
    }

    /// The only transaction since the last call, as text: `~1={"title":"a"} ~2=gone`.
    pub async fn net(&mut self, layout: &Layout) -> String {
        let batches = self.batches().await;
        let [batch] = batches.as_slice() else { panic!("{batches:?}") };
        net(layout, batch)
    }
}

pub fn net(layout: &Layout, batch: &Batch) -> String {
    let mut words = Vec::new();
    if matches!(batch.effect, Effect::Truncation { .. }) {
        words.push("truncated".to_owned());
    }
    if batch.effect == Effect::Requery {
        words.push("requery".to_owned());
    }
    if !batch.unread().is_empty() {
        let mut ids: Vec<_> = batch.unread().iter().map(|(id, _)| id.to_string()).collect();
        ids.sort();
        return format!("read {}", ids.join(" "));
    }
    let mut changes = batch.changes().to_vec();
    changes.sort_by(|a, b| a.id.cmp(&b.id));
    for change in &changes {
        let value = match &change.row {
            None => "gone".to_owned(),
            Some(row) => {
                let document = row.document(layout, None).unwrap();
                document.iter().map(|(_, value)| value).collect::<Vec<_>>().join(",")
            }
        };
        words.push(format!("{}={value}", change.id));
    }
    words.join(" ")
}
