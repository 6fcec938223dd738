//! What the example servers share: where they listen and which database they use.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use tokio::net::TcpListener;

/// An environment variable that does not work. Its `Debug` is the text for the user, since that is
/// what a `main` that returns it prints.
pub struct SettingError(String);

/// Listens at `BIND` (127.0.0.1) and `PORT` (3000; 0 is any free one), and prints the address.
///
/// # Errors
/// If either variable is invalid, or the address is in use.
pub async fn listen() -> Result<TcpListener, SettingError> {
    listen_on("PORT", 3000).await
}

/// The same, with the port from another variable.
///
/// # Errors
/// As with [`listen`].
pub async fn listen_on(variable: &str, default: u16) -> Result<TcpListener, SettingError> {
    let bind = setting("BIND", IpAddr::from(Ipv4Addr::LOCALHOST))?;
    let port = setting(variable, default)?;
    let listener = TcpListener::bind((bind, port)).await;
    let listener = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = listener.map_err(|error| {
        SettingError(format!("cannot listen on {bind}:{port}: {error}; set {variable} or BIND"))
    })?;
    println!("listening on {address}");
    Ok(listener)
}

/// The database's URL, `DATABASE_URL`.
///
/// # Errors
/// If it is not set; the error says how to get a database.
pub fn database_url() -> Result<String, SettingError> {
    std::env::var("DATABASE_URL").map_err(|_| {
        SettingError(
            "DATABASE_URL is not set: name a PostgreSQL database, such as \
             postgres://me@127.0.0.1/mine; `cargo run --bin todos` starts one and prints its URL"
                .to_owned(),
        )
    })
}

/// A setting from the environment.
///
/// # Errors
/// If its value does not parse as a `T`.
pub fn setting<T>(name: &str, default: T) -> Result<T, SettingError>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|error| SettingError(format!("{name}={text}: {error}"))),
        Err(_) => Ok(default),
    }
}

impl fmt::Debug for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingError {}

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
