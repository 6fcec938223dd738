//! Who sends an HTTP request: by a token, or by the cookie that a browser keeps it in.
//!
//! Neither WebSocket nor SockJS looks at the cookie: a page of another site can open those.

mod cookie;
mod limit;
mod routes;
mod site;
mod unauthorized;

pub(super) use self::cookie::{Cookies, Sent, TOKEN_BYTES_MAX, sent};
pub(super) use self::routes::routes;
pub(super) use self::site::Site;
pub use self::unauthorized::Unauthorized;
