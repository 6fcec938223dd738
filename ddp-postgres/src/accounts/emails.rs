//! Addresses. The column `emails` of the user follows them by triggers.

use ddp_server::WriteFence;
use ddp_server::accounts::{Conflict, Email, WriteError};

use super::store::PostgresAccounts;

impl PostgresAccounts {
    pub(super) async fn add_address(
        &self,
        user_id: &str,
        email: &Email,
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        if let Some(users) = &self.accounts.tables.existing {
            return self.add_mapped_address(users, (user_id, email), fence).await;
        }
        let writing = self.write(fence).await?;
        if !writing.lock_user(user_id).await? {
            return writing.commit(false).await;
        }
        let written = writing
            .execute(
                "INSERT INTO accounts.emails AS old (user_id, address, verified) VALUES ($1, $2, $3)
                ON CONFLICT (accounts.fold(address)) DO UPDATE
                SET address = excluded.address, verified = excluded.verified
                WHERE old.user_id = excluded.user_id",
                &[&user_id, &email.address, &email.verified],
            )
            .await?;
        if written == 0 {
            return Err(Conflict::Email.into());
        }
        writing.commit(true).await
    }

    pub(super) async fn replace_address(
        &self,
        user_id: &str,
        old: &str,
        new: &Email,
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        if let Some(users) = &self.accounts.tables.existing {
            return self.replace_mapped_address(users, (user_id, old, Some(new)), fence).await;
        }
        let writing = self.write(fence).await?;
        if !writing.lock_user(user_id).await? {
            return writing.commit(false).await;
        }
        let sql = "UPDATE accounts.emails SET address = $3, verified = $4
            WHERE user_id = $1 AND address = $2";
        let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
            &[&user_id, &old, &new.address, &new.verified];
        let is_done = writing.execute(sql, params).await? > 0;
        let sql = "DELETE FROM accounts.one_time_tokens WHERE user_id = $1 AND address = $2";
        writing.execute(sql, &[&user_id, &old]).await?;
        writing.commit(is_done).await
    }

    pub(super) async fn remove_address(
        &self,
        user_id: &str,
        address: &str,
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        if let Some(users) = &self.accounts.tables.existing {
            return self.replace_mapped_address(users, (user_id, address, None), fence).await;
        }
        let writing = self.write(fence).await?;
        if !writing.lock_user(user_id).await? {
            return writing.commit(false).await;
        }
        let sql = "DELETE FROM accounts.emails WHERE user_id = $1 AND address = $2";
        let is_done = writing.execute(sql, &[&user_id, &address]).await? > 0;
        let sql = "DELETE FROM accounts.one_time_tokens WHERE user_id = $1 AND address = $2";
        writing.execute(sql, &[&user_id, &address]).await?;
        writing.commit(is_done).await
    }

    pub(super) async fn verify_address(
        &self,
        user_id: &str,
        address: &str,
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        if let Some(users) = &self.accounts.tables.existing {
            return self.verify_mapped_address(users, (user_id, address), fence).await;
        }
        let writing = self.write(fence).await?;
        if !writing.lock_user(user_id).await? {
            return writing.commit(false).await;
        }
        let sql = "UPDATE accounts.emails SET verified = true WHERE user_id = $1 AND address = $2";
        let is_done = writing.execute(sql, &[&user_id, &address]).await? > 0;
        let sql = "DELETE FROM accounts.one_time_tokens
            WHERE user_id = $1 AND address = $2 AND kind = 'verify'";
        writing.execute(sql, &[&user_id, &address]).await?;
        writing.commit(is_done).await
    }
}
