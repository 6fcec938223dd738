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
//!
//! # Users of another program
//! With [`AccountsTables::existing`] the users are those of another program, such as Django's `auth_user`
//! or a table of Rails, in the same database. That table stays as it is, and that program's: ours follows
//! it by triggers, in the transaction of whoever changes it, so that what it says of users is live. What it
//! has no columns for is in tables of ours: login tokens, tokens that were mailed, login services, and which
//! address was verified by a link. Ids are the text of its key, as a JWT has them in `sub`.
//!
//! ```no_run
//! use ddp_postgres::{Db, accounts::{AccountsTables, UsersTable}};
//!
//! # async fn connect() -> Result<(), ddp_postgres::Error> {
//! let tables = AccountsTables::existing(UsersTable::django());
//! let db = Db::builder("postgres://localhost/django").accounts(tables).connect().await?;
//! # let _ = db.accounts();
//! # Ok(())
//! # }
//! ```
//!
//! | of `auth_user` | becomes |
//! |---|---|
//! | `id` | the user's id, as text |
//! | `username` | `username` |
//! | `email` | the only one of `emails`; verified once a link of ours was followed, unless [told otherwise](UsersTable::verified) |
//! | `first_name`, `last_name` | `profile.name` |
//! | `date_joined` | `createdAt` |
//! | `is_staff`, `is_superuser` | `staff` and `superuser` in `roles`, which are published if they are asked for |
//! | `is_active` | false logs the user out everywhere within a second, and lets nobody in |
//! | `password` | compared at logins, and never published |
//!
//! Nothing else is read. Where several users have a name or an address, but for its case or (in Django, an
//! address) altogether, the exact spelling finds one, and nobody is found if that is not one user.
//!
//! **Passwords.** A client that sends the password itself, over TLS, is compared with Django's hash, and then
//! a hash of ours is kept beside it, by which clients that send a digest, as Meteor's do, log in from then
//! on. Django's own stays. When Django changes it, ours ends, with all login tokens and tokens that were
//! mailed; that happens as well when Django hashes the same password anew because its settings have changed.
//! With `BCryptSHA256PasswordHasher` first in Django's `PASSWORD_HASHERS` none of this is needed: its hash is
//! that of the digest, and both log in by it.
//!
//! `changePassword`, `resetPassword` and `setPassword` write Django's column as well, or the old password
//! would stay good there: as `bcrypt_sha256$…`, which Django compares if the package `bcrypt` is installed.
//! If [`Accounts`](ddp_server::accounts::Accounts) hashes by Argon2, Django gets a password by which nobody
//! can log in there; so does Devise, always, as its hash cannot be made of a digest.
//!
//! **What is the other program's.** Users are created and removed, and profiles are written, there only:
//! `createUser` is refused. `set_username`, `replace_email`, `deactivate` and `activate` write its columns;
//! its constraints hold, and ours about case among those who write by us.
//!
//! **Logins.** Users of Django log in by the tokens of its REST framework
//! ([`django_tokens`](PostgresAccounts::django_tokens)) and by the session that their browser has
//! ([`django_sessions`](PostgresAccounts::django_sessions)), if that is switched on.
//!
//! After data was loaded with triggers disabled, `SELECT accounts.follow_all()` brings ours up to date.

mod connected;
mod django;
mod django_logins;
mod emails;
mod error;
mod existing;
mod fold;
mod hidden;
#[cfg(feature = "import")]
#[cfg_attr(docsrs, doc(cfg(feature = "import")))]
pub mod import;
mod install;
mod mapped;
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
pub use django::DjangoSessions;
pub(crate) use error::AccountsError;
pub use mapped::{PasswordColumn, UsersTable};
pub use store::PostgresAccounts;
pub use tables::AccountsTables;
