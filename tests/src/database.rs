//! Databases for the tests.

use std::sync::{Mutex, OnceLock, PoisonError};

use ddp_cluster::{Cluster, ClusterOptions};
use ddp_postgres::Feed;

/// Makes the type `stay` of a room and at least one night, as `(7,1)`. No version of PostgreSQL can be
/// asked without an error whether a text is one.
pub const STAY: &str = "
    CREATE FUNCTION check_nights(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN IF $1 < 1 THEN RAISE 'too short'; END IF; RETURN true; END $$;
    CREATE DOMAIN nights AS int CHECK (check_nights(VALUE));
    CREATE TYPE stay AS (room int, nights nights);";

/// The cluster shared by the tests of one program, started by the first of them.
///
/// # Panics
/// If PostgreSQL is not installed or does not start.
pub fn shared_cluster() -> &'static Mutex<Cluster> {
    static CLUSTER: OnceLock<Mutex<Cluster>> = OnceLock::new();
    CLUSTER.get_or_init(|| Mutex::new(start_cluster()))
}

/// A cluster for a single test, stopped and removed when dropped.
///
/// # Panics
/// If PostgreSQL is not installed or does not start.
#[must_use]
pub fn start_cluster() -> Cluster {
    Cluster::start(cluster_options()).expect("PostgreSQL is installed and starts")
}

/// What [`start_cluster`] starts it with.
pub fn cluster_options() -> ClusterOptions {
    ClusterOptions::temporary()
        .without_durability()
        .setting("max_connections", "200")
        .setting("wal_level", "logical")
        .setting("max_wal_senders", "100")
        .setting("max_replication_slots", "100")
        .setting("shared_preload_libraries", "pg_stat_statements")
        .setting("pg_stat_statements.track", "all")
}

/// The name of the database of a test that runs over each feed.
#[must_use]
pub fn name(test: &str, feed: Feed) -> String {
    format!("{test}_{feed:?}").to_lowercase()
}

/// Creates a database on the shared cluster, and returns its URL.
///
/// # Panics
/// If SQL fails.
#[must_use]
pub fn create_database(name: &str, setup: &str) -> String {
    create_database_with(name, "", setup)
}

/// The same with options of `CREATE DATABASE`.
///
/// # Panics
/// If it cannot be created.
pub fn create_database_with(name: &str, options: &str, setup: &str) -> String {
    let cluster = shared_cluster().lock().unwrap_or_else(PoisonError::into_inner);
    let create = format!("CREATE DATABASE \"{name}\" {options}");
    cluster.psql("postgres", &create).expect("a new database");
    cluster.psql(name, setup).expect("its tables");
    cluster.database_url(name)
}

/// The URL of a database on the shared cluster.
#[must_use]
pub fn database_url(name: &str) -> String {
    shared_cluster().lock().unwrap_or_else(PoisonError::into_inner).database_url(name)
}

/// Forgets which statements ran in a database. Those of other databases are counted at the same time, so
/// they stay.
pub fn forget_statements(database: &str) {
    let this = "SELECT oid FROM pg_database WHERE datname = current_database()";
    psql(database, &format!("SELECT pg_stat_statements_reset(0, ({this}))"));
}

/// A session of one's own in a database of the shared cluster, for transactions that stay open.
///
/// # Panics
/// If it cannot connect.
pub async fn connect(database: &str) -> tokio_postgres::Client {
    let url = database_url(database);
    let (client, connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.expect("the cluster runs");
    tokio::spawn(connection);
    client
}

/// Runs a file of commands with `psql`, unchanged.
///
/// # Panics
/// If it fails.
pub fn psql_script(database: &str, script: &str) {
    use std::io::Write;
    let mut child = std::process::Command::new("psql")
        .args(["-Xq", &database_url(database)])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("psql is installed");
    let mut input = child.stdin.take().expect("its input is a pipe");
    input.write_all(script.as_bytes()).expect("psql reads");
    drop(input);
    assert!(child.wait().expect("psql ends").success(), "{script}");
}

/// Runs SQL in a database of the shared cluster, in a separate `psql` process.
///
/// # Panics
/// If SQL fails.
pub fn psql(database: &str, sql: &str) -> String {
    let cluster = shared_cluster().lock().unwrap_or_else(PoisonError::into_inner);
    cluster.psql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// The same, without holding up other tests' SQL while it runs.
///
/// # Panics
/// If SQL fails.
pub fn psql_alone(database: &str, sql: &str) -> String {
    let url = {
        let cluster = shared_cluster().lock().unwrap_or_else(PoisonError::into_inner);
        cluster.database_url(database)
    };
    let output = std::process::Command::new("psql")
        .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, &url])
        .output()
        .expect("psql is installed");
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
