//! Queries with `sort`, `skip` and `limit` over PostgreSQL: always the same as SQL's result, and
//! read again only when the reserve beyond the window is used up.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ddp_postgres::{Db, Table};
use ddp_server::extract::{Params, State};
use ddp_server::query::{ascending, descending};
use ddp_server::{Collection, Cursor, Error, Server, WriteFence, field};
use ddp_tests::{Client, Dice, database};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

const SCORES: Collection<Value> = Collection::new("scores");

const SETUP: &str = "
    CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
    CREATE TABLE scores (
        id text PRIMARY KEY, score integer, price numeric, name text, data jsonb,
        active boolean NOT NULL DEFAULT true
    );
    INSERT INTO scores SELECT 'r' || n, n, n / 7.0, 'name ' || n % 17, jsonb_build_object('n', n % 5)
        FROM generate_series(1, 500) AS n;
";

const WRITERS: usize = 4;

/// What each writer commits before everything is compared.
const TRANSACTIONS: usize = 150;

/// How many documents beyond a window are kept.
const RESERVE: usize = 64;

/// The windows, each with SQL for its contents.
const WINDOWS: [(&str, &str); 7] = [
    ("top", "ORDER BY score DESC NULLS LAST, id COLLATE \"C\" LIMIT 10"),
    ("page", "ORDER BY score NULLS FIRST, id COLLATE \"C\" DESC LIMIT 10 OFFSET 5"),
    ("cheap", "WHERE active ORDER BY price, score DESC, id COLLATE \"C\" LIMIT 7 OFFSET 2"),
    ("within", "WHERE (data->>'n')::int = 3 ORDER BY score DESC, id COLLATE \"C\" LIMIT 5"),
    ("names", "ORDER BY name DESC, id COLLATE \"C\" LIMIT 6"),
    ("any", "ORDER BY id COLLATE \"C\" LIMIT 12"),
    ("rest", "WHERE score > 480 ORDER BY score, id COLLATE \"C\" OFFSET 3"),
];

fn window(db: &Db, name: &str) -> Option<Cursor<Value>> {
    let all = db.find(&SCORES);
    Some(match name {
        "top" => all.sort([descending("score").nulls_last()]).limit(10),
        "page" => all.sort([ascending("score").nulls_first(), descending("_id")]).limit(10).skip(5),
        "cheap" => all
            .filter(field("active").eq(true))
            .sort([ascending("price"), descending("score")])
            .limit(7)
            .skip(2),
        "within" => all.filter(field("data.n").eq(3)).sort([descending("score")]).limit(5),
        "names" => all.sort([descending("name")]).limit(6),
        "any" => all.limit(12),
        "rest" => all.filter(field("score").gt(480)).sort([ascending("score")]).skip(3),
        _ => return None,
    })
}

async fn scores(
    State(db): State<Db>,
    Params((name,)): Params<(String,)>,
) -> Result<Cursor<Value>, Error> {
    window(&db, &name).ok_or_else(|| Error::client(404, "no such window"))
}

async fn barrier(State(db): State<Db>, fence: WriteFence) -> Result<(), Error> {
    Ok(db.begin(&fence).await?.commit().await?)
}

struct Fixture {
    database: String,
    role: String,
    url: String,
    address: SocketAddr,
    _db: Db,
}

impl Fixture {
    async fn start(name: &str) -> Self {
        let (database, role) = (format!("windows_{name}"), format!("windows_{name}_server"));
        let setup = format!("{SETUP} CREATE ROLE {role} LOGIN SUPERUSER;");
        let url = database::create_database(&database, &setup);
        let of_role = url.replace("postgres://postgres@", &format!("postgres://{role}@"));
        let db =
            Db::builder(of_role).table(Table::new("scores").all_columns()).connect().await.unwrap();
        let server = Server::builder()
            .publish("scores", scores)
            .method("barrier", barrier)
            .with_state(db.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { server.serve(listener).await });
        Self { database, role, url, address, _db: db }
    }

    fn psql(&self, sql: &str) -> String {
        database::psql(&self.database, sql)
    }

    /// How many times the server has read rows since the last reset.
    fn reads(&self) -> u64 {
        let sql = format!(
            "SELECT COALESCE(sum(calls), 0) FROM pg_stat_statements WHERE query LIKE '%to_json%' \
             AND query NOT LIKE '%pg_stat_statements%' AND userid = '{}'::regrole",
            self.role
        );
        self.psql(&sql).trim().parse().unwrap()
    }

