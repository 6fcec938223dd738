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
//! | `login` | by password, its digest, a token, a [JWT](#json-web-tokens) of another backend, a [handler of one's own](Accounts::register_login_handler) or [one of a library](Accounts::login_handler) |
//! | `logout`, `logoutOtherClients`, `logoutAllClients`, `getNewToken`, `removeOtherTokens` | tokens are 43 random characters; a store has only their hashes |
//! | `createUser`, `changePassword`, `forgotPassword`, `resetPassword`, `verifyEmail` | with mails by a [`Mailer`], such as `SmtpMailer` (feature `smtp`), to the log without one |
//! | `generate2faActivationQrCode`, `enableUser2fa`, `disableUser2fa`, `has2faEnabled` | with [`two_factor_authentication`](Accounts::two_factor_authentication) |
//! | `requestLoginTokenForUser`, and `login` by such a token | with [`passwordless`](Accounts::passwordless) |
//! | `/users/update` of the own `profile` | if [allowed](Accounts::allow_profile_updates) |
//! | the own user's document in `users` | `username`, `emails`, `profile` and the [fields that you name](Accounts::default_field_selector), live |
//! | `/_accounts/cookie/set`, `refresh`, `clear` | the token in a cookie that no script can read, if [that is on](Accounts::use_http_only_cookies) |
//! | `meteor.loginServiceConfiguration` | what [`login_service`](Accounts::login_service) was given; `configureLoginService` is always refused |
//! | `login` by Google, GitHub and others, `/_oauth/…` | with the feature `oauth`: the module `accounts::oauth` |
//!
//! # HTTP
//! Routes of the application take [`UserId`](crate::extract::UserId) or [`User`] as an argument, or an
//! `Option` of it, where their state has an [`AccountsHandle`]. The user is who has the login token of
//! `Authorization: Bearer …` or of the cookie; without one the answer is that of Meteor's
//! `accounts-express`, see [`Unauthorized`].
//!
//! ```
//! use axum::{Router, routing::get};
//! use ddp_server::accounts::{Accounts, MemoryAccounts};
//! use ddp_server::{Server, axum, extract::UserId};
//!
//! let accounts = Accounts::new(MemoryAccounts::new()).use_http_only_cookies().build();
//! let server = Server::builder().plugin(accounts.clone()).build();
//! let mine = Router::new().route("/whoami", get(async |user: UserId| user.to_string()));
//! let router = server.router().merge(mine.with_state(accounts));
//! # let _ = router;
//! ```
//!
//! # Sessions
//! [`AccountsHandle::sessions`] lists the connections of a user on this server; `logout_session`,
//! `logout_user` and `deactivate` end one or all, on every server. [`AccountsHandle::login_as`] is for
//! support: hooks, the log and [`AccountsHandle::impersonated_by`] say who it is. Methods and
//! publications may take [`User`] or `Option<User>`, too, as the store has it when they begin.
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
//! # A second factor
//! Codes of an authenticator app: TOTP with SHA-1, 6 digits, 30 seconds, up to 5 minutes early or late,
//! as in Meteor. `login` asks for one only after the password, or the mailed token, was right. A code
//! works once, and those before it no longer: who logs in on a second device waits for the next one.
//! `enableUser2fa` returns ten recovery codes as `recoveryCodes`, and each works once in place of a
//! code; called again with a code, it returns new ones. After five wrong codes in a row none is looked at
//! for 30 seconds, twice as long after each further one, up to an hour (`too-many-requests`), on all
//! servers: guesses by somebody who knows the password succeed with 0.05 % a day. Recovery codes are not
//! held up by that. Set [`oauth_secret_key`](Accounts::oauth_secret_key): without it the secrets are
//! stored as they are. [`Sealer`] opens what it has encrypted, and what Meteor's `oauth-encryption` has.
//! Who has lost the app and the codes is helped by [`disable_2fa`](AccountsHandle::disable_2fa).
//!
//! # Tokens by mail
//! `requestLoginTokenForUser` mails a token of 6 hexadecimal digits, which logs in once within an hour
//! and verifies its address. Ten wrong tries end it, and a user is mailed ten times an hour at most, so
//! that one in 16 million is not found by trying.
//!
//! # JSON Web Tokens
//! With the feature `jwt`, `login` takes `{jwt: "<token>"}` for users whom another backend knows, such as
//! Django or Rails: see `Accounts::jwt` and `Jwt`, whose page has the views that make such tokens.
//!
//! # Cookies of another program
//! A [handler of a library](Accounts::login_handler) may log in by a cookie of the request that opened the
//! connection, such as Django's session: the page is the same site's, and its client need not hold a token.
//! As a browser sends cookies along whichever page connects, that needs
//! [`allowed_origins`](crate::ServerConfig::allowed_origins); without them such a server is not built. See
//! [`keep_cookie`](crate::ServerBuilder::keep_cookie).
//!
//! # Unlike Meteor
//! - Clients may change their profiles by `Meteor.users.update` only where you
//!   [allow it](Accounts::allow_profile_updates); Meteor does, and its guide warns of it.
//! - Tokens that are mailed are stored as hashes, and a password that is set by any way ends them.
//!   Those that verify an address end after as long as those that set the first password.
//! - A conflict of names or addresses comes from the store's constraint, so all have the same text.
//! - What a client gives to `createUser` has at most 16 KiB, with the profile.
//! - Usernames have at most 256 characters, addresses 256 bytes, passwords 4 KiB; a digest is 64
//!   hexadecimal digits. All else is `Match failed [400]`.
//! - The cookie has the path of the application's address. A request with two different ones has none,
//!   and the user of a request that may change something is known by it only on the application's own
//!   pages. Clients of other origins have no cookie.
//! - Codes and mailed tokens work once and are counted, as said above. A token that
//!   [`on_create_login_token`](Accounts::on_create_login_token) was given works once, too, and a second
//!   factor is asked for with it as well.
//! - An address that differs in case from the stored one logs in by its token.
//! - With [ambiguous errors](Accounts::ambiguous_error_messages), `requestLoginTokenForUser` that creates
//!   nobody answers the same whether there is such a user, and `extra` of its options is not looked at.
//! - A login token with an [end of its own](Login::expires) closes the connections that hold it as it ends, and
//!   not at the next look for expired ones.

