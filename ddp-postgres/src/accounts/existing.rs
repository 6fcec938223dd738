//! What the store writes to a table that is another program's.

use ddp_server::accounts::{Conflict, Email, PasswordChange, Tokens, WriteError};
use ddp_server::{Error, WriteFence};

use super::mapped::{MAY_BE_NULL, PasswordColumn, UsersTable, Verified, source_sql};
use super::session::Writing;
use super::store::PostgresAccounts;

/// What only the other program does.
pub(super) fn not_ours(what: &str) -> WriteError {
    let text = format!("{what} by the program that the users belong to");
    WriteError::Failed(Error::client(403, text))
}

/// Begins a hash of Django that is one of ours: the same bcrypt, of the same digest.
const DJANGO_BCRYPT: &str = "bcrypt_sha256$";

/// What Django takes for no password.
const DJANGO_UNUSABLE: &str = "!";

impl Writing<'_> {
    /// Writes a column of the user's row in the other table, which is locked before ours is, as the other
    /// program locks it. False if there is no such user.
    async fn write_user(
        &self,
        user_id: &str,
        what: &str,
        value: Option<&str>,
    ) -> Result<bool, WriteError> {
        let sql = "SELECT accounts.write_user($1, $2, $3)";
        let rows = self.query(sql, &[&user_id, &what, &value]).await?;
        let row = rows.first().ok_or_else(|| Error::internal("a function gave no row"))?;
        Ok(row.try_get(0).map_err(crate::error::Error::from)?)
    }

    /// Lets nobody else of ours take a name or an address that somebody has, but for its case. The other
    /// program has only its own constraint.
    async fn is_taken(&self, user_id: &str, column: &str, value: &str) -> Result<bool, WriteError> {
        let sql = "SELECT pg_catalog.pg_advisory_xact_lock(
            pg_catalog.hashtextextended(accounts.fold($1), 1684303457))";
        self.query(sql, &[&value]).await?;
        let sql = format!(
            "SELECT FROM accounts.users u
            WHERE accounts.fold({column}) = accounts.fold($1) AND u.id <> $2 LIMIT 1"
        );
        Ok(!self.query(&sql, &[&value, &user_id]).await?.is_empty())
    }

    async fn forget_mailed(&self, user_id: &str, address: &str) -> Result<(), WriteError> {
        let sql = "DELETE FROM accounts.one_time_tokens WHERE user_id = $1 AND address = $2";
        self.execute(sql, &[&user_id, &address]).await.map(drop)
    }

    /// The address of a user, if there is one.
    async fn address(&self, user_id: &str) -> Result<Option<String>, WriteError> {
        let sql = "SELECT u.emails #>> '{0,address}'::text[] FROM accounts.users u WHERE u.id = $1";
        let rows = self.query(sql, &[&user_id]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        Ok(row.try_get(0).map_err(crate::error::Error::from)?)
    }

    /// Takes an address away. An empty one would be another user's, where addresses are unique.
    async fn unset_address(&self, users: &UsersTable, user_id: &str) -> Result<(), WriteError> {
        let rows = self.query(MAY_BE_NULL, &[&users.schema, &users.table, &users.email]).await?;
        let row = rows.first().ok_or_else(|| Error::internal("the column of addresses is gone"))?;
        let may_be_null: bool = row.try_get(0).map_err(crate::error::Error::from)?;
        let is_unique: bool = row.try_get(1).map_err(crate::error::Error::from)?;
        if !may_be_null && is_unique {
            let text = "Each user has an address: replace it instead";
            return Err(WriteError::Failed(Error::client(403, text)));
        }
        self.write_user(user_id, "email", (!may_be_null).then_some("")).await.map(drop)
    }

    /// What says that an old address is verified would say so of the new one.
    async fn set_address(
        &self,
        users: &UsersTable,
        user_id: &str,
        email: &Email,
    ) -> Result<bool, WriteError> {
        if !email.verified && users.verified != Verified::ByLink {
            return Err(not_ours("Addresses that are not verified are given"));
        }
        if self.is_taken(user_id, "u.emails #>> '{0,address}'::text[]", &email.address).await? {
            return Err(Conflict::Email.into());
        }
        let is_done = self.write_user(user_id, "email", Some(&email.address)).await?;
        if is_done && email.verified {
            self.write_user(user_id, "verified", Some(&email.address)).await?;
        }
        Ok(is_done)
    }
}

impl PostgresAccounts {
    pub(super) async fn change_mapped_username(
        &self,
        users: &UsersTable,
        (user_id, username): (&str, &str),
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        if users.username.is_none() {
            return Err(not_ours("Usernames are given"));
        }
        let writing = self.write(fence).await?;
        // First, as the other program has it.
        if !writing.write_user(user_id, "", None).await? {
            return writing.commit(false).await;
        }
        if writing.is_taken(user_id, "u.username", username).await? {
            return Err(Conflict::Username.into());
        }
        writing.write_user(user_id, "username", Some(username)).await?;
        writing.commit(true).await
    }

