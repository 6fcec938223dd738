//! The database over TLS.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use ddp_cluster::{Cluster, ClusterOptions, ShutdownMode};
use ddp_postgres::{Db, DbBuilder, Table};
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

/// An authority, a certificate for `localhost` that it issued, and the certificate's key.
fn authority_and_certificate() -> (rcgen::Certificate, rcgen::Certificate, String) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(params, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    (authority, certificate, key.serialize_pem())
}

fn builder(url: &str) -> DbBuilder {
    Db::builder(url).table(Table::new("tasks").all_columns())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_arrive_over_tls_and_strangers_certificates_are_refused() {
    let (authority, certificate, key) = authority_and_certificate();
    let mut cluster = Cluster::start(ClusterOptions::temporary().without_durability()).unwrap();
    let certificate_file = write_for(cluster.folder(), "server.crt", &certificate.pem());
    let authority_file = write_for(cluster.folder(), "root.crt", &authority.pem());
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
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let db = builder(&url).tls(config).connect().await.unwrap();
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

    let connect = async |options: &str| {
        let url = url.replace("sslmode=require", options);
        builder(&url).connect().await.map(drop)
    };
    // As libpq does it: encrypted, and nobody asks who it is.
    for options in ["", "sslmode=prefer", "sslmode=require", "sslmode=disable"] {
        connect(options).await.unwrap_or_else(|error| panic!("{options}: {error}"));
    }
    let refused = async |options: &str| connect(options).await.expect_err(options).to_string();
    // The authorities of the operating system do not know this certificate.
    for options in ["sslmode=verify-full", "sslmode=verify-ca"] {
        let error = refused(options).await;
        assert!(error.contains("UnknownIssuer") && error.contains("sslrootcert=FILE"), "{error}");
    }
    let roots = format!("sslrootcert={}", authority_file.replace('/', "%2F"));
    for mode in ["sslmode=verify-full", "sslmode=verify-ca", "sslmode=require"] {
        connect(&format!("{mode}&{roots}")).await.unwrap_or_else(|error| panic!("{mode}: {error}"));
    }
    // The certificate is not for this name.
    let other = url.replace("@localhost:", "@db.example:");
    let by_other = async |mode: &str| {
        let url = other.replace("sslmode=require", &format!("sslmode={mode}&{roots}"));
        builder(&url).connect().await.map(drop)
    };
    by_other("verify-ca").await.unwrap();
    let error = by_other("verify-full").await.expect_err("another name").to_string();
    assert!(error.contains("db.example"), "{error}");
}

#[tokio::test]
async fn errors_of_connecting_say_where_and_never_the_password() {
    let error = |url: &'static str| async move {
        let error = builder(url).connect().await;
        let error = error.expect_err(url).to_string();
        assert!(!error.contains("s3cret"), "{error}");
        error
    };
    let refused = error("postgres://me:s3cret@127.0.0.1:1/app").await;
    assert!(refused.starts_with("cannot connect to 127.0.0.1:1 (database \"app\"): "), "{refused}");
    assert!(refused.contains("refused"), "{refused}");
    let reserved = error("postgres://me:s3cret/@127.0.0.1/app").await;
    assert!(reserved.contains("%2F"), "{reserved}");
}
