//! Accounts in PostgreSQL: their tables, their store, and what other programs do to them.

mod django;
mod django_logins;
mod django_tokens;
mod installation;
mod mapped;
mod migrations;
mod operators;
mod plugin;
mod races;
mod revocations;
mod second_factor;
mod secrets;
mod store;
mod tokens;
mod users;

use std::time::Duration;

use ddp_postgres::accounts::{AccountsTables, PostgresAccounts};
use ddp_postgres::{Db, Feed};
use ddp_server::WriteFence;
use ddp_server::accounts::{
    AccountsStore, Email, LoginToken, NewUser, PasswordHash, Service, TokenGuard, User, WriteError,
};
use ddp_server::ejson::Date;
use ddp_tests::database;

/// When the users of these tests were made, and logged in.
const WHEN: Date = Date::from_millis(1_700_000_000_123);

/// A database with accounts, and a server's handle on it.
struct Fixture {
    database: String,
    db: Db,
    accounts: PostgresAccounts,
}

impl Fixture {
    async fn start(name: &str) -> Self {
        Self::over(name, Feed::default()).await
    }

    async fn over(name: &str, feed: Feed) -> Self {
        let database = database::name(&format!("accounts_{name}"), feed);
        let _ = database::create_database(&database, "");
        Self::connect(&database, feed).await
    }

    /// One more server on a database.
    async fn connect(database: &str, feed: Feed) -> Self {
        let url = database::database_url(database);
        let builder = Db::builder(url).accounts(AccountsTables::new()).feed(feed);
        let db = builder.connect().await.unwrap_or_else(|error| panic!("{error}"));
        let accounts = db.accounts();
        Self { database: database.to_owned(), db, accounts }
    }

    fn psql(&self, sql: &str) -> String {
        database::psql(&self.database, sql).trim().to_owned()
    }

    /// A user with a name, an address and a password.
    async fn create(&self, name: &str) -> String {
        let new = new_user(name);
        self.accounts.create_user(&new, &fence()).await.unwrap_or_else(|error| panic!("{error:?}"));
        new.user.id
    }

    /// Gives a user a login token.
    async fn log_in(&self, user_id: &str, hash: &str) {
        let added = self.accounts.add_login_token(user_id, &token(hash), &TokenGuard::Active).await;
        assert!(added.unwrap());
    }
}

fn fence() -> WriteFence {
    WriteFence::detached()
}

/// A user whose id, address, password and service are made of the name.
fn new_user(name: &str) -> NewUser {
    let mut user = User::new(format!("id-of-{name}"));
    user.created_at = Some(WHEN);
    user.username = Some(name.to_owned());
    user.emails = vec![Email::new(format!("{name}@example.com"))];
    NewUser { user, password: Some(password(name)), services: Vec::new() }
}

fn password(of: &str) -> PasswordHash {
    PasswordHash::from(format!("$2b$10$secret-password-of-{of}"))
}

fn token(hash: &str) -> LoginToken {
    LoginToken { hash: hash.into(), when: WHEN, expires: None }
}

fn service(service_id: Option<&str>, key: &str) -> Service {
    let data = [(key.to_owned(), key.into())].into_iter().collect();
    Service { service_id: service_id.map(str::to_owned), data }
}

/// The conflict of a write that was refused.
fn conflict<T: std::fmt::Debug>(written: Result<T, WriteError>) -> ddp_server::accounts::Conflict {
    match written {
        Err(WriteError::Conflict(conflict)) => conflict,
        other => panic!("{other:?}"),
    }
}

/// Fails if it takes longer than anything here may.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.expect("it comes in time")
}
