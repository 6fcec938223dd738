//! Users who are another program's: our table of users follows theirs.
//!
//! The design: what the store reads is a table `users` of the same form as our own, so that logins, tokens
//! and publications are the same statements. Triggers on the other table write it; what we write goes to
//! the other table, by a function that knows its columns, and comes back by the triggers.

mod install;
mod sql;
mod users_table;
mod version1;

pub(super) use install::{VERSIONS, check_kind, follow, may_write, script};
pub(super) use sql::{MAY_BE_NULL, quote, source_sql};
pub(super) use users_table::Verified;
pub use users_table::{PasswordColumn, UsersTable};
