//! Users, and how they are found.

use ddp_server::WriteFence;
use ddp_server::accounts::{LoginUser, NewUser, Selector, User, WriteError};
use ddp_server::ejson::Object;

use super::existing::not_ours;
use super::row::{COLUMNS, COLUMNS_COUNT, object, object_text, time, user};
use super::store::PostgresAccounts;

/// The condition on `accounts.users u`, and its parameter. As two names that differ in case only cannot be
/// there, the one that is found is the exact one, if that is there.
///
/// Of another program's users, several may have a name or an address: see the functions.
fn condition(by: &Selector, is_mapped: bool) -> (&'static str, &str) {
    match by {
        Selector::Username(name) if is_mapped => ("u.id = accounts.user_named($1)", name),
        Selector::Email(address) if is_mapped => ("u.id = accounts.user_at($1)", address),
        Selector::Id(id) => ("u.id = $1", id),
        Selector::Username(name) => ("accounts.fold(u.username) = accounts.fold($1)", name),
        Selector::Email(address) => (
            "u.id = (SELECT e.user_id FROM accounts.emails e
                WHERE accounts.fold(e.address) = accounts.fold($1))",
            address,
        ),
    }
}

impl PostgresAccounts {
    pub(super) async fn find(&self, by: &Selector) -> Result<Option<User>, ddp_server::Error> {
        let (condition, value) = condition(by, self.accounts.tables.existing.is_some());
        let sql = format!("SELECT {COLUMNS} FROM accounts.users u WHERE {condition}");
        self.read_one(&sql, &[&value]).await?.as_ref().map(user).transpose()
    }

    pub(super) async fn find_for_login(
        &self,
        by: &Selector,
    ) -> Result<Option<LoginUser>, ddp_server::Error> {
        let (condition, value) = condition(by, self.accounts.tables.existing.is_some());
        let sql = format!(
            "SELECT {COLUMNS}, p.hash, EXISTS (SELECT FROM accounts.services s WHERE s.user_id = u.id
                AND s.service = 'twoFactorAuthentication' AND s.data ->> 'type' <> '')
            FROM accounts.users u LEFT JOIN accounts.passwords p ON p.user_id = u.id WHERE {condition}"
        );
        let Some(row) = self.read_one(&sql, &[&value]).await? else { return Ok(None) };
        let password: Option<String> = row.try_get(COLUMNS_COUNT)?;
        let has_2fa = row.try_get(COLUMNS_COUNT + 1)?;
        Ok(Some(LoginUser::new(user(&row)?, password.map(Into::into), has_2fa)))
    }

    pub(super) async fn create(&self, new: &NewUser, fence: &WriteFence) -> Result<(), WriteError> {
        if self.accounts.tables.existing.is_some() {
            return Err(not_ours("Users are created"));
        }
        let NewUser { user, password, services } = new;
        let writing = self.write(fence).await?;
        let (created, profile) =
            (user.created_at.map(time), user.profile.as_ref().map(object_text));
        writing
            .execute(
                "INSERT INTO accounts.users (id, created_at, username, profile, is_active)
                VALUES ($1, $2, $3, $4::text::jsonb, $5)",
                &[&user.id, &created, &user.username, &profile, &user.is_active],
            )
            .await?;
        if !user.emails.is_empty() {
            let addresses: Vec<&str> = user.emails.iter().map(|email| &*email.address).collect();
            let verified: Vec<bool> = user.emails.iter().map(|email| email.verified).collect();
            writing
                .execute(
                    "INSERT INTO accounts.emails (user_id, address, verified)
                    SELECT $1, e.address, e.verified
                    FROM unnest($2::text[], $3::bool[]) WITH ORDINALITY AS e (address, verified, place)
                    ORDER BY e.place",
                    &[&user.id, &addresses, &verified],
                )
                .await?;
        }
        if let Some(password) = password {
            let sql = "INSERT INTO accounts.passwords (user_id, hash) VALUES ($1, $2)";
            writing.execute(sql, &[&user.id, &password.as_str()]).await?;
        }
        for (name, service) in services {
            writing
                .execute(
                    "INSERT INTO accounts.services (user_id, service, service_id, data)
                    VALUES ($1, $2, $3, $4::text::jsonb)",
                    &[&user.id, name, &service.service_id, &object_text(&service.data)],
                )
                .await?;
        }
        writing.commit(true).await.map(drop)
    }

    pub(super) async fn change_username(
        &self,
        user_id: &str,
        username: &str,
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        if let Some(users) = &self.accounts.tables.existing {
            return self.change_mapped_username(users, (user_id, username), fence).await;
        }
        let writing = self.write(fence).await?;
        let sql = "UPDATE accounts.users SET username = $2 WHERE id = $1";
        let is_done = writing.execute(sql, &[&user_id, &username]).await? > 0;
        writing.commit(is_done).await
    }

    pub(super) async fn change_profile(
        &self,
        user_id: &str,
        profile: Option<&Object>,
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        if self.accounts.tables.existing.is_some() {
            return Err(not_ours("Profiles are written"));
        }
        let writing = self.write(fence).await?;
        let sql = "UPDATE accounts.users SET profile = $2::text::jsonb WHERE id = $1";
        let is_done = writing.execute(sql, &[&user_id, &profile.map(object_text)]).await? > 0;
        writing.commit(is_done).await
    }

    pub(super) async fn exchange_profile(
        &self,
        user_id: &str,
        old: Option<&Object>,
        new: Option<&Object>,
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        if self.accounts.tables.existing.is_some() {
            return Err(not_ours("Profiles are written"));
        }
        let writing = self.write(fence).await?;
        let sql = "SELECT profile::text FROM accounts.users WHERE id = $1 FOR NO KEY UPDATE";
        let Some(row) = writing.query(sql, &[&user_id]).await?.into_iter().next() else {
            return writing.commit(false).await;
        };
        // As it was read, for PostgreSQL keeps numbers that EJSON cannot have.
        let stored: Option<&str> = row.try_get(0).map_err(ddp_server::Error::from)?;
        if stored.map(object).transpose()?.as_ref() != old {
            return writing.commit(false).await;
        }
        let sql = "UPDATE accounts.users SET profile = $2::text::jsonb WHERE id = $1";
        let is_done = writing.execute(sql, &[&user_id, &new.map(object_text)]).await? > 0;
        writing.commit(is_done).await
    }

    /// The login tokens of a user who is deactivated go by a trigger.
    pub(super) async fn activate(
        &self,
        user_id: &str,
        is_active: bool,
    ) -> Result<bool, WriteError> {
        if let Some(users) = &self.accounts.tables.existing {
            return self.activate_mapped(users, user_id, is_active).await;
        }
        let writing = self.write_aside().await?;
        let sql = "UPDATE accounts.users SET is_active = $2 WHERE id = $1";
        let is_done = writing.execute(sql, &[&user_id, &is_active]).await? > 0;
        writing.commit(is_done).await
    }

    pub(super) async fn remove(
        &self,
        user_id: &str,
        fence: &WriteFence,
    ) -> Result<bool, WriteError> {
        if self.accounts.tables.existing.is_some() {
            return Err(not_ours("Users are removed"));
        }
        let writing = self.write(fence).await?;
        let sql = "DELETE FROM accounts.users WHERE id = $1";
        let is_done = writing.execute(sql, &[&user_id]).await? > 0;
        writing.commit(is_done).await
    }
}
