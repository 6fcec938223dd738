//! Tables in the database: what they look like, and the triggers that tell their changes.
//!
//! [`describe()`] turns a [`Table`](crate::table::Table) into a [`Layout`], and [`install()`] gives the
//! table its triggers. Everything but the triggers themselves is in the schema `ddp`.
//!
//! Each statement that changes a published table sends one message on the table's channel, as
//! [`notification`] describes, within the writer's transaction. A statement
//! that touches no row sends nothing. What the messages do not tell:
//!
//! - The right order of two statements on the same rows, one of which runs inside a *function*
//!   that the other one calls; inside a trigger it is noticed, and the table is read again.
//! - Changes that are made while triggers are off, as by `session_replication_role = replica`.
//!
//! A mistake in a trigger never fails the writer's statement. If a published column is dropped, each
//! statement tells that the table must be read again, until the table is described and installed
//! once more.
//!
//! A transaction that has sent messages cannot be prepared for two-phase commit.

mod catalog;
mod comparable;
mod describe;
mod digest;
mod error;
mod fingerprint;
mod function;
mod inspect;
mod install;
mod layout;
mod name;
pub(crate) mod notification;
mod send;
mod sql;

pub use describe::describe;
pub(crate) use digest::digests;
pub use error::Error;
pub(crate) use inspect::{Readiness, check_format, readiness};
pub use install::{install, install_sql, uninstall};
pub use layout::{Column, Layout};
pub(crate) use send::{INSTALLED_CHANNEL, PUBLICATION};
pub use sql::SESSION_OPTIONS;

#[cfg(test)]
pub(crate) mod fixture;
