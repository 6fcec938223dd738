//! What the server itself can do with its users.

use std::fmt;
use std::sync::Arc;

use super::core::Core;
use super::create::Wanted;
use super::input::{self, Password};
use super::store::{Email, PasswordChange, Purpose, Selector, Tokens, User, WriteError};
use super::{passwordless, second_factor};
use crate::ejson::{self, Ejson, Object};
use crate::error::Error;
use crate::write_fence::WriteFence;

/// Accounts that have been built: a plugin for the server, and what the server itself does with its
/// users, under the names that Meteor's `Accounts` has for it. Cheap to clone: clones are the same.
///
/// ```
/// use ddp_server::accounts::{Accounts, MemoryAccounts};
/// use ddp_server::{Error, Server};
/// use serde_json::json;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let accounts = Accounts::new(MemoryAccounts::new()).build();
/// let server = Server::builder().plugin(accounts.clone()).build();
///
/// let ada = accounts.create_user(&json!({"username": "ada", "password": "analytical engine"})).await?;
/// accounts.add_email(&ada, "ada@example.com", true).await?;
/// let found = accounts.find_user_by_email("Ada@Example.com").await?;
/// assert_eq!(found.map(|user| user.id), Some(ada));
/// # let _ = server;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Functions that are about a user fail with `User not found` (403) if there is none, and with Meteor's
/// texts otherwise: errors that a method may pass on to its client. With
/// [`ambiguous_error_messages`](super::Accounts::ambiguous_error_messages) the texts are those for
/// clients. All fail if the store does.
#[derive(Clone)]
pub struct AccountsHandle {
    pub(super) core: Arc<Core>,
    fence: WriteFence,
}

