//! A pooler between server and database: PgBouncer, if it is installed.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use ddp_postgres::{Db, Table};
use ddp_server::{Collection, Server, State};
use ddp_tests::{Client, database};
use serde_json::{Value, json};

const PROGRAM: &str = "/usr/sbin/pgbouncer";
const NOBODY: u32 = 65_534;
const TASKS: Collection<Value> = Collection::new("tasks");

struct Pooler {
    child: Child,
    folder: std::path::PathBuf,
    url: String,
}

impl Pooler {
    /// Before the tests' cluster, in this mode; `None` without PgBouncer.
    async fn start(name: &str, mode: &str, database_url: &str) -> Option<Self> {
        if !std::path::Path::new(PROGRAM).exists() {
            println!("{PROGRAM} is not installed");
            return None;
        }
        let target: tokio_postgres::Config = database_url.parse().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = std::env::temp_dir().join(format!("ddp-pooler.{}.{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nauth_type = any\npool_mode = {mode}\nunix_socket_dir =\n",
            target.get_ports()[0]
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(PROGRAM);
        command.arg("-q").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        // It refuses to run as root.
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().unwrap();
        let url = format!("postgres://postgres@127.0.0.1:{port}/{}", target.get_dbname().unwrap());
        let pooler = Self { child, folder, url };
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(std::time::Instant::now() < deadline, "PgBouncer does not start");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Some(pooler)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}

async fn changes_arrive(db: Db, name: &str) {
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .with_state(db);
    let address = ddp_tests::peer::serve(&server).await;
    let mut client = Client::connect(address).await;
    client.subscribe("tasks", json!([])).await;
    // Written as the session's settings say.
    database::psql(name, "INSERT INTO tasks VALUES (1, 0.1::float8 + 0.2::float8)");
    client.until("the task", |client| client.documents("tasks").contains_key("~1")).await;
    let mut other = Client::connect(address).await;
    other.subscribe("tasks", json!([])).await;
    assert_eq!(client.documents("tasks"), other.documents("tasks"));
    assert_eq!(client.documents("tasks")["~1"]["x"], json!(0.300_000_000_000_000_04));
}

const SETUP: &str = "CREATE TABLE tasks (id int PRIMARY KEY, x float8)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_session_mode_will_do() {
    let name = "pooler_session";
    let url = database::create_database(name, SETUP);
    let Some(pooler) = Pooler::start(name, "session", &url).await else { return };
    let builder =
        Db::builder(&pooler.url).table(Table::new("tasks").all_columns()).connections_max(4);
    changes_arrive(builder.connect().await.unwrap(), name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_is_refused() {
    let name = "pooler_transaction";
    let url = database::create_database(name, SETUP);
    let Some(pooler) = Pooler::start(name, "transaction", &url).await else { return };
    let error = Db::builder(&pooler.url).table(Table::new("tasks").all_columns()).connect().await;
    let error = error.expect_err("a feed by transactions").to_string();
    assert!(error.contains("pooler in transaction mode"), "{error}");
    // Reads would be written as others have set it.
    for connections_max in [1, 2, 16] {
        let around = Db::builder(&pooler.url)
            .table(Table::new("tasks").all_columns())
            .connections_max(connections_max)
            .feed_url(&url);
        let error = around.connect().await.expect_err("sessions that get lost").to_string();
        assert!(error.contains("pooler in transaction mode"), "{connections_max}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_may_go_round_a_pooler() {
    let name = "pooler_feed";
    let url = database::create_database(name, SETUP);
    let Some(pooler) = Pooler::start(name, "session", &url).await else { return };
    let builder =
        Db::builder(&pooler.url).table(Table::new("tasks").all_columns()).connections_max(4);
    changes_arrive(builder.feed_url(&url).connect().await.unwrap(), name).await;
    let direct = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ddp feed'
        AND client_port <> -1 AND datname = current_database()";
    assert_eq!(database::psql(name, direct).trim(), "1");
}
