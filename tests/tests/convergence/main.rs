//! Random writers, clients that come and go and log in as others, three servers on one database,
//! and faults. At rest every client has what SQL returns. On the way every message fits what the
//! client has, no document goes back in commit order, and the caller of a method has seen its
//! effect when `updated` comes.
//!
//! `CONVERGENCE_SECONDS` is how long the faults last, `CONVERGENCE_PAUSE` the longest pause of a
//! writer between transactions in milliseconds, roughly (a long run may leave some of the machine
//! to others), and `SEED` repeats a run's choices.

mod faults;
mod publications;
mod servers;
mod settings;
mod subscribers;
mod tree;
mod writers;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ddp_cluster::Cluster;
use ddp_postgres::Feed;
use ddp_tests::{Dice, database};
use tokio::task::JoinHandle;
use tokio_postgres::NoTls;

use self::servers::ServerProcess;

const SERVERS: usize = 3;
const CLIENTS: usize = 20;
const RUST_WRITERS: usize = 2;

const SETUP: &str = "
    CREATE SCHEMA odd;
    CREATE TABLE odd.thing ();
    CREATE TABLE tasks (
        id text PRIMARY KEY,
        list_id text NOT NULL,
        text text,
        checked boolean NOT NULL DEFAULT false,
        rank integer NOT NULL DEFAULT 0,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        up text REFERENCES tasks ON UPDATE CASCADE ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED,
        revision bigint,
        weight float8 DEFAULT 0.1::float8 + 0.2::float8,
        bytes bytea DEFAULT '\\x00ff',
        span interval DEFAULT '1 day 02:03:04.5',
        price money DEFAULT 1234.5::numeric::money,
        object regclass DEFAULT 'odd.thing'
    );
    CREATE SEQUENCE revisions;
    CREATE FUNCTION revise() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN NEW.revision := nextval('revisions'); RETURN NEW; END $$;
    CREATE TRIGGER revise BEFORE INSERT OR UPDATE ON tasks
        FOR EACH ROW EXECUTE FUNCTION revise();
    CREATE TABLE lists (
        id integer PRIMARY KEY DEFERRABLE,
        title text NOT NULL
    );
    CREATE FUNCTION put(text, text, text) RETURNS text LANGUAGE sql AS
        $$ INSERT INTO tasks (id, list_id, text) VALUES ($1, $2, $3)
            ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text RETURNING id $$;
    CREATE FUNCTION take(text) RETURNS text LANGUAGE sql AS
        $$ DELETE FROM tasks WHERE id = $1 RETURNING id $$;
    CREATE TYPE mood AS ENUM ('calm', 'glad');
    CREATE TYPE place AS (town text);
    CREATE TABLE notes (id integer PRIMARY KEY, text text, mood mood, place place)
        PARTITION BY RANGE (id);
    CREATE TABLE low PARTITION OF notes FOR VALUES FROM (0) TO (10);
    CREATE TABLE high PARTITION OF notes FOR VALUES FROM (10) TO (20);
    CREATE FUNCTION move_notes(integer, integer) RETURNS void LANGUAGE sql AS
        $$ MERGE INTO notes USING (VALUES ($1)) AS v (id) ON notes.id = v.id
            WHEN MATCHED AND v.id % 2 = 0 THEN UPDATE SET id = $2
            WHEN MATCHED THEN UPDATE SET id = $2, text = 'moved' $$;
    CREATE TABLE parts (
        a integer UNIQUE,
        b integer REFERENCES parts (a) ON UPDATE CASCADE ON DELETE CASCADE DEFERRABLE,
        text text,
        PRIMARY KEY (a, b)
    );
    CREATE TABLE unpublished (id integer PRIMARY KEY, note text);
";

/// What all participants share.
#[derive(Default)]
pub(crate) struct Run {
    over: AtomicBool,
    pub(crate) transactions: AtomicUsize,
    pub(crate) messages: AtomicUsize,
    pub(crate) puts: AtomicUsize,
    /// Limits a writer's pauses, in milliseconds.
    pub(crate) pause: usize,
}

impl Run {
    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    pub(crate) fn count(&self, counter: &AtomicUsize) {
        self.count_many(counter, 1);
    }

    pub(crate) fn count_many(&self, counter: &AtomicUsize, number: usize) {
        counter.fetch_add(number, Ordering::SeqCst);
    }
}