impl AccountsHandle {
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core, fence: WriteFence::detached() }
    }

    /// The same within a method: the method's client has what it changes about users before it is told
    /// that the method is over.
    #[must_use]
    pub fn within(&self, fence: &WriteFence) -> Self {
        Self { core: Arc::clone(&self.core), fence: fence.clone() }
    }

    /// Creates a user and returns the id: Meteor's `createUser` on the server. The options are an
    /// object with `username`, `email`, `password`, `profile` and whatever
    /// [`on_create_user`](super::Accounts::on_create_user) knows. Nobody is logged in.
    ///
    /// # Errors
    /// `Need to set a username or email` (400), `Username already exists.`, `Email already exists.`
    /// (403), and those of the hooks.
    pub async fn create_user(&self, options: &impl serde::Serialize) -> Result<String, Error> {
        let wanted = Wanted::read(ejson::to_value(options)?)?;
        Ok(self.core.create_user(wanted, None, &self.fence).await?.user.id)
    }

    /// The user with this id.
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub async fn find_user(&self, user_id: &str) -> Result<Option<User>, Error> {
        self.core.store.find_user(&Selector::Id(user_id.to_owned())).await
    }

    /// The user with this name: the exact one, else the only one that differs in case.
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub async fn find_user_by_username(&self, username: &str) -> Result<Option<User>, Error> {
        self.core.store.find_user(&Selector::Username(username.to_owned())).await
    }

    /// The user with this address, by the same rule.
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub async fn find_user_by_email(&self, address: &str) -> Result<Option<User>, Error> {
        self.core.store.find_user(&Selector::Email(address.to_owned())).await
    }

    /// Sets a password, and logs the user out everywhere unless told not to: Meteor's `setPassword` and
    /// its option `logout`. Mailed tokens for the password end.
    ///
    /// # Errors
    /// See [above](Self#errors); a password that is empty or longer than 4 KiB.
    pub async fn set_password(
        &self,
        user_id: &str,
        password: &str,
        logs_out: bool,
    ) -> Result<(), Error> {
        if !input::is_password(password) {
            return Err(Error::client(400, "A password has 1 to 4,096 bytes"));
        }
        let hash = self.core.passwords.hash(Password::Plain(password.to_owned()), None).await?;
        let ends = if logs_out { Tokens::All } else { Tokens::Nothing };
        let change = PasswordChange { hash, only_if: None, ends };
        passwordless::forget(&self.core, user_id).await?;
        self.found(self.core.store.set_password(user_id, &change).await?)
    }

    /// Gives a user another name.
    ///
    /// # Errors
    /// See [above](Self#errors); `Username already exists.` (403); a name that is empty or longer than
    /// 256 characters.
    pub async fn set_username(&self, user_id: &str, username: &str) -> Result<(), Error> {
        if !input::is_username(username) {
            return Err(Error::client(400, "A username has 1 to 256 characters"));
        }
        self.written(self.core.store.set_username(user_id, username, &self.fence).await)
    }

    /// Gives a user one more address; one that differs in case only is replaced.
    ///
    /// # Errors
    /// See [above](Self#errors); `Email already exists.` (403); an address that is empty, longer than
    /// 256 bytes or has control characters.
    pub async fn add_email(
        &self,
        user_id: &str,
        address: &str,
        verified: bool,
    ) -> Result<(), Error> {
        let email = email(address, verified)?;
        self.written(self.core.store.add_email(user_id, &email, &self.fence).await)
    }

    /// Puts an address in the place of another, which is spelt as it is stored: Meteor's
    /// `replaceEmailAsync`.
    ///
    /// # Errors
    /// As with [`add_email`](Self::add_email).
    pub async fn replace_email(
        &self,
        user_id: &str,
        old: &str,
        new: &str,
        verified: bool,
    ) -> Result<(), Error> {
        let new = email(new, verified)?;
        self.written(self.core.store.replace_email(user_id, old, &new, &self.fence).await)
    }

    /// Takes an address, spelt as it is stored, from a user.
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub async fn remove_email(&self, user_id: &str, address: &str) -> Result<(), Error> {
        self.found(self.core.store.remove_email(user_id, address, &self.fence).await?)
    }

    /// Replaces a user's profile, which is an object or `None`.
    ///
    /// # Errors
    /// See [above](Self#errors); a profile that is no object.
    pub async fn set_profile(
        &self,
        user_id: &str,
        profile: Option<&impl serde::Serialize>,
    ) -> Result<(), Error> {
        let profile: Option<Object> = match profile.map(ejson::to_value).transpose()? {
            None | Some(Ejson::Null) => None,
            Some(Ejson::Object(profile)) => Some(profile),
            Some(_) => return Err(Error::internal("a profile must be an object")),
        };
        self.found(self.core.store.set_profile(user_id, profile.as_ref(), &self.fence).await?)
    }

    /// A new token that resets the password of a user, who has the address or one at all: Meteor's
    /// `generateResetToken`. It ends the last one.
    ///
    /// # Errors
    /// See [above](Self#errors); `No such email for user.` (403).
    pub async fn generate_reset_token(
        &self,
        user_id: &str,
        address: Option<&str>,
    ) -> Result<String, Error> {
        Ok(self.core.one_time_token(Purpose::Reset, &self.user(user_id).await?, address).await?.1)
    }

    /// A new token that verifies an address of a user, without one the first that is not verified.
    ///
    /// # Errors
    /// See [above](Self#errors); `No such email for user.` (403).
    pub async fn generate_verification_token(
        &self,
        user_id: &str,
        address: Option<&str>,
    ) -> Result<String, Error> {
        Ok(self.core.one_time_token(Purpose::Verify, &self.user(user_id).await?, address).await?.1)
    }

    /// Mails a token that resets the password.
    ///
    /// # Errors
    /// Those of [`generate_reset_token`](Self::generate_reset_token), and the mailer's.
    pub async fn send_reset_password_email(
        &self,
        user_id: &str,
        address: Option<&str>,
    ) -> Result<(), Error> {
        self.core.mail_token(Purpose::Reset, self.user(user_id).await?, address).await
    }

    /// Mails a token that sets the first password.
    ///
    /// # Errors
    /// Those of [`generate_reset_token`](Self::generate_reset_token), and the mailer's.
    pub async fn send_enrollment_email(
        &self,
        user_id: &str,
        address: Option<&str>,
    ) -> Result<(), Error> {
        self.core.mail_token(Purpose::Enroll, self.user(user_id).await?, address).await
    }

    /// Mails a token that verifies an address.
    ///
    /// # Errors
    /// Those of [`generate_verification_token`](Self::generate_verification_token), and the mailer's.
    pub async fn send_verification_email(
        &self,
        user_id: &str,
        address: Option<&str>,
    ) -> Result<(), Error> {
        self.core.mail_token(Purpose::Verify, self.user(user_id).await?, address).await
    }

    /// Takes the second factor from a user who has lost it, and the recovery codes with it. False if
    /// there was none.
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub async fn disable_2fa(&self, user_id: &str) -> Result<bool, Error> {
        second_factor::disable(&self.core, user_id).await
    }

    /// Ends all login tokens of a user, and says how many: every connection that holds one is closed,
    /// on every server.
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub async fn logout_user(&self, user_id: &str) -> Result<u64, Error> {
        passwordless::forget(&self.core, user_id).await?;
        self.core.store.remove_login_tokens(user_id, &Tokens::All).await
    }

    /// Logs a user out everywhere; nobody logs in as this user until it is
    /// [activated](Self::activate).
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub async fn deactivate(&self, user_id: &str) -> Result<(), Error> {
        passwordless::forget(&self.core, user_id).await?;
        self.found(self.core.store.set_active(user_id, false).await?)
    }

    /// Lets a user log in again.
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub async fn activate(&self, user_id: &str) -> Result<(), Error> {
        self.found(self.core.store.set_active(user_id, true).await?)
    }

    /// Removes a user, and closes its connections.
    ///
    /// # Errors
    /// See [above](Self#errors).
    pub async fn remove_user(&self, user_id: &str) -> Result<(), Error> {
        self.found(self.core.store.remove_user(user_id, &self.fence).await?)
    }

    async fn user(&self, user_id: &str) -> Result<User, Error> {
        self.find_user(user_id).await?.ok_or_else(|| self.core.refusal("User not found"))
    }

    fn found(&self, is_found: bool) -> Result<(), Error> {
        if is_found { Ok(()) } else { Err(self.core.refusal("User not found")) }
    }

    fn written(&self, written: Result<bool, WriteError>) -> Result<(), Error> {
        self.found(written.map_err(|error| self.core.conflict(error))?)
    }
}

fn email(address: &str, verified: bool) -> Result<Email, Error> {
    if !input::is_address(address) {
        let text = "An address has 1 to 256 bytes, and no control characters";
        return Err(Error::client(400, text));
    }
    Ok(Email { verified, ..Email::new(address) })
}

impl fmt::Debug for AccountsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccountsHandle")
            .field("options", &self.core.options)
            .field("held", &self.core.held)
            .finish_non_exhaustive()
    }
}
