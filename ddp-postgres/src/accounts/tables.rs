//! Where accounts are in the database.

use std::borrow::Cow;

use super::mapped::UsersTable;
use crate::table::Table;

/// The schema unless another is named. The SQL of this module is written for it.
const SCHEMA: &str = "accounts";

/// The collection that only this store observes: the hashes of the login tokens.
pub(crate) const LOGIN_TOKENS: &str = "accounts.loginTokens";

/// The collection of the users, as Meteor's clients know it.
pub(crate) const USERS: &str = "users";

/// Tables for the accounts of Meteor's users, in a schema of their own: `users`, `emails`, `passwords`,
/// `login_tokens`, `one_time_tokens` and `services`.
///
/// [`connect`](crate::DbBuilder::connect) makes them if they are not there, and brings those of an
/// older version up to date. Anybody with the privileges may read and write them; what is written there
/// by `psql` or another program is seen at once by all servers and their clients:
///
/// - `users`: `username` and `profile` (a JSON object, in which dates and bytes are EJSON). A user
///   whose `is_active` becomes false, or who is deleted, is logged out everywhere.
/// - `emails`: the addresses. `users.emails` follows them.
/// - `login_tokens`: whoever deletes one ends the connections that are logged in by it.
///
/// Usernames and addresses are unique without regard to case, by unique indexes over the function
/// `fold`, which depends on no collation.
///
/// Broadcasts carry `created_at`, `username`, `emails` and `profile` of users, `roles` if they are
/// [another program's](Self::existing) and have some, and the hashes of login tokens, by which nobody can
/// log in. Nothing else leaves the database.
///
/// ```no_run
/// use ddp_postgres::{Db, accounts::AccountsTables};
///
/// # async fn connect() -> Result<(), ddp_postgres::Error> {
/// let db = Db::builder("postgres://localhost/todos").accounts(AccountsTables::new()).connect().await?;
/// let store = db.accounts();
/// # let _ = store;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct AccountsTables {
    pub(crate) schema: String,
    keys_only: bool,
    /// Where the users are, if they are another program's.
    pub(super) existing: Option<UsersTable>,
}

impl Default for AccountsTables {
    fn default() -> Self {
        Self::new()
    }
}

impl AccountsTables {
    /// Tables in the schema `accounts`.
    pub fn new() -> Self {
        Self { schema: SCHEMA.to_owned(), keys_only: false, existing: None }
    }

    /// Users who are another program's, in a table that exists. Beside it, in the schema `accounts`, are
    /// tables for what that one has no columns for. See [there](super#users-of-another-program).
    pub fn existing(users: UsersTable) -> Self {
        Self { existing: Some(users), ..Self::new() }
    }

    /// Another schema, by a name of at most 63 ASCII letters, digits and underscores. An application may
    /// have several, for servers that share no users.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// Broadcasts only the ids of users, not their names and addresses, as any role that can connect to the
    /// database can listen to the `notify` feed: see [`Table::keys_only`].
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// The tables whose changes are followed.
    pub(crate) fn published(&self) -> [Table; 2] {
        let roles = self.existing.as_ref().filter(|users| users.has_roles()).map(|_| "roles");
        let users = Table::new("users")
            .schema(&self.schema)
            .collection(USERS)
            .columns(["created_at", "username", "profile", "emails"].into_iter().chain(roles))
            .camel_case()
            .ejson("profile")
            .without_nulls();
        let users = if self.keys_only { users.keys_only() } else { users };
        let tokens = Table::new("login_tokens")
            .schema(&self.schema)
            .collection(LOGIN_TOKENS)
            .columns(Vec::<String>::new());
        [users, tokens]
    }

    /// Whether the schema's name is one that can be written anywhere in a statement.
    pub(super) fn has_good_name(&self) -> bool {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        (1..=63).contains(&self.schema.len()) && self.schema.bytes().all(is_good)
    }

    /// A statement of this module, for this schema.
    pub(super) fn sql<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        if self.schema == SCHEMA {
            return Cow::Borrowed(sql);
        }
        Cow::Owned(sql.replace("accounts.", &format!("\"{}\".", self.schema)))
    }
}
