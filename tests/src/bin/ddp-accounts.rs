//! A server for the tests of Meteor's accounts packages, at `PORT` (any free one) and `BIND`
//! (127.0.0.1): the plugin [`Accounts`] with the users `ada` and `alan` in memory, who can set up a second
//! factor.
//!
//! - `rename` sets the user's display name, `whoami` returns the user's id;
//! - `notes` publishes the notes that the user may see.
//!
//! With `ACCOUNTS_FILE` the users are saved in that file after each login and logout, and read from it
//! at the start, so that tokens outlive the process and clients resume when it has been started anew.

use std::path::{Path, PathBuf};

use ddp_server::accounts::{
    Accounts, AccountsHandle, AccountsStore, MemoryAccounts, NewUser, User,
};
use ddp_server::extract::{FromRef, Params, UserId};
use ddp_server::{Collection, Cursor, Error, MemoryCollection, Server, State, WriteFence, field};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

/// Id, name and password.
const USERS: [[&str; 3]; 2] =
    [["adaLovelace", "ada", "analytical engine"], ["alanTuring", "alan", "bletchley"]];

type Notes = MemoryCollection<Note>;

#[derive(Clone, Serialize, Deserialize)]
struct Note {
    owner: String,
    text: String,
    shared: bool,
}

#[derive(Clone)]
struct App {
    accounts: AccountsHandle,
    notes: Notes,
}

impl FromRef<App> for AccountsHandle {
    fn from_ref(app: &App) -> Self {
        app.accounts.clone()
    }
}

impl FromRef<App> for Notes {
    fn from_ref(app: &App) -> Self {
        app.notes.clone()
    }
}

async fn whoami(user: Option<UserId>) -> Result<Option<String>, Error> {
    Ok(user.map(String::from))
}

async fn rename(
    State(accounts): State<AccountsHandle>,
    fence: WriteFence,
    user: UserId,
    Params((name,)): Params<(String,)>,
) -> Result<(), Error> {
    accounts.within(&fence).set_profile(&user, Some(&json!({ "name": name }))).await
}

async fn notes(State(notes): State<Notes>, user: Option<UserId>) -> Cursor<Note> {
    let shared = field("shared").eq(true);
    notes.find().filter(match user {
        Some(user) => shared.or(field("owner").eq(user.as_str())),
        None => shared,
    })
}

fn fixed_notes() -> Result<Notes, Error> {
    let notes = Notes::new(&Collection::new("notes"));
    for [id, username, _] in USERS {
        for shared in [false, true] {
            let text = format!("{} note of {username}", if shared { "shared" } else { "own" });
            let note = Note { owner: id.to_owned(), text, shared };
            notes.insert_with_id(&format!("{username}{shared}"), &note)?;
        }
    }
    Ok(notes)
}

/// The users of the file; nobody if there is none.
fn load(file: Option<&Path>) -> Result<MemoryAccounts, Error> {
    if let Some(file) = file.filter(|file| file.exists()) {
        return MemoryAccounts::load(&std::fs::read_to_string(file)?);
    }
    Ok(MemoryAccounts::new())
}

/// Saves the users, whole or not at all.
fn save(users: &MemoryAccounts, file: Option<&Path>) {
    let Some(file) = file else { return };
    let part = file.with_extension("part");
    let saved = users.save().and_then(|text| {
        std::fs::write(&part, text)?;
        Ok(std::fs::rename(&part, file)?)
    });
    if let Err(error) = saved {
        eprintln!("the users could not be saved: {error}");
    }
}

/// Creates those of the fixed users who are not there yet.
async fn create(users: &MemoryAccounts, accounts: &AccountsHandle) -> Result<(), Error> {
    for [id, username, password] in USERS {
        if accounts.find_user(id).await?.is_some() {
            continue;
        }
        let mut user = User::new(id);
        user.username = Some(username.to_owned());
        let new = NewUser { user, password: None, services: Vec::new() };
        if users.create_user(&new, &WriteFence::detached()).await.is_err() {
            return Err(Error::internal(format!("{username} could not be created")));
        }
        accounts.set_password(id, password, true).await?;
        accounts.set_profile(id, Some(&json!({ "name": username }))).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bind = std::env::var("BIND").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = match std::env::var("PORT") {
        Ok(port) => port.parse()?,
        Err(_) => 0_u16,
    };
    let file = std::env::var_os("ACCOUNTS_FILE").map(PathBuf::from);
    let users = load(file.as_deref())?;
    let [at_login, at_logout] = [(); 2].map(|()| {
        let (users, file) = (users.clone(), file.clone());
        move || save(&users, file.as_deref())
    });
    let accounts = Accounts::new(users.clone())
        .ambiguous_error_messages(false)
        .remove_default_rate_limit()
        .two_factor_authentication()
        .oauth_secret_key("ZGRwLWFjY291bnRzLWtleQ==")
        .on_login(move |_| {
            at_login();
            std::future::ready(())
        })
        .on_logout(move |_| {
            at_logout();
            std::future::ready(())
        })
        .build();
    create(&users, &accounts).await?;
    let server = Server::builder()
        .plugin(accounts.clone())
        .method("whoami", whoami)
        .method("rename", rename)
        .publish("notes", notes)
        .with_state(App { accounts, notes: fixed_notes()? });
    let listener = TcpListener::bind((bind, port)).await?;
    println!("accounts at http://{}", listener.local_addr()?);
    server.serve(listener).await?;
    Ok(())
}
