//! A publication that adds, changes and removes its own document, without a collection behind it: a
//! countdown that starts over for each subscription.
//!
//! ```sh
//! cargo run --bin by_hand
//! ```

use std::time::Duration;

use ddp_server::extract::{Params, Subscription};
use ddp_server::{Collection, Error, Server};
use tracing_subscriber::EnvFilter;

#[derive(serde::Serialize, serde::Deserialize)]
struct Countdown {
    left: u32,
}
const COUNTDOWNS: Collection<Countdown> = Collection::new("countdowns");

/// Runs until it returns or the client unsubscribes, which drops it at its next `await`.
async fn countdown(
    subscription: Subscription,
    Params((seconds,)): Params<(u32,)>,
) -> Result<(), Error> {
    let id = format!("from-{seconds}");
    subscription.on_stop(move || println!("the countdown from {seconds} has ended"));
    subscription.added(&COUNTDOWNS, &id, &Countdown { left: seconds })?;
    subscription.ready();
    for left in (0..seconds).rev() {
        tokio::time::sleep(Duration::from_secs(1)).await;
        subscription.changed(&COUNTDOWNS, &id, [("left", Some(left))])?;
    }
    subscription.removed(&COUNTDOWNS, &id);
    subscription.stop();
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Logs what went wrong: handlers that failed, arguments that did not fit. RUST_LOG=debug also
    // logs each connection.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let server = Server::builder().publish("countdown", countdown).build();
    server.serve(ddp_examples::listen().await?).await?;
    Ok(())
}
