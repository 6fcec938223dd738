//! A table of tasks, live in every browser, and lists of one's own for who logs in. Without `DATABASE_URL` it starts a PostgreSQL of its own.
//!
//! ```sh
//! cargo run --bin todos
//! ```

mod methods;
mod store;

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

use axum::response::Html;
use axum::routing::get;
use ddp_examples::setting;
use ddp_server::{Server, ServerConfig};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

use store::Store;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    // Logs what went wrong: handlers that failed, arguments that did not fit, a lost database.
    // RUST_LOG=info also logs altered tables, and RUST_LOG=debug each connection.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("todos: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), AnyError> {
    let port = setting("PORT", 3000)?;
    let bind = setting("BIND", IpAddr::from(Ipv4Addr::LOCALHOST))?;
    let listener = TcpListener::bind((bind, port))
        .await
        .map_err(|error| format!("cannot listen on {bind}:{port}: {error}"))?;
    let url = format!("http://{}/", listener.local_addr()?);

    let store = Store::open().await?;
    let server = Server::builder()
        .config(ServerConfig::from_env()?)
        .plugin(store.accounts())
        .publish("tasks", methods::all)
        .publish("tasks.byList", methods::by_list)
        .method("tasks.insert", methods::insert)
        .method("tasks.setChecked", methods::set_checked)
        .method("tasks.remove", methods::remove)
        .with_state(store.clone());
    let page = get(|| async { Html(include_str!("index.html")) });
    let router = server.router().route("/", page);

    server.close_on_signals()?;
    println!("{}", store.describe());
    println!("open {url}");
    server.serve_with(listener, router).await?;
    store.close().await?;
    Ok(())
}
