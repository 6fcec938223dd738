//! Limits on how often clients may call and subscribe: five logins in ten seconds from each address,
//! twenty subscriptions a second on each connection. Further ones are refused with
//! `too-many-requests`.
//!
//! ```sh
//! cargo run --bin rate_limits
//! ```

use std::time::Duration;

use ddp_server::extract::Params;
use ddp_server::rate_limit::{Kind, Rule};
use ddp_server::{Error, Server, ServerConfig};
use tracing_subscriber::EnvFilter;

async fn login(Params((password,)): Params<(String,)>) -> Result<(), Error> {
    match password.as_str() {
        "open sesame" => Ok(()),
        _ => Err(Error::client(403, "Wrong password")),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Logs what went wrong, and the refusals below, which are warnings of this program.
    // RUST_LOG=debug also logs each connection.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let logins = Rule::new(5, Duration::from_secs(10))
        .method("login")
        .per_address()
        .message(|verdict| format!("Try again in {} s", verdict.time_to_reset.as_secs_f32().ceil()))
        .on_request(|verdict, request| {
            if !verdict.is_allowed {
                tracing::warn!(address = request.client_address, "too many logins");
            }
        });
    let subscriptions =
        Rule::new(20, Duration::from_secs(1)).kind(Kind::Subscription).per_connection();
    let server = Server::builder()
        // Behind a proxy HTTP_FORWARDED_COUNT=1 tells clients apart; without it, all clients would
        // count as one, with the proxy's address.
        .config(ServerConfig::from_env()?)
        .rate_limit(logins)
        .rate_limit(subscriptions)
        .method("login", login)
        .build();
    server.serve(ddp_examples::listen().await?).await?;
    Ok(())
}
