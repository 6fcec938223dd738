//! The database over TLS.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use ddp_cluster::{Cluster, ClusterOptions, ShutdownMode};
use ddp_postgres::{Db, Table};
use ddp_server::{Collection, Server, State};
use ddp_tests::Client;
use serde_json::{Value, json};

const TASKS: Collection<Value> = Collection::new("tasks");

/// Writes a file that only the account of the cluster's server can read.
fn write_for(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let owner = std::fs::metadata(folder.join("data")).unwrap();
    chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_arrive_over_tls_and_strangers_certificates_are_refused() {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let mut cluster = Cluster::start(ClusterOptions::temporary().without_durability()).unwrap();
    let certificate_file = write_for(cluster.folder(), "server.crt", &certificate.cert.pem());
    let key = certificate.signing_key.serialize_pem();
    let key_file = write_for(cluster.folder(), "server.key", &key);
    for setting in [
        "CREATE TABLE tasks (id text PRIMARY KEY, text text)".to_owned(),
        format!("ALTER SYSTEM SET ssl_cert_file = '{certificate_file}'"),
        format!("ALTER SYSTEM SET ssl_key_file = '{key_file}'"),
        "ALTER SYSTEM SET ssl = on".to_owned(),
    ] {
        cluster.psql("postgres", &setting).unwrap();
    }
    cluster.restart(ShutdownMode::Fast).unwrap();
    let url = format!(
        "postgres://postgres@localhost:{}/postgres?hostaddr=127.0.0.1&sslmode=require",
        cluster.port()
    );

    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let db = Db::builder(&url).table(Table::new("tasks")).tls(config).connect().await.unwrap();
    let server = Server::builder()
        .publish("tasks", async |State(db): State<Db>| db.find(&TASKS))
        .with_state(db);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = {
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { server.serve(listener).await });
        Client::connect(address).await
    };
    client.subscribe("tasks", json!([])).await;
    cluster.psql("postgres", "INSERT INTO tasks VALUES ('a', 'secret')").unwrap();
    client.until("the task", |client| client.documents("tasks").contains_key("a")).await;
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'ddp'";
    assert_eq!(cluster.psql("postgres", encrypted).unwrap().trim(), "t");

    // The authorities of the operating system do not know this certificate.
    let refused = Db::builder(&url).table(Table::new("tasks")).connect().await;
    let error = refused.expect_err("an unknown certificate").to_string();
    assert!(error.to_lowercase().contains("certificate"), "{error}");
}