fn seconds() -> u64 {
    from_environment("CONVERGENCE_SECONDS").unwrap_or(60)
}

fn from_environment<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a whole number, not {text}")))
}

/// Starts writing, with every kind of program.
fn start_writers(test: &str, cluster: &Cluster, seed: &str, run: &Arc<Run>) -> Vec<JoinHandle<()>> {
    let (url, seed) = (cluster.url(), seed.to_owned());
    let psql = cluster.psql_command().split(' ').next().unwrap_or("psql").to_owned();
    let mut writers = Vec::new();
    for number in 0..RUST_WRITERS {
        let dice = Dice::new(&seed, &format!("writer {number}"));
        writers.push(tokio::spawn(writers::write(url.clone(), dice, Arc::clone(run))));
    }
    let (for_psql, psql_url) = (Arc::clone(run), url.clone());
    let dice = Dice::new(&seed, "psql");
    writers.push(tokio::task::spawn_blocking(move || {
        writers::write_by_psql(&psql, &psql_url, dice, &for_psql);
    }));
    match writers::python() {
        Some(python) => {
            let (run, url, seed) = (Arc::clone(run), url.clone(), seed.clone());
            writers.push(tokio::task::spawn_blocking(move || {
                writers::write_by_python(&python, &url, &seed, &run);
            }));
        }
        None => println!("{test}: without a writer in Python, for there is no psycopg"),
    }
    writers
}

async fn converge(test: &str, feed: Feed, keys_only: bool, has_faults: bool, seconds: u64) {
    let test = &database::name(test, feed);
    let seed = Dice::seed(test);
    let options = database::cluster_options().locale(settings::LOCALE);
    let cluster = Cluster::start(options).expect("PostgreSQL is installed and starts");
    cluster.psql("postgres", SETUP).unwrap();
    let url = cluster.url();
    let port = SocketAddr::from((Ipv4Addr::LOCALHOST, cluster.port()));
    let mut servers = Vec::new();
    for _ in 0..SERVERS {
        servers.push(ServerProcess::start(port, feed, keys_only).await);
    }
    let addresses: Arc<[SocketAddr]> = servers.iter().map(|server| server.address).collect();
    let pause = from_environment("CONVERGENCE_PAUSE").unwrap_or(4);
    let run = Arc::new(Run { pause, ..Run::default() });

    let writers = start_writers(test, &cluster, &seed, &run);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let dice = Dice::new(&seed, &format!("client {number}"));
            tokio::spawn(subscribers::subscribe(
                Arc::clone(&addresses),
                number,
                dice,
                Arc::clone(&run),
            ))
        })
        .collect();
    let for_faults = Arc::clone(&run);
    let dice = Dice::new(&seed, "faults");
    let faults = tokio::task::spawn_blocking(move || {
        let cluster =
            if has_faults { faults::make(cluster, &servers, dice, &for_faults) } else { cluster };
        (cluster, servers)
    });

    tokio::time::sleep(Duration::from_secs(seconds)).await;
    run.over.store(true, Ordering::SeqCst);
    let (cluster, mut servers) = faults.await.unwrap();
    for writer in writers {
        writer.await.unwrap();
    }
    let (sql, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    sql.batch_execute(settings::USUAL).await.unwrap();
    // Only when all are at rest, since they write as well.
    let mut at_rest = Vec::new();
    for client in clients {
        at_rest.push(client.await.unwrap());
    }
    let mut documents = 0;
    for client in &mut at_rest {
        documents += client.compare(&sql).await;
    }
    servers.iter_mut().for_each(ServerProcess::check);
    let [transactions, messages, puts] =
        [&run.transactions, &run.messages, &run.puts].map(|counter| counter.load(Ordering::SeqCst));
    println!(
        "{test}: {seconds} s, {transactions} transactions, {messages} messages, {puts} methods \
         whose effect was seen, {documents} documents at rest"
    );
    assert!(transactions > 100 && messages > 1000 && puts > 10 && documents > 0);
    drop(cluster);
}

async fn clients_converge(feed: Feed) {
    converge("convergence", feed, false, false, seconds() / 4).await;
}

async fn clients_converge_through_faults(feed: Feed) {
    converge("convergence_faults", feed, false, true, seconds()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_converge_by_keys() {
    converge("convergence_keys", Feed::Notify, true, true, seconds() / 2).await;
}

ddp_tests::over_both_feeds!(clients_converge, clients_converge_through_faults);
