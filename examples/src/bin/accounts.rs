//! Meteor's accounts: users, passwords and logins, and notes that belong to users. Any Meteor client
//! with `accounts-password` works with it. Users are kept in the database at `DATABASE_URL`, in a schema of
//! their own, or in memory if there is none; notes are in memory.
//!
//! ```sh
//! DATABASE_URL=postgres://me@127.0.0.1/mine cargo run --bin accounts
//! ```

use ddp_postgres::{Db, accounts::AccountsTables};
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

    let accounts = match std::env::var("DATABASE_URL") {
        Ok(url) => {
            let db = Db::builder(url).accounts(AccountsTables::new()).connect().await?;
            Accounts::new(db.accounts())
        }
        Err(_) => Accounts::new(MemoryAccounts::new()),
    };
    let server = Server::builder()
        .plugin(accounts)
        .publish("notes.mine", mine)
        .method("notes.add", add)
        .params(["text"])
        .with_state(Notes::new(&Collection::new("notes")));
    server.serve(ddp_examples::listen().await?).await?;
    Ok(())
}
