//! The database over TLS.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::sync::Arc;

use ddp_cluster::{Cluster, ClusterOptions, ShutdownMode};
use ddp_postgres::{Db, DbBuilder, Feed, Table};
use ddp_server::{Collection, Server, State};
use ddp_tests::Client;
use rustls::pki_types::CertificateDer;
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
    let (authority, issuer) = authority();
    let (certificate, key) = issued(&issuer, "localhost", "localhost");
    (authority, certificate, key)
}

fn authority() -> (rcgen::Certificate, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap();
    (authority, rcgen::Issuer::new(params, authority_key))
}

/// A certificate for a host or of a role, and its key.
fn issued(
    issuer: &rcgen::Issuer<'static, rcgen::KeyPair>,
    host: &str,
    role: &str,
) -> (rcgen::Certificate, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, role);
    (params.signed_by(&key, issuer).unwrap(), key.serialize_pem())
}

fn builder(url: &str) -> DbBuilder {
    Db::builder(url).table(Table::new("tasks").all_columns())
}

/// A configuration that knows this authority only.
fn trusting(authority: CertificateDer<'static>) -> rustls::ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
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

    let db = builder(&url).tls(trusting(authority.der().clone())).connect().await.unwrap();
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

/// A server that asks for certificates of its clients, and binds passwords to its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_show_certificates_and_bind_their_passwords_to_the_channel() {
    let (authority, issuer) = authority();
    let (certificate, key) = issued(&issuer, "localhost", "localhost");
    let mut cluster = Cluster::start(
        ClusterOptions::temporary().without_durability().setting("wal_level", "logical"),
    )
    .unwrap();
    let folder = cluster.folder().to_owned();
    let files =
        [("server.crt", certificate.pem()), ("server.key", key), ("root.crt", authority.pem())];
    let [certificate, key, roots] = files.map(|(name, text)| write_for(&folder, name, &text));
    for sql in [
        "CREATE TABLE tasks (id text PRIMARY KEY, text text)".to_owned(),
        "CREATE ROLE certified SUPERUSER LOGIN".to_owned(),
        "CREATE ROLE bound SUPERUSER LOGIN PASSWORD 's3cret'".to_owned(),
        format!("ALTER SYSTEM SET ssl_cert_file = '{certificate}'"),
        format!("ALTER SYSTEM SET ssl_key_file = '{key}'"),
        format!("ALTER SYSTEM SET ssl_ca_file = '{roots}'"),
        "ALTER SYSTEM SET ssl = on".to_owned(),
    ] {
        cluster.psql("postgres", &sql).unwrap();
    }
    let rules = "hostssl all,replication certified all cert clientcert=verify-full\n\
        host all,replication bound all scram-sha-256\nhost all,replication postgres all trust\n";
    write_for(&folder.join("."), "data/pg_hba.conf", rules);
    cluster.restart(ShutdownMode::Fast).unwrap();
    let connect = async |user: &str, options: &str, feed: Feed| {
        let url = format!("postgres://{user}@localhost:{}/postgres?{options}", cluster.port());
        let connected = builder(&url).feed(feed).connect().await;
        if let Ok(db) = connected.as_ref() {
            db.close().await;
        }
        connected.map(drop).map_err(|error| error.to_string())
    };
    let shown = |name: &str, role: &str, issuer| {
        let (certificate, key) = issued(issuer, "client", role);
        let names = [(format!("{name}.crt"), certificate.pem()), (format!("{name}.key"), key)];
        let [certificate, key] = names.map(|(name, text)| write_for(&folder, &name, &text));
        let file = |path: String| path.replace('/', "%2F");
        format!(
            "sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}",
            file(roots.clone()),
            file(certificate),
            file(key)
        )
    };
    let (_, stranger) = self::authority();
    for feed in [Feed::Notify, Feed::Wal] {
        connect("certified", &shown("right", "certified", &issuer), feed).await.unwrap();
        for (what, options) in [
            ("of nobody", "sslmode=require".to_owned()),
            ("of another role", shown("other", "somebody", &issuer)),
            ("of a stranger", shown("strange", "certified", &stranger)),
        ] {
            connect("certified", &options, feed).await.expect_err(what);
        }
        let bound = async |options| connect("bound:s3cret", options, feed).await;
        bound("sslmode=require&channel_binding=require").await.unwrap();
        bound("sslmode=disable").await.unwrap();
        let error = bound("sslmode=disable&channel_binding=require").await.unwrap_err();
        assert!(error.contains("channel binding") && !error.contains("s3cret"), "{error}");
    }
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
    let unknown = error("postgres://me:s3cret@host.invalid/app").await;
    assert!(unknown.contains("host.invalid:5432"), "{unknown}");
}

/// What the server itself refuses.
#[tokio::test]
async fn errors_of_logging_in_never_show_the_password() {
    let mut cluster = Cluster::start(ClusterOptions::temporary().without_durability()).unwrap();
    cluster.psql("postgres", "CREATE ROLE me LOGIN PASSWORD 'r1ght'").unwrap();
    write_for(&cluster.folder().join("."), "data/pg_hba.conf", "host all all all scram-sha-256\n");
    cluster.restart(ShutdownMode::Fast).unwrap();
    for (user, database, why) in [
        ("me:s3cret", "postgres", "password authentication failed"),
        ("me:r1ght", "s3cret_free", "database \"s3cret_free\" does not exist"),
        ("nobody:s3cret", "postgres", "password authentication failed"),
    ] {
        let url = format!("postgres://{user}@127.0.0.1:{}/{database}", cluster.port());
        let builder = builder(&url);
        let error = builder.connect().await.expect_err(why);
        let password = user.split_once(':').unwrap().1;
        for text in [error.to_string(), format!("{error:?}"), format!("{:?}", self::builder(&url))]
        {
            assert!(!text.replace("s3cret_free", "").contains(password), "{text}");
        }
        let text = error.to_string();
        assert!(text.contains(why) && text.contains("127.0.0.1"), "{text}");
    }
}
