//! Tables in the database: what they look like, and the triggers that report their changes.
//!
//! [`describe()`] turns a [`Table`](crate::table::Table) into a [`Layout`], and [`install()`] gives
//! the table its triggers. Everything except the triggers is in the schema `ddp`.
//!
//! Each statement that changes a published table sends one message on the table's channel, as
//! [`notification`] describes, within the writer's transaction. A statement that touches no row
//! sends nothing. Rows that two messages of one statement touch are read, since the messages may come
//! in another order than the changes. The messages do not cover:
//!
//! - Changes made while triggers are off, such as with `session_replication_role = replica`.
//!
//! A fault in a trigger never fails the writer's statement. If a published column is dropped, each
//! statement asks for the table to be read again, until it is described and installed once more.
//!
//! A transaction that has sent messages cannot be prepared for two-phase commit.

mod autovacuum;
mod catalog;
mod comparable;
mod describe;
mod difference;
mod digest;
mod error;
mod family;
mod fingerprint;
mod foreign;
mod form;
mod function;
mod inspect;
mod install;
mod installed;
mod layout;
mod merge;
mod name;
pub(crate) mod notification;
mod number;
mod parted;
mod privileges;
mod send;
mod sql;
mod turn;
mod uninstall;

pub(crate) use describe::Catalogs;
pub use describe::describe;
pub(crate) use digest::digests;
pub use error::Error;
pub(crate) use inspect::{Readiness, inspect, inspect_all};
#[cfg(feature = "accounts")]
pub(crate) use install::{ATTEMPTS, PAUSE, TABLE_LOCK_TIMEOUT, is_busy};
pub use install::{install, install_sql};
pub(crate) use install::{install_one, stop};
pub use installed::Installed;
pub(crate) use installed::installed;
pub use layout::{Column, Layout};
pub(crate) use privileges::{check_calls, check_functions, check_readable};
pub(crate) use send::{INSTALLED_CHANNEL, PUBLICATION};
pub use sql::SESSION_OPTIONS;
pub(crate) use sql::{TRANSACTION_SQL, UNTIMED_SQL, session_sql};
pub(crate) use turn::Patience;
#[cfg(feature = "accounts")]
pub(crate) use turn::{begin as begin_turn, turn_sql};
pub use uninstall::uninstall;
pub(crate) use uninstall::uninstall_all;

#[cfg(test)]
pub(crate) mod fixture;
