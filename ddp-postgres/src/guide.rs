//! Guides: a first app, tables, types of columns, feeds, accounts, operations, how to come from elsewhere.
//!
//! ```
//! use ddp_postgres::{Db, Table};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! // A table as clients see it: these columns, with JavaScript's names.
//! let tasks = Table::new("tasks").columns(["list_id", "text", "checked"]).camel_case();
//! // What is wrong ends `connect` and is named, here an option with a typing error.
//! let database = Db::builder("postgres://localhost/todos?sslmod=require").table(tasks);
//! let error = database.connect().await.err().expect("the URL is read before connecting");
//! assert_eq!(error.to_string(), "invalid connection string: unknown option `sslmod`");
//! # }
//! ```
//!
//! Queries, serving and logging are in [`ddp_server::guide`].

/// [tables]: crate::guide::tables
/// [columns]: crate::guide::columns
/// [queries]: ddp_server::guide::queries
/// [columns#rust-types-for-parameters]: crate::guide::columns#rust-types-for-parameters
/// [login]: crate::guide::accounts
/// [operations#connections-to-the-database]: crate::guide::operations#connections-to-the-database
/// [`ddp_server::testing`]: https://docs.rs/ddp-server/latest/ddp_server/testing/
/// [serving]: ddp_server::guide::serving
/// [operations]: crate::guide::operations
/// [logging]: ddp_server::guide::logging
/// [operations#permissions]: crate::guide::operations#permissions
///
#[doc = include_str!("../docs/first-app.md")]
pub mod first_app {}

/// [`Table`]: crate::Table
/// [`install_sql`]: crate::DbBuilder::install_sql
/// [`without_install`]: crate::DbBuilder::without_install
/// [`uninstall`]: crate::Db::uninstall
/// [operations#permissions]: crate::guide::operations#permissions
/// [`keys_only`]: crate::Table::keys_only
///
#[doc = include_str!("../docs/tables.md")]
pub mod tables {}

/// [`date_columns_as_dates`]: crate::Table::date_columns_as_dates
/// [`ejson`]: crate::Table::ejson
/// [`string_ids`]: crate::Table::string_ids
/// [`string_id_columns`]: crate::Table::string_id_columns
///
#[doc = include_str!("../docs/columns.md")]
pub mod columns {}

/// [`Feed::Notify`]: crate::Feed::Notify
/// [`Feed::Wal`]: crate::Feed::Wal
/// [`Table::keys_only`]: crate::Table::keys_only
/// [`db.stats()`]: crate::Db::stats
/// [`connect`]: crate::DbBuilder::connect
///
#[doc = include_str!("../docs/feeds.md")]
pub mod feeds {}

/// [serving]: ddp_server::guide::serving
/// [serving#several-servers]: ddp_server::guide::serving#several-servers
/// [`Error::code`]: crate::Error::code
/// [logging]: ddp_server::guide::logging
/// [`DbBuilder::tls`]: crate::DbBuilder::tls
/// [`DbBuilder::uninstall`]: crate::DbBuilder::uninstall
/// [`DbBuilder::installed`]: crate::DbBuilder::installed
/// [`DbBuilder::uninstall_all`]: crate::DbBuilder::uninstall_all
/// [accounts]: crate::guide::accounts
/// [feeds]: crate::guide::feeds
/// [`Db::stats`]: crate::Db::stats
/// [columns]: crate::guide::columns
///
#[doc = include_str!("../docs/operations.md")]
pub mod operations {}

/// [`AccountsTables::schema`]: crate::accounts::AccountsTables::schema
/// [`AccountsTables::keys_only`]: crate::accounts::AccountsTables::keys_only
/// [`AccountsTables::install_sql`]: crate::accounts::AccountsTables::install_sql
/// [`install_sql`]: crate::DbBuilder::install_sql
///
#[cfg(feature = "accounts")]
#[doc = include_str!("../docs/accounts.md")]
pub mod accounts {}

/// [accounts]: crate::guide::accounts
/// [queries]: ddp_server::guide::queries
/// [meteor-calls]: ddp_server::guide::meteor_calls
///
#[doc = include_str!("../docs/from-meteor.md")]
pub mod from_meteor {}

/// [accounts]: crate::guide::accounts
/// [accounts#logins-of-django]: crate::guide::accounts#logins-of-django
/// [feeds]: crate::guide::feeds
/// [operations#logins-of-a-web-application]: crate::guide::operations#logins-of-a-web-application
/// [operations#permissions]: crate::guide::operations#permissions
/// [operations#migrations-while-the-server-runs]: crate::guide::operations#migrations-while-the-server-runs
///
#[doc = include_str!("../docs/from-django.md")]
pub mod from_django {}

#[doc = include_str!("../docs/architecture.md")]
pub mod architecture {}

/// [`Table::rows_max`]: crate::Table::rows_max
/// [`connections_max`]: crate::DbBuilder::connections_max
/// [columns]: crate::guide::columns
/// [feeds]: crate::guide::feeds
///
#[doc = include_str!("../docs/limits.md")]
pub mod limits {}
