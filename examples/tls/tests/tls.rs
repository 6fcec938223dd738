//! Clients over TLS, by the certificate that the example was given.

use std::path::PathBuf;
use std::sync::Arc;

use ddp_tests::Client;
use ddp_tests::program::Program;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn tls_serves_websockets_and_sockjs() {
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = std::env::temp_dir().join(format!("ddp-example-tls-{}", std::process::id()));
    let folder = Folder(folder);
    std::fs::create_dir_all(&folder.0).unwrap();
    let write = |name: &str, text: String| {
        let path = folder.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = write("cert.pem", certified.cert.pem());
    let key = write("key.pem", certified.signing_key.serialize_pem());
    let variables = [("CERT", certificate.as_str()), ("KEY", &key)];
    let mut example = Program::start(env!("CARGO_BIN_EXE_tls"), &variables);
    let address = example.address();

    let mut roots = RootCertStore::empty();
    roots.add(certified.cert.der().clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let connect = async || -> TlsStream<TcpStream> {
        let socket = TcpStream::connect(address).await.unwrap();
        connector.connect("localhost".try_into().unwrap(), socket).await.unwrap()
    };

    let url = format!("wss://localhost:{}/websocket", address.port());
    let (socket, _) = tokio_tungstenite::client_async(url, connect().await).await.unwrap();
    let mut client = Client::over(socket).await;
    client.subscribe("messages", json!([])).await;
    client.call("messages.send", json!(["Nobody on the way reads this"])).await;
    let messages = client.documents("messages");
    assert_eq!(messages.values().next().unwrap()["text"], "Nobody on the way reads this");

    let mut socket = connect().await;
    let request = b"GET /sockjs/info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    socket.write_all(request).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"websocket\":true"), "{answer}");
}

#[test]
fn without_a_certificate_it_says_which_file_it_wants() {
    let variables = [("CERT", "/nonexistent.pem")];
    let said = Program::start(env!("CARGO_BIN_EXE_tls"), &variables).refuses();
    assert!(said.contains("CERT=/nonexistent.pem"), "{said}");
}
