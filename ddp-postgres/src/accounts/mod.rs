//! Meteor's accounts in PostgreSQL: the store for [`ddp_server::accounts`].
//!
//! ```no_run
//! use ddp_postgres::{Db, accounts::AccountsTables};
//!
//! # async fn connect() -> Result<(), ddp_postgres::Error> {
//! let db = Db::builder("postgres://localhost/todos").accounts(AccountsTables::new()).connect().await?;
//! // Server::builder().plugin(Accounts::new(db.accounts()))
//! # let _ = db.accounts();
//! # Ok(())
//! # }
//! ```
//!
//! The records are in [tables](AccountsTables) of their own. What of them clients may see is published
//! like any other table, so a user's document is live whoever changes it. Who removes a login token, or a
//! user with all of them, ends the connections that hold it, on every server: the table of the tokens is
//! broadcast by their hashes, and after a loss of the feed all tokens that are held are looked at again.
//!
//! A login by a token is one SELECT, and one by a password another; what is written is one transaction
//! each, tied to the method's write fence where its user's document changes. All of them use the
//! connections and the limits of methods.

mod connected;
mod emails;
mod error;
mod fold;
mod hidden;
mod install;
mod passwords;
mod refusal;
mod revocations;
mod row;
mod services;
mod session;
mod store;
mod tables;
mod tokens;
mod users;
mod version1;

pub(crate) use connected::Accounts;
pub(crate) use error::AccountsError;
pub use store::PostgresAccounts;
pub use tables::AccountsTables;
