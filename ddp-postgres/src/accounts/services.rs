//! What login services keep about users.

use ddp_server::accounts::{Service, User, WriteError};

use super::row::{COLUMNS, object, object_text, user};
use super::store::PostgresAccounts;

impl PostgresAccounts {
    pub(super) async fn service(
        &self,
        user_id: &str,
        service: &str,
    ) -> Result<Option<(Service, u64)>, ddp_server::Error> {
        let sql = "SELECT service_id, data::text, version FROM accounts.services
            WHERE user_id = $1 AND service = $2";
        let Some(row) = self.read_one(sql, &[&user_id, &service]).await? else { return Ok(None) };
        let record = Service { service_id: row.try_get(0)?, data: object(row.try_get(1)?)? };
        let version: i64 = row.try_get(2)?;
        Ok(Some((record, version.unsigned_abs())))
    }

    pub(super) async fn find_by_service(
        &self,
        service: &str,
        service_id: &str,
    ) -> Result<Option<User>, ddp_server::Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM accounts.users u WHERE u.id = (SELECT s.user_id
            FROM accounts.services s WHERE s.service = $1 AND s.service_id = $2)"
        );
        self.read_one(&sql, &[&service, &service_id]).await?.as_ref().map(user).transpose()
    }

    pub(super) async fn write_service(
        &self,
        user_id: &str,
        service: &str,
        version: u64,
        record: Option<&Service>,
    ) -> Result<bool, WriteError> {
        let writing = self.write_aside().await?;
        if !writing.lock_user(user_id).await? {
            return writing.commit(false).await;
        }
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        let written = match (record, version) {
            (None, 0) => {
                let sql = "SELECT FROM accounts.services WHERE user_id = $1 AND service = $2";
                let found = writing.query(sql, &[&user_id, &service]).await?;
                u64::from(found.is_empty())
            }
            (None, version) => {
                let sql = "DELETE FROM accounts.services
                    WHERE user_id = $1 AND service = $2 AND version = $3";
                writing.execute(sql, &[&user_id, &service, &version]).await?
            }
            (Some(Service { service_id, data }), 0) => {
                let sql = "INSERT INTO accounts.services (user_id, service, service_id, data)
                    VALUES ($1, $2, $3, $4::text::jsonb) ON CONFLICT (user_id, service) DO NOTHING";
                let data = object_text(data);
                writing.execute(sql, &[&user_id, &service, service_id, &data]).await?
            }
            (Some(Service { service_id, data }), version) => {
                let sql = "UPDATE accounts.services
                    SET service_id = $3, data = $4::text::jsonb, version = version + 1
                    WHERE user_id = $1 AND service = $2 AND version = $5";
                let data = object_text(data);
                writing.execute(sql, &[&user_id, &service, service_id, &data, &version]).await?
            }
        };
        writing.commit(written > 0).await
    }
}
