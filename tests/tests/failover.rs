//! A standby takes over while clients are subscribed.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ddp_cluster::{Cluster, ClusterOptions};
use ddp_postgres::{Db, Feed, Table};
use ddp_server::extract::{Params, State};
use ddp_server::{Collection, Error, Server, WriteFence};
use ddp_tests::{Client, peer};
use serde_json::{Value, json};

const TASKS: Collection<Value> = Collection::new("tasks");

const PATIENCE: Duration = Duration::from_secs(40);

async fn insert(
    State(db): State<Db>,
    fence: WriteFence,
    Params((id,)): Params<(String,)>,
) -> Result<(), Error> {
    let transaction = db.begin(&fence).await?;
    transaction.execute("INSERT INTO tasks VALUES ($1)", &[&id]).await?;
    Ok(transaction.commit().await?)
}

fn options(options: ClusterOptions) -> ClusterOptions {
    options.without_durability().setting("synchronous_commit", "on").setting("wal_level", "logical")
}

/// A standby of the cluster, in a folder inside the cluster's.
fn start_standby(primary: &Cluster) -> Cluster {
    let folder = primary.folder().join("standby");
    let data = folder.join("data");
    std::fs::create_dir(&folder).unwrap();
    let programs = Cluster::find_binaries().expect("PostgreSQL is installed");
    let backup = Command::new(programs.join("pg_basebackup"))
        .args(["--no-sync", "--checkpoint=fast", "--write-recovery-conf"])
        .arg(format!("--dbname=postgres://postgres@127.0.0.1:{}", primary.port()))
        .arg("--pgdata")
        .arg(&data)
        .output()
        .unwrap();
    assert!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
    let owner = std::fs::metadata(primary.folder().join("data")).unwrap();
    give_away(&data, owner.uid(), owner.gid());
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700)).unwrap();
    Cluster::start(options(ClusterOptions::persistent(folder))).unwrap()
}

fn give_away(path: &Path, uid: u32, gid: u32) {
    chown(path, Some(uid), Some(gid)).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path(), uid, gid);
        }
    }
}

fn has_replayed(standby: &Cluster, position: &str) -> bool {
    let sql = format!("SELECT pg_last_wal_replay_lsn() >= '{position}'");
    standby.psql("postgres", &sql).unwrap().trim() == "t"
}

async fn clients_follow_a_promoted_standby(feed: Feed) {
    let mut primary = Cluster::start(options(ClusterOptions::temporary())).unwrap();
    primary.psql("postgres", "CREATE TABLE tasks (id text PRIMARY KEY)").unwrap();
    let standby = start_standby(&primary);
    let url = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=read-write",
        // Whichever comes first.
        if feed == Feed::Wal { standby.port() } else { primary.port() },
        if feed == Feed::Wal { primary.port() } else { standby.port() },
    );
    let db = Db::builder(url)
        .feed(feed)
        .table(Table::new("tasks").all_columns())
        .connect()
        .await
        .unwrap();
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .method("insert", insert)
        .with_state(db.clone());
    let mut client = Client::connect(peer::serve(&server).await).await;
    client.subscribe("tasks", json!([])).await;
    client.call("insert", json!(["before"])).await;
    assert!(client.documents("tasks").contains_key("before"));

    let position = primary.psql("postgres", "SELECT pg_current_wal_lsn()").unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !has_replayed(&standby, position.trim()) {
        assert!(Instant::now() < deadline, "the standby does not follow");
    }
    primary.stop().unwrap();
    standby.psql("postgres", "SELECT pg_promote()").unwrap();
    standby.psql("postgres", "INSERT INTO tasks VALUES ('missed')").unwrap();
    client.until("it", |client| client.documents("tasks").contains_key("missed")).await;
    standby.psql("postgres", "DELETE FROM tasks WHERE id = 'before'").unwrap();
    client.until("its end", |client| !client.documents("tasks").contains_key("before")).await;
    assert_eq!(client.call("insert", json!(["after"])).await.get("error"), None);
    assert!(client.documents("tasks").contains_key("after"), "`updated` came too early");
    assert!(db.stats().gaps_connection >= 1 && client.nosub.is_empty());
    db.close().await;
    drop(standby);
}

async fn a_standby_alone_is_refused(feed: Feed) {
    let primary = Cluster::start(options(ClusterOptions::temporary())).unwrap();
    primary.psql("postgres", "CREATE TABLE tasks (id text PRIMARY KEY)").unwrap();
    let table = || Table::new("tasks").all_columns();
    Db::builder(primary.url()).feed(feed).table(table()).connect().await.unwrap();
    let standby = start_standby(&primary);
    let refused = Db::builder(standby.url()).feed(feed).table(table()).connect().await;
    let error = refused.expect_err("nothing can come from there").to_string();
    let host = format!("127.0.0.1:{} ", standby.port());
    assert!(
        error.starts_with(&host) && error.contains("target_session_attrs=read-write"),
        "{error}"
    );
    let without = Db::builder(standby.url()).feed(feed).table(table()).without_install();
    assert_eq!(without.connect().await.expect_err("as before").to_string(), error);
    drop(standby);
}

ddp_tests::over_both_feeds!(clients_follow_a_promoted_standby, a_standby_alone_is_refused);