mod attempt;
mod authenticate;
mod builder;
mod core;
mod create;
mod delays;
mod extract;
mod handle;
mod handler;
mod handlers;
mod held;
mod hooks;
mod http;
mod input;
#[cfg(feature = "jwt")]
mod jwt;
mod kept;
mod letters;
mod login;
mod mail;
mod memory;
mod methods;
mod modifier;
#[cfg(feature = "oauth")]
#[cfg_attr(docsrs, doc(cfg(feature = "oauth")))]
pub mod oauth;
mod options;
mod password;
mod passwordless;
mod plugin;
mod publications;
mod sealed;
mod second_factor;
#[cfg(feature = "oauth")]
mod services;
mod sessions;
mod store;
mod tasks;
#[cfg(all(test, feature = "testing"))]
mod tests;
mod token;
mod watch;

pub use attempt::{Attempt, CreatedLoginToken, Creation, Logout};
pub use builder::Accounts;
pub use handle::AccountsHandle;
pub use handler::{Login, LoginHandler, LoginRequest};
pub use http::Unauthorized;
#[cfg(feature = "jwt")]
pub use jwt::{Jwt, JwtError};
pub use mail::{Letter, LogMailer, Mail, MailContext, MailTemplate, MailTemplates, Mailer};
#[cfg(feature = "smtp")]
pub use mail::{MailUrlError, SmtpMailer};
pub use memory::MemoryAccounts;
pub use password::{PasswordAlgorithm, is_password_hash};
pub use sealed::Sealer;
pub use second_factor::is_totp_secret;
#[cfg(feature = "testing")]
pub use second_factor::totp_code;
pub use sessions::UserSession;
pub use store::{
    AccountsStore, Conflict, Email, Expired, LoginToken, LoginUser, NewUser, OnRevocation,
    OneTimeToken, PasswordChange, PasswordHash, Purpose, Read, Revocation, Selector, Service,
    TokenGuard, TokenHash, Tokens, User, WriteError, Written,
};
