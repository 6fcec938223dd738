//! Logins by Google, GitHub, and all else that speaks OpenID Connect or OAuth 2, as Meteor's clients do
//! them.
//!
//! ```
//! use ddp_server::Server;
//! use ddp_server::accounts::oauth::OAuthService;
//! use ddp_server::accounts::{Accounts, MemoryAccounts};
//!
//! let accounts = Accounts::new(MemoryAccounts::new())
//!     .root_url("https://chat.example.com")
//!     .oauth(OAuthService::google("1234.apps.googleusercontent.com", "the client's secret"))
//!     .oauth(OAuthService::github("Iv1.5678", "the client's secret"))
//!     // Only those who are known already, or belong to the company.
//!     .before_external_login(async |login| {
//!         let email = login.verified_email.as_deref().unwrap_or_default();
//!         Ok(login.user.is_some() || email.ends_with("@example.com"))
//!     });
//! let server = Server::builder().plugin(accounts).build();
//! # let _ = server;
//! ```
//!
//! The provider sends the browser to `<ROOT_URL>/_oauth/<service>`, which is to be registered there, and
//! which has to reach this server: where a Meteor server or a proxy has the application's address, pass
//! on `/_oauth/`. The page that the browser then gets loads a script from `/packages/oauth/`: that of
//! the client's bundle does, and this server has its own.
//!
//! ```text
//! client                  provider                 this server
//!   │ window, state+token ──►│                          │
//!   │                        │── browser, code, state ─►│ code ► tokens ► who it is: kept a minute
//!   │◄────────────── page with the secret ──────────────│
//!   │── login {oauth: {credentialToken, credentialSecret}} ──────►│ the user, found or created
//! ```
//!
//! # Packages of Meteor
//! The client's packages work unmodified. On this side, a service is named as the package names it:
//!
//! | package | service | what is stored in `services.<service>` |
//! |---|---|---|
//! | `accounts-google`, `google-oauth` | [`OAuthService::google`]: `google` | `id, email, verified_email, name, given_name, family_name, picture, locale, scope, expiresAt` |
//! | `accounts-github`, `github-oauth` | [`OAuthService::github`]: `github` | `id, email, username, name, avatar, company, blog, location, bio, emails` |
//! | one of your own | [`OAuthService::open_id_connect`], [`OAuthService::oauth2`] | `id`, and the usual claims as the provider calls them |
//!
//! `accessToken`, `idToken` and `refreshToken` are not stored: with them, whoever reads the store could
//! act for users at the provider. [`on_external_login`](super::Accounts::on_external_login) sees them,
//! and may keep what the application needs. A text of more than 1 KiB is left out.
//!
//! # Start
//! The packages make the provider's address on the client, so that this server knows of a login only
//! what comes back: the state, and the code, which it exchanges with the client's secret. The ID token's
//! signature, issuer, audience and end are checked; PKCE and a nonce there cannot be.
//!
//! A client of one's own has both if it opens `/_oauth/<service>/start?state=…` instead, the `startUrl`
//! that [`meteor.loginServiceConfiguration`](super) tells, with the same state. What has to come back is
//! in a cookie of that browser, of ten minutes: a code is of no use in another one. The provider must
//! answer by GET. [`only_from_start`](OAuthService::only_from_start) refuses all other logins.
//!
//! # What clients are told
//! | error | |
//! |---|---|
//! | 145546287 `No matching login attempt found` | the user declined, or closed the window; the token or the secret is wrong, used, or older than a minute |
//! | 403 `Failed to complete OAuth handshake with …` | the provider's own words, such as `invalid_grant` for a used code |
//! | 403 `The answer of … was refused: the server's log says why` | an ID token that is not right, or no answer that can be read |
//! | 503 `… does not answer. Please try again later.` | |
//! | `too-many-requests` | 32 exchanges are under way, and 224 wait or one has waited for ten seconds |
//! | 403 `Login forbidden` | [`before_external_login`](super::Accounts::before_external_login) |
//!
//! # Limits
//! - A request to a provider takes at most 10 seconds, a login 30; an answer has at most 1 MiB.
//!   Redirections are not followed, and only this machine is asked without TLS.
//! - At most 10,000 credentials with 16 MiB wait for their logins, and as many failures apart from them;
//!   beyond that the oldest go. A query has at most 16 KiB, a body 64 KiB.
//! - Credentials wait in the memory of the server that the browser came to. With several servers,
//!   the balancer must send a client's browser and its connection to the same one.
//! - Of an address, 16 requests are handled at a time, and more are refused (429). Behind a proxy it is
//!   known by [`forwarded_count`](crate::ServerConfig::forwarded_count).
//!
//! # Unlike Meteor
//! - A service is configured here, not in `ServiceConfiguration`; `configureLoginService` is missing.
//! - A state that cannot be read is 400, and an unknown service 404, instead of a page that closes.
//! - `redirectUrl` must have the scheme, host and port of `ROOT_URL`.
//! - Codes go to the provider once: HEAD is refused.
//! - `restrictCreationByEmailDomain` believes an address of a service only if that has verified it.
//! - `setAdditionalFindUserOnExternalLogin` is missing; see
//!   [`link_by_verified_email`](OAuthService::link_by_verified_email).

mod app;
mod external;
mod failure;
mod grant;
mod http;
mod identity;
mod login;
mod logins;
mod openid;
mod page;
mod parameters;
mod pending;
mod plain;
mod routes;
mod service;
mod started;
mod state;

pub use external::ExternalLogin;
pub use service::OAuthService;
pub use state::LoginStyle;

pub(super) use external::Settings;
pub(super) use login::handle;
pub(super) use logins::Logins;
pub(super) use routes::router;
