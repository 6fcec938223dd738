//! Meteor's accounts: users, passwords and logins, and notes that belong to users. Any Meteor client
//! with `accounts-password` works with it; here users are kept in memory.
//!
//! ```sh
//! cargo run --bin accounts
//! ```

use ddp_server::accounts::{Accounts, MemoryAccounts};
use ddp_server::extract::{Params, UserId};
use ddp_server::{Collection, Cursor, Error, MemoryCollection, Server, State, field};
use tracing_subscriber::EnvFilter;

#[derive(serde::Serialize, serde::Deserialize)]
struct Note {
    owner: String,
    text: String,
}

type Notes = MemoryCollection<Note>;

async fn mine(State(notes): State<Notes>, user: UserId) -> Cursor<Note> {
    notes.find().filter(field("owner").eq(user.as_str()))
}

async fn add(
    State(notes): State<Notes>,
    user: UserId,
    Params((text,)): Params<(String,)>,
) -> Result<String, Error> {
    notes.insert(&Note { owner: user.into(), text })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Without a mailer, mails are written to the log: RUST_LOG=info shows them.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let server = Server::builder()
        .plugin(Accounts::new(MemoryAccounts::new()))
        .publish("notes.mine", mine)
        .method("notes.add", add)
        .params(["text"])
        .with_state(Notes::new(&Collection::new("notes")));
    server.serve(ddp_examples::listen().await?).await?;
    Ok(())
}
