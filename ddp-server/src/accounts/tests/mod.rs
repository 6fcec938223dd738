//! Accounts as clients see them, without sockets.

mod attacks;
mod cookies;
mod hooks;
mod http;
#[cfg(feature = "jwt")]
mod jwt;
mod logins;
mod mails;
#[cfg(feature = "oauth")]
mod oauth;
mod order;
mod passwordless;
mod profile;
mod second_factor;
mod server_side;
mod sessions;
mod support;

use ddp_core::DdpError;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Accounts, AccountsHandle, Mail, Mailer, MemoryAccounts, PasswordAlgorithm};
use crate::collection::Collection;
use crate::ejson::{Date, Ejson};
use crate::error::Error;
use crate::extract::{Subscription, UserId};
use crate::server::Server;
use crate::testing::Client;

const PASSWORD: &str = "analytical engine";
/// Its SHA-256.
const DIGEST: &str = "9ae82d97eba6f44eca8f6fa322fa2351538acd03fceacf60bbfa78b3090aa190";
const AMBIGUOUS: &str = "Something went wrong. Please check your credentials.";
const LOGGED_OUT: &str = "You've been logged out by the server. Please log in again.";

const USERS: Collection<Ejson> = Collection::new("users");

#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoggedIn {
    id: String,
    token: String,
    token_expires: Date,
    #[serde(default)]
    r#type: String,
}

/// A server with a user named ada.
struct Scene {
    server: Server,
    accounts: AccountsHandle,
    ada: String,
    mails: UnboundedReceiver<Mail>,
}

/// Puts mails where the test sees them.
struct Outbox(UnboundedSender<Mail>);

impl Mailer for Outbox {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), Error>> {
        let sent = self.0.send(mail).map_err(|_| Error::internal("the test is over"));
        Box::pin(std::future::ready(sent))
    }
}

impl Scene {
    /// With texts that tell what is wrong, cheap hashes and no limit of rates.
    async fn new() -> Self {
        Self::with(|accounts| accounts).await
    }

    async fn with(change: impl FnOnce(Accounts) -> Accounts) -> Self {
        Self::of(MemoryAccounts::new(), change).await
    }

    async fn of(store: MemoryAccounts, change: impl FnOnce(Accounts) -> Accounts) -> Self {
        let (outbox, mails) = unbounded_channel();
        let accounts = Accounts::new(store)
            .password_algorithm(PasswordAlgorithm::Bcrypt { cost: 4 })
            .ambiguous_error_messages(false)
            .remove_default_rate_limit()
            .root_url("https://app.example")
            .mailer(Outbox(outbox));
        let accounts = change(accounts).build();
        let server = Server::builder()
            .plugin(accounts.clone())
            .method("whoami", async |user: Option<UserId>| Ok::<_, Error>(user.map(String::from)))
            .publish("mine", async |subscription: Subscription, user: Option<UserId>| {
                let owner = user.map_or_else(|| "nobody".to_owned(), String::from);
                let mine = Collection::<Value>::new("mine");
                subscription.added(&mine, "one", &json!({"owner": owner}))?;
                subscription.ready();
                Ok::<_, Error>(())
            })
            .build();
        let ada = json!({
            "username": "ada", "email": "Ada@example.com", "password": PASSWORD,
            "profile": {"name": "Ada"}
        });
        let ada = accounts.create_user(&ada).await.expect("a new user");
        Self { server, accounts, ada, mails }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.server).await
    }

    /// A client that is logged in as ada.
    async fn ada(&self) -> (Client, LoggedIn) {
        let client = self.client().await;
        let login = log_in(&client).await;
        (client, login)
    }

    /// The token in the link of the next mail.
    async fn mailed_token(&mut self) -> String {
        let mail = self.mails.recv().await.expect("a mail");
        let link = mail.text.lines().find(|line| line.starts_with("https://")).expect("a link");
        link.rsplit('/').next().expect("a token").to_owned()
    }
}

fn by_digest(digest: &str) -> Value {
    json!({"user": {"username": "ada"}, "password": {"digest": digest, "algorithm": "sha-256"}})
}

async fn log_in(client: &Client) -> LoggedIn {
    client.call("login", (by_digest(DIGEST),)).await.expect("a login")
}

async fn resume(client: &Client, token: &str) -> Result<LoggedIn, DdpError> {
    client.call("login", (json!({"resume": token}),)).await
}

async fn whoami(client: &Client) -> Option<String> {
    client.call("whoami", ()).await.expect("an id or nobody")
}

/// The error of a call that must fail.
async fn refused(client: &Client, method: &str, params: impl serde::Serialize) -> String {
    let error = client.call::<Ejson>(method, params).await.expect_err("an error");
    error.to_string()
}
