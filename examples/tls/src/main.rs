//! TLS to the clients with `axum-server`, without a proxy. `CERT` and `KEY` are files in PEM
//! format; to try it, create them like this:
//!
//! ```sh
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
//!     -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem
//! CERT=cert.pem KEY=key.pem cargo run --package ddp-example-tls
//! ```

use std::net::SocketAddr;

use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::RustlsConfig;
use ddp_server::extract::Params;
use ddp_server::{Collection, Error, MemoryCollection, Server, State};
use tracing_subscriber::EnvFilter;

#[derive(serde::Serialize, serde::Deserialize)]
struct Message {
    text: String,
}
const MESSAGES: Collection<Message> = Collection::new("messages");
type Messages = MemoryCollection<Message>;

async fn send(
    State(messages): State<Messages>,
    Params((text,)): Params<(String,)>,
) -> Result<String, Error> {
    messages.insert(&Message { text })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Logs what went wrong: handlers that failed, arguments that did not fit. RUST_LOG=debug also
    // logs each connection.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let certificate: String = ddp_examples::setting("CERT", "cert.pem".to_owned())?;
    let key: String = ddp_examples::setting("KEY", "key.pem".to_owned())?;
    let tls = RustlsConfig::from_pem_file(&certificate, &key)
        .await
        .map_err(|error| format!("CERT={certificate} and KEY={key}: {error}"))?;

    let server = Server::builder()
        .publish("messages", async |State(messages): State<Messages>| messages.find())
        .method("messages.send", send)
        .with_state(Messages::new(&MESSAGES));
    let listener = ddp_examples::listen().await?.into_std()?;
    axum_server::from_tcp_rustls(listener, tls)?
        // Without it the system would hold small messages back for each other; on plain sockets the
        // library does this itself.
        .map(|tls| tls.acceptor(NoDelayAcceptor::new()))
        .serve(server.router().into_make_service_with_connect_info::<SocketAddr>())
        .await?;
    Ok(())
}