    /// A user has one address: another one takes its place only by [`replace`](Self::replace_mapped_address).
    pub(super) async fn add_mapped_address(
        &self,
        users: &UsersTable,
        (user_id, email): (&str, &Email),
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        if users.email.is_none() {
            return Err(not_ours("Addresses are given"));
        }
        let writing = self.write(fence).await?;
        if !writing.write_user(user_id, "", None).await? {
            return writing.commit(false).await;
        }
        let old = writing.address(user_id).await?;
        if old.is_some_and(|old| !old.eq_ignore_ascii_case(&email.address)) {
            let text = "A user has one address: replace it instead";
            return Err(WriteError::Failed(Error::client(403, text)));
        }
        writing.set_address(users, user_id, email).await?;
        writing.commit(true).await
    }

    pub(super) async fn replace_mapped_address(
        &self,
        users: &UsersTable,
        (user_id, old, new): (&str, &str, Option<&Email>),
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        if users.email.is_none() {
            return Err(not_ours("Addresses are given"));
        }
        let writing = self.write(fence).await?;
        let is_there = writing.write_user(user_id, "", None).await?;
        if !is_there || writing.address(user_id).await?.as_deref() != Some(old) {
            return writing.commit(false).await;
        }
        match new {
            Some(email) => {
                writing.set_address(users, user_id, email).await?;
            }
            None => writing.unset_address(users, user_id).await?,
        }
        writing.forget_mailed(user_id, old).await?;
        writing.commit(true).await
    }

    pub(super) async fn verify_mapped_address(
        &self,
        users: &UsersTable,
        (user_id, address): (&str, &str),
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        let writing = self.write(fence).await?;
        let is_there = writing.write_user(user_id, "", None).await?;
        if !is_there || writing.address(user_id).await?.as_deref() != Some(address) {
            return writing.commit(false).await;
        }
        if users.verified != Verified::Always {
            writing.write_user(user_id, "verified", Some(address)).await?;
        }
        let sql = "DELETE FROM accounts.one_time_tokens
            WHERE user_id = $1 AND address = $2 AND kind = 'verify'";
        writing.execute(sql, &[&user_id, &address]).await?;
        writing.commit(true).await
    }

    pub(super) async fn activate_mapped(
        &self,
        users: &UsersTable,
        user_id: &str,
        is_active: bool,
    ) -> Result<bool, WriteError> {
        if users.is_active.is_none() {
            return Err(not_ours("Users are activated and deactivated"));
        }
        let writing = self.write_aside().await?;
        let value = if is_active { "true" } else { "false" };
        let is_done = writing.write_user(user_id, "is_active", Some(value)).await?;
        writing.commit(is_done).await
    }

    /// The other program's hash goes with the old password, or that would still be good there.
    pub(super) async fn change_mapped_password(
        &self,
        users: &UsersTable,
        user_id: &str,
        change: &PasswordChange,
    ) -> Result<bool, WriteError> {
        let Some((kind, _)) = &users.password else { return Err(not_ours("Passwords are set")) };
        let writing = self.write_aside().await?;
        if !writing.write_user(user_id, "", None).await? || !writing.lock_user(user_id).await? {
            return writing.commit(false).await;
        }
        if let Some(old) = &change.only_if {
            let sql = "SELECT FROM accounts.passwords p WHERE p.user_id = $1 AND p.hash = $2";
            if writing.query(sql, &[&user_id, &old.as_str()]).await?.is_empty() {
                return writing.commit(false).await;
            }
        }
        let hash = change.hash.as_str();
        let theirs = match kind {
            PasswordColumn::Django if hash.starts_with("$2") => format!("{DJANGO_BCRYPT}{hash}"),
            PasswordColumn::Django => DJANGO_UNUSABLE.to_owned(),
            PasswordColumn::Devise => String::new(),
        };
        // What ends is told by the change, and not by the trigger.
        writing
            .query("SELECT pg_catalog.set_config('ddp.is_own_password', 'on', true)", &[])
            .await?;
        writing.write_user(user_id, "password", Some(&theirs)).await?;
        let sql = format!(
            "INSERT INTO accounts.passwords (user_id, hash, source) VALUES ($1, $2, {})
            ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, source = excluded.source",
            source_sql("$3::text")
        );
        writing.execute(&sql, &[&user_id, &hash, &theirs]).await?;
        if !matches!(change.ends, Tokens::Nothing) {
            writing.remove_login_tokens(user_id, &change.ends).await?;
        }
        let sql = "DELETE FROM accounts.one_time_tokens WHERE user_id = $1";
        writing.execute(sql, &[&user_id]).await?;
        writing.commit(true).await
    }
}
