//! Logins by Google, GitHub, and all else that speaks OpenID Connect or OAuth 2.

mod app;
mod builder;
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
