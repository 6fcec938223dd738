//! Passwords, as hashes.

use ddp_server::accounts::{PasswordChange, PasswordHash, WriteError};

use super::store::PostgresAccounts;

impl PostgresAccounts {
    pub(super) async fn change_password(
        &self,
        user_id: &str,
        change: &PasswordChange,
    ) -> Result<bool, WriteError> {
        if let Some(users) = &self.accounts.tables.existing {
            return self.change_mapped_password(users, user_id, change).await;
        }
        let writing = self.write_aside().await?;
        if !writing.lock_user(user_id).await? {
            return writing.commit(false).await;
        }
        let hash = change.hash.as_str();
        let written = match &change.only_if {
            Some(old) => {
                let sql =
                    "UPDATE accounts.passwords SET hash = $2 WHERE user_id = $1 AND hash = $3";
                writing.execute(sql, &[&user_id, &hash, &old.as_str()]).await?
            }
            None => {
                let sql = "INSERT INTO accounts.passwords (user_id, hash) VALUES ($1, $2)
                    ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash";
                writing.execute(sql, &[&user_id, &hash]).await?
            }
        };
        if written == 0 {
            return writing.commit(false).await;
        }
        writing.remove_login_tokens(user_id, &change.ends).await?;
        let sql = "DELETE FROM accounts.one_time_tokens WHERE user_id = $1";
        writing.execute(sql, &[&user_id]).await?;
        writing.commit(true).await
    }

    pub(super) async fn store_rehashed(
        &self,
        user_id: &str,
        old: &PasswordHash,
        new: &PasswordHash,
    ) -> Result<bool, WriteError> {
        let writing = self.write_aside().await?;
        let sql = "UPDATE accounts.passwords SET hash = $3 WHERE user_id = $1 AND hash = $2";
        let params = [user_id, old.as_str(), new.as_str()];
        let is_done = writing.execute(sql, &[&params[0], &params[1], &params[2]]).await? > 0;
        writing.commit(is_done).await
    }
}
