//! Meteor's accounts: users, passwords, tokens and logins, so that an app with `accounts-base` and
//! `accounts-password` works unmodified.
//!
//! ```
//! use ddp_server::accounts::{Accounts, MemoryAccounts};
//! use ddp_server::extract::UserId;
//! use ddp_server::{Error, Server};
//!
//! let server = Server::builder()
//!     .plugin(Accounts::new(MemoryAccounts::new()))
//!     .method("whoami", async |user: UserId| Ok::<_, Error>(user.to_string()))
//!     .build();
//! # let _ = server;
//! ```
//!
//! [`Accounts`] has Meteor's defaults, and a function for each of its options and hooks. Users are in
//! an [`AccountsStore`]: [`MemoryAccounts`] here, PostgreSQL in `ddp-postgres`, or one of your own.
//! [`Accounts::build`] gives a handle, by which the server itself creates users, sets passwords, mails
//! tokens and logs users out:
//!
//! ```
//! # #[cfg(not(feature = "testing"))]
//! # fn main() {}
//! # #[cfg(feature = "testing")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), ddp_server::Error> {
//! use ddp_server::accounts::{Accounts, MemoryAccounts};
//! use ddp_server::testing::Client;
//! use ddp_server::{Error, Server};
//! use serde_json::{Value, json};
//!
//! let accounts = Accounts::new(MemoryAccounts::new())
//!     .forbid_client_account_creation()
//!     .validate_login_attempt(async |attempt| match attempt.user {
//!         Some(user) if user.emails.is_empty() => Err(Error::client(403, "Give us an address first")),
//!         _ => Ok(true),
//!     })
//!     .build();
//! let ada = json!({"username": "ada", "email": "ada@example.com", "password": "analytical engine"});
//! let ada = accounts.create_user(&ada).await?;
//!
//! let server = Server::builder().plugin(accounts.clone()).build();
//! let client = Client::connect(&server).await;
//! let login = json!({"user": {"username": "ada"}, "password": "analytical engine"});
//! let login: Value = client.call("login", (login,)).await?;
//! assert_eq!(login["id"], ada);
//!
//! // Closes the connections that hold a login token of this user.
//! accounts.logout_user(&ada).await?;
//! client.closed().await;
//! # Ok(())
//! # }
//! ```
//!
//! | for clients | |
//! |---|---|
//! | `login` | by password, its digest, a token, a [JWT](#json-web-tokens) of another backend, or a [handler of one's own](Accounts::register_login_handler) |
//! | `logout`, `logoutOtherClients`, `logoutAllClients`, `getNewToken`, `removeOtherTokens` | tokens are 43 random characters; a store has only their hashes |
//! | `createUser`, `changePassword`, `forgotPassword`, `resetPassword`, `verifyEmail` | with mails by a [`Mailer`], to the log without one |
//! | the own user's document in `users` | `username`, `emails`, `profile` and the [fields that you name](Accounts::default_field_selector), live |
//! | `meteor.loginServiceConfiguration` | what [`login_service`](Accounts::login_service) was given |
//!
//! # Passwords
//! Meteor's clients send the SHA-256 of a password, and its hash by bcrypt or Argon2id is stored: see
//! [`PasswordAlgorithm`]. A password that is sent itself is taken over TLS and from this machine only
//! ([`Connection::is_secure`](crate::extract::Connection::is_secure)). What other systems have stored
//! is compared as well, and then replaced by our form:
//!
//! | stored | works for clients that send |
//! |---|---|
//! | `$2b$…`, `$argon2id$…` of Meteor; `bcrypt_sha256$…` of Django | the digest or the password |
//! | `pbkdf2_sha256$…`, `pbkdf2_sha1$…`, `argon2$…`, `bcrypt$…`, `scrypt$…` of Django | the password; the digest gets an error that says so, in the log or, without [ambiguous errors](Accounts::ambiguous_error_messages), to the client |
//! | `$2a$…` of Devise, without a pepper | the password; put `bcrypt$` in front for the same error |
//!
//! Hashing has threads of its own, half the cores, and a queue with an end; beyond it clients get
//! `too-many-requests`. That a user does not exist takes as long to find out as that the password is
//! wrong, as long as all are stored by the same algorithm. After five wrong passwords for a name,
//! an address or an id, the next ones for it wait, longer each time up to 30 seconds, whoever sends
//! them to this server; after 15 minutes without any, that is forgotten. Nobody is locked out.
//!
//! # JSON Web Tokens
//! With the feature `jwt`, `login` takes `{jwt: "<token>"}` for users whom another backend knows, such as
//! Django or Rails: see `Accounts::jwt` and `Jwt`, whose page has the views that make such tokens.
//!
//! # Unlike Meteor
//! - Tokens that are mailed are stored as hashes, and a password that is set by any way ends them.
//!   Those that verify an address end after as long as those that set the first password.
//! - A conflict of names or addresses comes from the store's constraint, so all have the same text.
//! - What a client gives to `createUser` has at most 16 KiB, with the profile.
//! - Usernames have at most 256 characters, addresses 256 bytes, passwords 4 KiB; a digest is 64
//!   hexadecimal digits. All else is `Match failed [400]`.
//! - A login token with an [end of its own](Login::expires) closes the connections that hold it as it ends, and
//!   not at the next look for expired ones.
//! - A user with an active second factor cannot log in by password yet: no code is accepted.

mod attempt;
mod builder;
mod core;
mod create;
mod delays;
mod handle;
mod handler;
mod handlers;
mod held;
mod hooks;
mod input;
#[cfg(feature = "jwt")]
mod jwt;
mod letters;
mod login;
mod mail;
mod memory;
mod methods;
mod options;
mod password;
mod plugin;
mod publications;
mod store;
mod tasks;
#[cfg(all(test, feature = "testing"))]
mod tests;
mod token;
mod watch;

pub use attempt::{Attempt, Creation, Logout};
pub use builder::Accounts;
pub use handle::AccountsHandle;
pub use handler::{Login, LoginRequest};
#[cfg(feature = "jwt")]
pub use jwt::{Jwt, JwtError};
pub use mail::{Letter, LogMailer, Mail, MailContext, MailTemplate, MailTemplates, Mailer};
pub use memory::MemoryAccounts;
pub use password::PasswordAlgorithm;
pub use store::{
    AccountsStore, Conflict, Email, Expired, LoginToken, LoginUser, NewUser, OnRevocation,
    OneTimeToken, PasswordChange, PasswordHash, Purpose, Read, Revocation, Selector, Service,
    TokenGuard, TokenHash, Tokens, User, WriteError, Written,
};
