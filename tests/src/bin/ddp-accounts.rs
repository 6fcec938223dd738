//! A server for the tests of Meteor's accounts packages, at `PORT` (any free one) and `BIND`
//! (127.0.0.1). It is a double: fixed users, and tokens that anybody could make up.
//!
//! - `login` takes the password of `ada` or `alan`, plain or as a digest, or a token;
//! - `logout` ends the token with which the connection logged in;
//! - `rename` sets the user's display name, `whoami` returns the user's id;
//! - `notes` publishes the notes that the user may see, and the user's own document is published
//!   to everybody who is logged in.
//!
//! Tokens outlive the process, so that clients resume when it has been started anew.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ddp_core::ejson::Date;
use ddp_server::extract::{Invocation, Params, UserId};
use ddp_server::{
    Collection, Cursor, Error, MemoryCollection, Plugged, Plugin, PluginBuilder, Server, State,
    field,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// How long a token lasts, according to what clients are sent.
const TOKEN_LIFETIME: Duration = Duration::from_secs(90 * 24 * 60 * 60);

struct FixedUser {
    id: &'static str,
    username: &'static str,
    password: &'static str,
    /// The SHA-256 of the password, which Meteor's clients send in its place.
    digest: &'static str,
}

const FIXED_USERS: [FixedUser; 2] = [
    FixedUser {
        id: "adaLovelace",
        username: "ada",
        password: "analytical engine",
        digest: "9ae82d97eba6f44eca8f6fa322fa2351538acd03fceacf60bbfa78b3090aa190",
    },
    FixedUser {
        id: "alanTuring",
        username: "alan",
        password: "bletchley",
        digest: "ebd4285e295a0f8976b923d8fecea18f515517ce226e31494e2adc2a3c96078d",
    },
];

#[derive(Clone, Serialize, Deserialize)]
struct User {
    username: String,
    profile: Profile,
}

#[derive(Clone, Serialize, Deserialize)]
struct Profile {
    name: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Note {
    owner: String,
    text: String,
    shared: bool,
}

/// The double, as a plugin of the server.
#[derive(Clone)]
struct Accounts {
    users: MemoryCollection<User>,
    tokens: Arc<Mutex<Tokens>>,
}

impl Plugin for Accounts {
    type State = Self;

    fn define(self, plugin: PluginBuilder<Self>) -> Plugged {
        let tokens = Arc::clone(&self.tokens);
        plugin
            .publish_universal(me)
            .method("login", login)
            .method("logout", logout)
            .method("whoami", whoami)
            .method("rename", rename)
            .on_connection(move |connection| {
                let (tokens, id) = (Arc::clone(&tokens), connection.id().to_owned());
                connection.on_close(move || {
                    tokens.lock().connections.remove(&id);
                });
            })
            .with_state(self)
    }
}

#[derive(Default)]
struct Tokens {
    ended: HashSet<String>,
    /// The token with which each connection logged in.
    connections: HashMap<String, String>,
    last: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Login {
    Password { user: Username, password: Password },
    Resume { resume: String },
}

#[derive(Deserialize)]
struct Username {
    username: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Password {
    Digest { digest: String, algorithm: String },
    Plain(String),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoggedIn {
    id: String,
    token: String,
    token_expires: Date,
    r#type: &'static str,
}

impl Accounts {
    fn new() -> Self {
        let fixed = "a new collection takes fixed documents";
        let accounts = Self {
            users: MemoryCollection::new(&Collection::new("users")),
            tokens: Arc::default(),
        };
        for FixedUser { id, username, .. } in FIXED_USERS {
            let profile = Profile { name: username.to_owned() };
            accounts
                .users
                .insert_with_id(id, &User { username: username.to_owned(), profile })
                .expect(fixed);
        }
        accounts
    }

    /// The user whom this password or token logs in, and the token.
    fn authenticate(&self, login: Login) -> Result<(&'static str, String), Error> {
        let mut tokens = self.tokens.lock();
        match login {
            Login::Password { user, password } => {
                let found = FIXED_USERS.iter().find(|fixed| fixed.username == user.username);
                let fixed = found.ok_or_else(|| Error::client(403, "User not found"))?;
                let matches = match password {
                    Password::Digest { digest, algorithm } => {
                        algorithm == "sha-256" && digest == fixed.digest
                    }
                    Password::Plain(password) => password == fixed.password,
                };
                if !matches {
                    return Err(Error::client(403, "Incorrect password"));
                }
                tokens.last += 1;
                let FixedUser { id, .. } = fixed;
                Ok((id, format!("{id}/{}/{}", std::process::id(), tokens.last)))
            }
            Login::Resume { resume } => {
                let user = FIXED_USERS.iter().find(|fixed| resume.starts_with(fixed.id));
                match user {
                    Some(fixed) if !tokens.ended.contains(&resume) => Ok((fixed.id, resume)),
                    _ => Err(Error::client(403, "You've been logged out by the server.")),
                }
            }
        }
    }
}

fn connection_id(invocation: &Invocation) -> String {
    let connection = invocation.connection().expect("only clients call these methods");
    connection.id().to_string()
}

async fn login(
    State(accounts): State<Accounts>,
    invocation: Invocation,
    Params((login,)): Params<(Login,)>,
) -> Result<LoggedIn, Error> {
    let r#type = if matches!(login, Login::Resume { .. }) { "resume" } else { "password" };
    let (id, token) = accounts.authenticate(login)?;
    accounts.tokens.lock().connections.insert(connection_id(&invocation), token.clone());
    invocation.set_user_id(Some(id)).await?;
    let token_expires = Date::from(SystemTime::now() + TOKEN_LIFETIME);
    Ok(LoggedIn { id: id.to_owned(), token, token_expires, r#type })
}

async fn logout(State(accounts): State<Accounts>, invocation: Invocation) -> Result<(), Error> {
    {
        let mut tokens = accounts.tokens.lock();
        if let Some(token) = tokens.connections.remove(&connection_id(&invocation)) {
            tokens.ended.insert(token);
        }
    }
    invocation.set_user_id(None).await
}

async fn whoami(user: Option<UserId>) -> Result<Option<String>, Error> {
    Ok(user.map(String::from))
}

async fn rename(
    State(accounts): State<Accounts>,
    user: UserId,
    Params((name,)): Params<(String,)>,
) -> Result<(), Error> {
    accounts.users.update(&user, |user| user.profile.name = name)?;
    Ok(())
}

async fn me(State(accounts): State<Accounts>, user: Option<UserId>) -> Option<Cursor<User>> {
    user.map(|user| accounts.users.find().filter(field("_id").eq(user.as_str())))
}

type Notes = MemoryCollection<Note>;

fn fixed_notes() -> Result<Notes, Error> {
    let notes = Notes::new(&Collection::new("notes"));
    for FixedUser { id, username, .. } in FIXED_USERS {
        for shared in [false, true] {
            let text = format!("{} note of {username}", if shared { "shared" } else { "own" });
            let note = Note { owner: id.to_owned(), text, shared };
            notes.insert_with_id(&format!("{username}{shared}"), &note)?;
        }
    }
    Ok(notes)
}

async fn notes(State(notes): State<Notes>, user: Option<UserId>) -> Cursor<Note> {
    let shared = field("shared").eq(true);
    notes.find().filter(match user {
        Some(user) => shared.or(field("owner").eq(user.as_str())),
        None => shared,
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bind = std::env::var("BIND").unwrap_or_else(|_| "127.0.0.1".to_owned());
    let port = match std::env::var("PORT") {
        Ok(port) => port.parse()?,
        Err(_) => 0_u16,
    };
    let server = Server::builder()
        .plugin(Accounts::new())
        .publish("notes", notes)
        .with_state(fixed_notes()?);
    let listener = TcpListener::bind((bind, port)).await?;
    println!("accounts at http://{}", listener.local_addr()?);
    server.serve(listener).await?;
    Ok(())
}
