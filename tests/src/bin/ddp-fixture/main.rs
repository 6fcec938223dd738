//! The server that the browser halves of Meteor's own test-suites of `ddp-client` and of
//! accounts expect, at `PORT`
//! (3000) and `BIND` (127.0.0.1): its methods and publications by their names, on collections in
//! memory that are empty, or as the suite wants them, whenever the program starts.
//!
//! Each module says what it answers. Every path that is not an endpoint gets a plain page.

mod accounts;
mod app;
mod async_stubs;
mod documents;
mod echo;
mod ledger;
mod modifier;
mod mutators;
mod nested;
mod publishers;
mod universal;
mod users;
mod waiters;

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use axum::routing::get;
use tokio::net::TcpListener;

/// A setting from the environment.
fn setting<T: FromStr>(name: &str, default: T) -> Result<T, T::Err> {
    std::env::var(name).map_or(Ok(default), |text| text.parse())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let port: u16 = setting("PORT", 3000)?;
    let bind = setting("BIND", IpAddr::from(Ipv4Addr::LOCALHOST))?;
    let listener = TcpListener::bind((bind, port)).await?;
    let root_url = format!("http://{}/", listener.local_addr()?);
    let root_url = setting("ROOT_URL", root_url)?;
    let server = app::server(root_url).map_err(|error| error.to_string())?;
    let page = get(|| async { "ddp-fixture\n" });
    let router = server.router().fallback(page);
    println!("ddp-fixture at http://{}/", listener.local_addr()?);
    server.serve_with(listener, router).await?;
    Ok(())
}
