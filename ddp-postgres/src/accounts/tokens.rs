//! Tokens, as hashes: those of logins, and those that were mailed.

use std::time::SystemTime;

use ddp_server::accounts::{
    Expired, LoginToken, OneTimeToken, Purpose, TokenGuard, TokenHash, Tokens, User, WriteError,
};
use ddp_server::ejson::Date;
use tokio_postgres::Row;

use super::row::{COLUMNS, COLUMNS_COUNT, millis_sql, time, user};
use super::session::Writing;
use super::store::PostgresAccounts;

/// How many tokens are forgotten in one transaction, so that none holds locks for long.
const SWEPT_MAX: i64 = 1_000;

/// How many login tokens a user has at most; the oldest ones go first, but never for one that is older.
const TOKENS_MAX: i64 = 1_000;

/// How many one-time tokens a user keeps.
const ONE_TIME_MAX: i64 = 16;

impl Writing<'_> {
    /// Removes login tokens of a user. The user must be locked unless it is a single one: else one that is
    /// being added would stay.
    pub(super) async fn remove_login_tokens(
        &self,
        user_id: &str,
        which: &Tokens,
    ) -> Result<u64, WriteError> {
        let all = "DELETE FROM accounts.login_tokens WHERE user_id = $1";
        match which {
            Tokens::All => self.execute(all, &[&user_id]).await,
            Tokens::AllBut(hash) => {
                self.execute(&format!("{all} AND hash <> $2"), &[&user_id, &hash.as_str()]).await
            }
            Tokens::One(hash) => {
                self.execute(&format!("{all} AND hash = $2"), &[&user_id, &hash.as_str()]).await
            }
            Tokens::Nothing => Ok(0),
        }
    }

    /// Whether a user has no password, and is given none until the end. A row that is not there cannot be
    /// locked, but whoever adds it locks the user first.
    async fn keep_without_password(&self, user_id: &str) -> Result<bool, WriteError> {
        let sql = "SELECT FROM accounts.passwords WHERE user_id = $1";
        Ok(self.lock_user(user_id).await? && self.query(sql, &[&user_id]).await?.is_empty())
    }

    /// Removes those tokens of a table that meet a condition, whose parameter is a time.
    async fn sweep(
        &self,
        table: &str,
        condition: &str,
        before: SystemTime,
    ) -> Result<u64, WriteError> {
        // Those that somebody else is removing are left to them.
        let sql = format!(
            "DELETE FROM accounts.{table} WHERE hash IN (SELECT hash FROM accounts.{table}
                WHERE {condition} LIMIT {SWEPT_MAX} FOR UPDATE SKIP LOCKED)"
        );
        self.execute(&sql, &[&before]).await
    }
}

