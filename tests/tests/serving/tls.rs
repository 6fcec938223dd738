//! TLS, with a certificate that is renewed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ddp_server::extract::Params;
use ddp_server::{Error, Server, Tls};
use ddp_tests::Client;
use serde_json::json;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::*;

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("ddp-serving-tls-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn certificates(&self) -> PathBuf {
        self.0.join("fullchain.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.join("privkey.pem")
    }

    /// Writes a new certificate for localhost, and returns what trusts it only.
    fn renew(&self) -> TlsConnector {
        let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(self.certificates(), certified.cert.pem()).unwrap();
        std::fs::write(self.key(), certified.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certified.cert.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    fn load(&self) -> Tls {
        Tls::from_files(self.certificates(), self.key()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn serve_over(tls: Tls, change: impl FnOnce(&mut ServerConfig)) -> (Server, SocketAddr) {
    let mut config = ServerConfig::default();
    config.serve.tls = Some(tls);
    change(&mut config);
    let server = Server::builder()
        .config(config)
        .method("add", async |Params((a, b)): Params<(i64, i64)>| Ok::<_, Error>(a + b))
        .method("echo", async |Params((text,)): Params<(String,)>| Ok::<_, Error>(text))
        .build();
    let address = serve(&server).await;
    (server, address)
}

async fn shake_hands(
    trust: &TlsConnector,
    address: SocketAddr,
) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    trust.connect("localhost".try_into().unwrap(), socket).await
}

async fn client(trust: &TlsConnector, address: SocketAddr) -> Client<TlsStream<TcpStream>> {
    let socket = shake_hands(trust, address).await.unwrap();
    let url = format!("wss://localhost:{}/websocket", address.port());
    Client::over(tokio_tungstenite::client_async(url, socket).await.unwrap().0).await
}

#[tokio::test]
async fn websockets_and_sockjs_over_tls() {
    let folder = Folder::new();
    let trust = folder.renew();
    let (server, address) = serve_over(folder.load(), |_| {}).await;
    let mut client = client(&trust, address).await;
    assert_eq!(client.call("add", json!([40, 2])).await["result"], 42);
    // Larger than what TLS and the kernel hold at once.
    let long = "x".repeat(1_000_000);
    assert_eq!(client.call("echo", json!([long])).await["result"], long);

    let mut socket = shake_hands(&trust, address).await.unwrap();
    let head = ask(&mut socket, "/sockjs/info", "Connection: close\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(rest(socket).await.contains("\"websocket\":true"));
    assert_eq!(server.connection_count(), 1);
    client.close().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_for_connections_from_then_on() {
    let folder = Folder::new();
    let old = folder.renew();
    let tls = folder.load();
    let (_server, address) = serve_over(tls.clone(), |_| {}).await;
    let mut open = client(&old, address).await;
    let new = folder.renew();
    assert!(shake_hands(&new, address).await.is_err(), "not read yet");
    tls.reload().unwrap();
    assert_eq!(client(&new, address).await.call("add", json!([1, 1])).await["result"], 2);
    assert!(shake_hands(&old, address).await.is_err());
    assert_eq!(open.call("add", json!([1, 2])).await["result"], 3, "it goes on");

    // What is not usable does not take the place of what is.
    std::fs::write(folder.certificates(), "half a file").unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("fullchain.pem: no certificate in it"), "{error}");
    assert!(shake_hands(&new, address).await.is_ok());
}

#[tokio::test]
async fn who_speaks_no_tls_is_gone_soon_and_nobody_waits_for_it() {
    let folder = Folder::new();
    let trust = folder.renew();
    let short = Duration::from_millis(500);
    let (_server, address) =
        serve_over(folder.load(), |config| config.serve.header_timeout = short).await;
    let begun = Instant::now();
    let silent = TcpStream::connect(address).await.unwrap();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(!rest(plain).await.contains("HTTP/1.1"), "no answer in plain text");
    let mut client = client(&trust, address).await;
    assert_eq!(client.call("add", json!([1, 1])).await["result"], 2);
    assert_eq!(rest(silent).await, "");
    assert!(begun.elapsed() >= short);
}

#[test]
fn errors_name_the_file() {
    let folder = Folder::new();
    let load = |certificates: &Path, key: &Path| {
        Tls::from_files(certificates, key).unwrap_err().to_string()
    };
    let missing = folder.0.join("missing.pem");
    let _ = folder.renew();
    assert!(load(&missing, &folder.key()).contains("missing.pem: "));
    assert!(load(&folder.certificates(), &missing).contains("missing.pem: "));
    let other = Folder::new();
    let _ = other.renew();
    let error = load(&folder.certificates(), &other.key());
    assert!(error.contains("privkey.pem: not usable with the certificate in"), "{error}");
    assert!(format!("{:?}", folder.load()).contains("fullchain.pem"));
}
