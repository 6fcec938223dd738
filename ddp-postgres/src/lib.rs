//! PostgreSQL behind a DDP server: triggers to broadcasts to live queries.
//!
//! ```no_run
//! use ddp_postgres::{Db, Table};
//! use ddp_server::extract::Params;
//! use ddp_server::{Collection, Cursor, Error, Server, State, WriteFence, field};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Task {
//!     list_id: String,
//!     text: String,
//! }
//! const TASKS: Collection<Task> = Collection::new("tasks");
//!
//! async fn by_list(State(db): State<Db>, Params((list_id,)): Params<(String,)>) -> Cursor<Task> {
//!     db.find(&TASKS).filter(field("listId").eq(list_id))
//! }
//!
//! async fn rename(
//!     State(db): State<Db>,
//!     fence: WriteFence,
//!     Params((id, text)): Params<(String, String)>,
//! ) -> Result<(), Error> {
//!     let transaction = db.begin(&fence).await?;
//!     transaction.execute("UPDATE tasks SET text = $2 WHERE id = $1", &[&id, &text]).await?;
//!     Ok(transaction.commit().await?)
//! }
//!
//! # async fn main_() -> Result<(), Box<dyn std::error::Error>> {
//! let db = Db::builder("postgres://localhost/todos")
//!     .table(Table::new("tasks").columns(["list_id", "text"]).camel_case())
//!     .connect()
//!     .await?;
//! let server = Server::builder()
//!     .publish("tasks.byList", by_list)
//!     .method("tasks.rename", rename)
//!     .with_state(db);
//! server.serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?).await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Test it
//!
//! A client of `ddp_server::testing` (feature `testing`) needs no socket, only a database with the tables:
//!
//! ```no_run
//! use ddp_server::testing::Client;
//! # use ddp_postgres::{Db, Table};
//! # use ddp_server::{Collection, Server};
//! # #[derive(serde::Serialize, serde::Deserialize)]
//! # struct Task { text: String }
//! # const TASKS: Collection<Task> = Collection::new("tasks");
//! # fn server(_: Db) -> Server { unimplemented!("the one above") }
//!
//! // Under #[tokio::test].
//! async fn everyone_sees_a_renamed_task() -> Result<(), ddp_postgres::Error> {
//!     let url = "postgres://localhost/todos_test";
//!     let tasks = Table::new("tasks").columns(["list_id", "text"]).camel_case();
//!     let db = Db::builder(url).table(tasks).connect().await?;
//!     let server = server(db);
//!     let (ada, bob) = (Client::connect(&server).await, Client::connect(&server).await);
//!     for client in [&ada, &bob] {
//!         client.subscribe("tasks.byList", ("home",)).await.expect("a subscription");
//!     }
//!     let id = ada.documents_by_id(&TASKS).into_keys().next().expect("a task");
//!     ada.call::<()>("tasks.rename", (&id, "Water the plants")).await.expect("a new text");
//!     assert_eq!(ada.documents_by_id(&TASKS)[&id].text, "Water the plants");
//!     bob.wait_until(|bob| bob.documents_by_id(&TASKS)[&id].text == "Water the plants").await;
//!     server.close().await;
//!     Ok(())
//! }
//! ```
//!
//! # From a commit to the clients
//!
//! [`Db::connect`](DbBuilder::connect) gives each registered [`Table`] its triggers. Every statement
//! that changes the table, from any program, sends a message within its transaction through the
//! chosen [`Feed`]; PostgreSQL delivers it at commit. The feed listens on the channels of observed
//! tables. The parts of each transaction are joined, and live queries get one batch for each
//! collection and transaction. A change costs the server no SQL.
//!
//! A live query starts with one SELECT in a REPEATABLE READ transaction, and applies exactly the
//! transactions that its snapshot does not include. When the feed is interrupted, every live query
//! reads again and sends the difference: nothing is lost, nothing is sent twice.
//!
//! A [`Transaction`] of a method ends with a token that this server sends to itself. When the
//! token comes back, everything that was committed before has been handed to the sessions, and the
//! method's `updated` may follow.
//!
//! A transaction's changes come as one batch; only a transaction too large to be delivered at once
//! may come as several, in order.
//!
//! This crate knows no sessions.
//!
//! # Features
//!
//! - `accounts`, on by default: the module [`accounts`].
//! - `import`: brings the users of a Meteor app over, by the module `accounts::import` or the program
//!   `ddp-import-users`.
//! - `tls`, on by default: TLS to the database, by rustls. Without it, connections are not
//!   encrypted and `sslmode=require` is an error.

#![cfg_attr(
    not(feature = "tls"),
    allow(clippy::clone_on_copy, reason = "NoTls is Copy, and the TLS of the feature is not")
)]
#![cfg_attr(
    not(feature = "__testing"),
    allow(
        unreachable_pub,
        unnameable_types,
        reason = "what tests need is public, and reached by that feature only"
    )
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "accounts")]
pub mod accounts;
mod causes;
mod compare;
mod db;
mod error;
mod feed;
pub mod guide;
mod intake;
mod nearest;
mod read;
mod replication;
mod row;
mod schema;
mod stats;
mod table;
#[cfg(feature = "__testing")]
#[doc(hidden)]
pub mod testing;
mod value;

#[doc(no_inline)]
pub use deadpool_postgres;
#[cfg(feature = "tls")]
#[doc(no_inline)]
pub use rustls;
#[doc(no_inline)]
pub use tokio_postgres;

pub use db::Db;
pub use db::builder::DbBuilder;
pub use db::transaction::Transaction;
pub use error::Error;
pub use feed::Feed;
pub use schema::Installed;
pub use stats::Stats;
pub use table::Table;

/// The README's example, compiled like all others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