    fn expected(&self, window: &str) -> BTreeMap<String, String> {
        let sql = format!("SELECT id || ' ' || COALESCE(score::text, 'null') FROM scores {window}");
        let pair = |line: &str| {
            let (id, score) = line.split_once(' ').unwrap();
            (id.to_owned(), score.to_owned())
        };
        self.psql(&sql).lines().map(pair).collect()
    }
}

fn shown(client: &Client) -> BTreeMap<String, String> {
    let documents = client.documents("scores").into_iter();
    documents.map(|(id, fields)| (id, fields["score"].to_string())).collect()
}

/// Inserts, changes and deletes where it matters, one to four rows per transaction.
async fn write(url: String, mut dice: Dice, number: usize) {
    let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    for transactions in 0..TRANSACTIONS {
        let transaction = client.transaction().await.unwrap();
        for step in 0..=dice.below(4) {
            let sql = match dice.below(7) {
                0 => format!(
                    "INSERT INTO scores VALUES ('w{number}-{transactions}-{step}', {}, {}, 'name {}', '{{\"n\": 3}}')",
                    dice.below(600),
                    dice.below(90),
                    dice.below(30)
                ),
                1 => "DELETE FROM scores WHERE id = (SELECT id FROM scores \
                      ORDER BY score DESC NULLS LAST LIMIT 1)"
                    .to_owned(),
                2 => format!(
                    "DELETE FROM scores WHERE score BETWEEN {0} AND {0} + 1",
                    dice.below(500)
                ),
                3 => format!("UPDATE scores SET score = NULL WHERE score = {}", dice.below(60)),
                4 => format!(
                    "UPDATE scores SET active = NOT active, price = price + 1 WHERE price < {}",
                    dice.below(5)
                ),
                5 => format!(
                    "UPDATE scores SET data = '{{\"n\": {}}}' WHERE score > {}",
                    dice.below(5),
                    480 + dice.below(100)
                ),
                _ => format!(
                    "UPDATE scores SET score = {}, name = 'name {}' WHERE id = 'r{}'",
                    dice.below(600),
                    dice.below(30),
                    dice.below(501)
                ),
            };
            // Two writers conflict: the transaction is abandoned.
            if transaction.batch_execute(&sql).await.is_err() {
                break;
            }
        }
        // Rolls back if it was abandoned.
        transaction.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_under_concurrent_writers_end_as_sql_says() {
    let seed = Dice::seed("windows");
    let fixture = Fixture::start("busy").await;
    let mut clients = Vec::new();
    for (name, _) in WINDOWS {
        let mut client = Client::connect(fixture.address).await;
        client.subscribe("scores", json!([name])).await;
        clients.push(client);
    }
    for round in 0..3 {
        let writers = (0..WRITERS).map(|number| {
            let dice = Dice::new(&seed, &format!("writer {number} in {round}"));
            tokio::spawn(write(fixture.url.clone(), dice, round * WRITERS + number))
        });
        for writer in futures::future::join_all(writers).await {
            writer.unwrap();
        }
        let mut documents = 0;
        for (client, (name, sql)) in clients.iter_mut().zip(WINDOWS) {
            assert_eq!(client.call("barrier", json!([])).await.get("error"), None);
            assert_eq!(shown(client), fixture.expected(sql), "{name}");
            documents += shown(client).len();
        }
        println!("windows: {documents} documents at rest");
        assert!(documents > 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_reads_again_only_when_its_reserve_has_run_dry() {
    let fixture = Fixture::start("reserve").await;
    database::forget_statements(&fixture.database);
    let mut client = Client::connect(fixture.address).await;
    client.subscribe("scores", json!(["top"])).await;
    assert_eq!(fixture.reads(), 1);
    let sql = WINDOWS[0].1;
    let mut check = async |changes: &[String], reads: u64, what: &str| {
        for change in changes {
            fixture.psql(change);
        }
        assert_eq!(client.call("barrier", json!([])).await.get("error"), None);
        assert_eq!(shown(&client), fixture.expected(sql), "{what}");
        assert_eq!(fixture.reads(), reads, "{what}");
    };
    let delete_top = "DELETE FROM scores WHERE score = (SELECT max(score) FROM scores)".to_owned();
    let beyond: Vec<String> =
        (0..20).map(|n| format!("UPDATE scores SET score = {n} WHERE id = 'r{}'", n + 1)).collect();
    check(&beyond, 1, "changes far below the window").await;
    let within: Vec<String> = (0..20)
        .map(|n| format!("UPDATE scores SET score = {} WHERE id = 'r{}'", 1000 + n, 100 + n))
        .collect();
    check(&within, 1, "rows that move to the top").await;
    // Those took twenty places in the window and its reserve, and are kept in addition.
    check(&vec![delete_top.clone(); RESERVE + 20], 1, "the reserve is just enough").await;
    check(std::slice::from_ref(&delete_top), 2, "the reserve has run dry").await;
    check(&vec![delete_top.clone(); RESERVE], 2, "it was filled again").await;
    check(&[delete_top], 3, "and has run dry again").await;
    check(&["TRUNCATE scores".to_owned()], 3, "nothing is left").await;
    let insert = "INSERT INTO scores SELECT 'n' || n, n FROM generate_series(1, 200) AS n";
    check(&[insert.to_owned()], 3, "all that is new was seen").await;
}

const EVENTS: Collection<Value> = Collection::new("events");
const WORDS: Collection<Value> = Collection::new("words");

/// 2024-01-01 in microseconds.
const NEW_YEAR: i64 = 1_704_067_200_000_000;

async fn start(url: &str, table: &str) -> Client {
    let db = Db::builder(url).table(Table::new(table).all_columns()).connect().await.unwrap();
    let server = Server::builder()
        .publish("latest", async |State(db): State<Db>| {
            db.find(&EVENTS).sort([ascending("name"), ascending("at")]).limit(1)
        })
        .publish("until", async |State(db): State<Db>| {
            let until = field("at").lte(ddp_server::query::Value::Time(NEW_YEAR));
            db.find(&EVENTS).filter(field("name").lt("m").or(until))
        })
        .publish("first", async |State(db): State<Db>| db.find(&WORDS).limit(1))
        .method("barrier", barrier)
        .with_state(db);
    Client::connect(ddp_tests::peer::serve(&server).await).await
}

/// A document has times in milliseconds only, so it may look the same although the row differs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_within_a_millisecond_is_a_change() {
    let setup = "
        CREATE TABLE events (id text PRIMARY KEY, name text COLLATE \"en-x-icu\", at timestamptz);
        INSERT INTO events VALUES
            ('a', 'x', '2024-01-01 00:00:00.0000+00'), ('b', 'x', '2024-01-01 00:00:00.0002+00')";
    let url = database::create_database("windows_millisecond", setup);
    let mut window = start(&url, "events").await;
    let mut until = start(&url, "events").await;
    until.subscribe("until", json!([])).await;
    window.subscribe("latest", json!([])).await;
    let ids = |client: &Client| client.documents("events").into_keys().collect::<Vec<_>>();
    assert_eq!(ids(&window), ["a"]);
    assert_eq!(ids(&until), ["a"]);
    let later = "UPDATE events SET at = '2024-01-01 00:00:00.0005+00' WHERE id = 'a'";
    database::psql("windows_millisecond", later);
    for client in [&mut window, &mut until] {
        assert_eq!(client.call("barrier", json!([])).await.get("error"), None);
    }
    let read = |sql: &str| database::psql("windows_millisecond", sql);
    assert_eq!(read("SELECT id FROM events ORDER BY name, at LIMIT 1").trim(), "b");
    assert_eq!(read("SELECT id FROM events WHERE name < 'm' OR at <= '2024-01-01 00:00+00'"), "");
    assert_eq!((ids(&window), ids(&until)), (vec!["b".to_owned()], vec![]));
}

/// There the order of the bytes is not that of the code points.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_in_another_encoding_has_one_order() {
    let name = "windows_encoding";
    let create = "ENCODING 'WIN1252' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    database::psql("postgres", &format!("CREATE DATABASE {name} {create}"));
    let setup = "CREATE TABLE words (id text PRIMARY KEY, number integer);
        INSERT INTO words SELECT U&'\\20AC' || n FROM generate_series(1, 200) AS n;
        INSERT INTO words VALUES (U&'\\00E9')";
    database::psql(name, setup);
    let url = database::create_database("windows_utf8", "").replace("windows_utf8", name);
    let mut client = start(&url, "words").await;
    client.subscribe("first", json!([])).await;
    let before: Vec<String> = client.documents("words").into_keys().collect();
    database::psql(name, "UPDATE words SET number = 1 WHERE id = U&'\\00E9'");
    assert_eq!(client.call("barrier", json!([])).await.get("error"), None);
    let after: Vec<String> = client.documents("words").into_keys().collect();
    assert_eq!(before, after, "the number makes no difference to the order");
}