impl PostgresAccounts {
    /// The rows that the guard names are locked as they are when they are found, so that neither can
    /// change before the token is there.
    pub(super) async fn add_token(
        &self,
        user_id: &str,
        token: &LoginToken,
        guard: &TokenGuard,
    ) -> Result<bool, WriteError> {
        let writing = self.write_aside().await?;
        if matches!(guard, TokenGuard::NoPassword)
            && !writing.keep_without_password(user_id).await?
        {
            return writing.commit(false).await;
        }
        let (join, locked, value) = match guard {
            TokenGuard::Active | TokenGuard::NoPassword => ("", "u", None),
            TokenGuard::Password(hash) => (
                "JOIN accounts.passwords g ON g.user_id = u.id AND g.hash = $5",
                "u, g",
                Some(hash.as_str()),
            ),
            TokenGuard::Token(hash) => (
                "JOIN accounts.login_tokens g ON g.user_id = u.id AND g.hash = $5",
                "u, g",
                Some(hash.as_str()),
            ),
        };
        let sql = format!(
            "INSERT INTO accounts.login_tokens (hash, user_id, when_, expires)
            SELECT $2::text, u.id, $3::timestamptz, $4::timestamptz FROM accounts.users u {join}
            WHERE u.id = $1 AND u.is_active FOR SHARE OF {locked}
            ON CONFLICT (hash) DO NOTHING"
        );
        let (hash, when) = (token.hash.as_str(), time(token.when));
        let expires = token.expires.map(time);
        let added = match &value {
            Some(value) => {
                writing.execute(&sql, &[&user_id, &hash, &when, &expires, value]).await?
            }
            None => writing.execute(&sql, &[&user_id, &hash, &when, &expires]).await?,
        };
        if added > 0 {
            let sql = format!(
                "DELETE FROM accounts.login_tokens WHERE hash IN (
                    SELECT hash FROM accounts.login_tokens WHERE hash IN (
                        SELECT hash FROM accounts.login_tokens WHERE user_id = $1 AND hash <> $2
                        ORDER BY when_ DESC OFFSET {TOKENS_MAX} - 1)
                    FOR UPDATE SKIP LOCKED)"
            );
            writing.execute(&sql, &[&user_id, &hash]).await?;
        }
        writing.commit(added > 0).await
    }

    pub(super) async fn find_token(
        &self,
        hash: &TokenHash,
    ) -> Result<Option<(User, LoginToken)>, ddp_server::Error> {
        let (when, expires) = (millis_sql("t.when_"), millis_sql("t.expires"));
        let sql = format!(
            "SELECT {COLUMNS}, {when}, {expires} FROM accounts.login_tokens t
            JOIN accounts.users u ON u.id = t.user_id WHERE t.hash = $1 AND u.is_active"
        );
        let Some(row) = self.read_one(&sql, &[&hash.as_str()]).await? else { return Ok(None) };
        let when = Date::from_millis(row.try_get(COLUMNS_COUNT)?);
        let expires: Option<i64> = row.try_get(COLUMNS_COUNT + 1)?;
        let expires = expires.map(Date::from_millis);
        Ok(Some((user(&row)?, LoginToken { hash: hash.clone(), when, expires })))
    }

    pub(super) async fn find_stored(
        &self,
        hashes: &[TokenHash],
    ) -> Result<Vec<TokenHash>, ddp_server::Error> {
        let hashes: Vec<&str> = hashes.iter().map(TokenHash::as_str).collect();
        let sql = "SELECT t.hash FROM accounts.login_tokens t
            JOIN accounts.users u ON u.id = t.user_id WHERE t.hash = ANY ($1) AND u.is_active";
        let rows = self.read(sql, &[&hashes]).await?;
        let hash =
            |row: &Row| Ok::<TokenHash, ddp_server::Error>(row.try_get::<_, String>(0)?.into());
        rows.iter().map(hash).collect()
    }

    pub(super) async fn remove_tokens(
        &self,
        user_id: &str,
        which: &Tokens,
    ) -> Result<u64, WriteError> {
        let writing = self.write_aside().await?;
        if !writing.lock_user(user_id).await? {
            return Ok(0);
        }
        let removed = writing.remove_login_tokens(user_id, which).await?;
        writing.commit(removed > 0).await?;
        Ok(removed)
    }

    pub(super) async fn sweep(&self, expired: &Expired) -> Result<u64, WriteError> {
        let mut kinds = vec![
            ("login_tokens", "expires <= $1", expired.now),
            ("one_time_tokens", "kind = 'reset' AND when_ < $1", expired.reset_before),
            ("one_time_tokens", "kind = 'enroll' AND when_ < $1", expired.enroll_before),
        ];
        kinds.extend(expired.login_before.map(|before| ("login_tokens", "when_ < $1", before)));
        let mut swept = 0;
        for (table, condition, before) in kinds {
            loop {
                let writing = self.write_aside().await?;
                let batch = writing.sweep(table, condition, time(before)).await?;
                writing.commit(batch > 0).await?;
                swept += batch;
                if batch < SWEPT_MAX.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(swept)
    }

    pub(super) async fn put_one_time(&self, token: &OneTimeToken) -> Result<bool, WriteError> {
        let writing = self.write_aside().await?;
        if !writing.lock_user(&token.user_id).await? {
            return writing.commit(false).await;
        }
        let kind = token.purpose.as_str();
        if token.purpose != Purpose::Verify {
            let sql = "DELETE FROM accounts.one_time_tokens WHERE user_id = $1 AND kind = $2";
            writing.execute(sql, &[&token.user_id, &kind]).await?;
        }
        let (hash, when) = (token.hash.as_str(), time(token.when));
        let sql = "INSERT INTO accounts.one_time_tokens (hash, kind, user_id, address, when_)
            VALUES ($1, $2, $3, $4, $5)";
        writing.execute(sql, &[&hash, &kind, &token.user_id, &token.address, &when]).await?;
        let sql = "DELETE FROM accounts.one_time_tokens WHERE user_id = $1 AND hash IN (
            SELECT hash FROM accounts.one_time_tokens WHERE user_id = $1 AND hash <> $2
            ORDER BY when_ DESC OFFSET $3)";
        writing.execute(sql, &[&token.user_id, &hash, &(ONE_TIME_MAX - 1)]).await?;
        writing.commit(true).await
    }

    pub(super) async fn find_one_time(
        &self,
        hash: &TokenHash,
    ) -> Result<Option<OneTimeToken>, ddp_server::Error> {
        let when = millis_sql("when_");
        let sql = format!(
            "SELECT kind, user_id, address, {when} FROM accounts.one_time_tokens WHERE hash = $1"
        );
        let row = self.read_one(&sql, &[&hash.as_str()]).await?;
        row.map(|row| one_time_token(hash, &row)).transpose()
    }

    pub(super) async fn take_one_time(
        &self,
        hash: &TokenHash,
    ) -> Result<Option<OneTimeToken>, WriteError> {
        let writing = self.write_aside().await?;
        let when = millis_sql("when_");
        let sql = format!(
            "DELETE FROM accounts.one_time_tokens WHERE hash = $1
            RETURNING kind, user_id, address, {when}"
        );
        let rows = writing.query(&sql, &[&hash.as_str()]).await?;
        writing.commit(!rows.is_empty()).await?;
        Ok(rows.first().map(|row| one_time_token(hash, row)).transpose()?)
    }
}

fn one_time_token(hash: &TokenHash, row: &Row) -> Result<OneTimeToken, ddp_server::Error> {
    let kind: &str = row.try_get(0)?;
    let mut purposes = [Purpose::Reset, Purpose::Enroll, Purpose::Verify].into_iter();
    let purpose = purposes.find(|purpose| purpose.as_str() == kind);
    Ok(OneTimeToken {
        hash: hash.clone(),
        purpose: purpose.ok_or_else(|| ddp_server::Error::internal("an unknown kind of token"))?,
        user_id: row.try_get(1)?,
        address: row.try_get(2)?,
        when: Date::from_millis(row.try_get(3)?),
    })
}
