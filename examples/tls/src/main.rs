//! TLS to the clients, without a proxy. SIGHUP reads a renewed certificate. `CERT` and `KEY` are files in PEM
//! format; to try it, create them like this:
//!
//! ```sh
//! openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
//!     -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem
//! CERT=cert.pem KEY=key.pem cargo run --package ddp-example-tls
//! ```

use ddp_server::extract::Params;
use ddp_server::{Collection, Error, MemoryCollection, Server, ServerConfig, State, Tls};
use tokio::signal::unix::{SignalKind, signal};
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
    let tls = Tls::from_files(&certificate, &key)
        .map_err(|error| format!("CERT={certificate} and KEY={key}: {error}"))?;
    let mut config = ServerConfig::from_env()?;
    config.serve.tls = Some(tls.clone());

    let server = Server::builder()
        .config(config)
        .publish("messages", async |State(messages): State<Messages>| messages.find())
        .method("messages.send", send)
        .with_state(Messages::new(&MESSAGES));

    let mut renewed = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while renewed.recv().await.is_some() {
            match tls.reload() {
                Ok(()) => tracing::warn!("the certificate was read again"),
                Err(error) => tracing::error!(%error, "the old certificate stays"),
            }
        }
    });
    server.close_on_signals()?;
    server.serve(ddp_examples::listen().await?).await?;
    Ok(())
}
