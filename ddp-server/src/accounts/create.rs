//! New users, whether a client or the server wants them.

use super::attempt::Creation;
use super::core::{Core, now};
use super::input::{self, Password, match_failed};
#[cfg(feature = "jwt")]
use super::store::Service;
use super::store::{Conflict, Email, NewUser, Purpose, User, WriteError};
use crate::ejson::{Ejson, Object};
use crate::error::Error;
use crate::extract::Connection;
use crate::random;
use crate::write_fence::WriteFence;

/// What a user is made of.
pub(super) struct Wanted {
    pub(super) username: Option<String>,
    pub(super) email: Option<String>,
    pub(super) password: Option<Password>,
    /// All of it, without the password, for the hook.
    pub(super) options: Object,
}

impl Wanted {
    /// Reads the argument of `createUser`.
    pub(super) fn read(argument: Ejson) -> Result<Self, Error> {
        let mut options = input::object(argument)?;
        let password = input::optional(&mut options, "password", input::new_password)?;
        let mut rest = options.clone();
        let username = input::optional(&mut rest, "username", input::username)?;
        let email = input::optional(&mut rest, "email", input::address)?;
        if !matches!(rest.get("profile"), None | Some(Ejson::Null | Ejson::Object(_))) {
            return Err(match_failed());
        }
        Ok(Self { username, email, password, options })
    }
}

impl Core {
    /// Creates a user, and says with which password, as it is stored.
    pub(super) async fn create_user(
        &self,
        wanted: Wanted,
        connection: Option<&Connection>,
        fence: &WriteFence,
    ) -> Result<NewUser, Error> {
        let Wanted { username, email, password, options } = wanted;
        if username.is_none() && email.is_none() {
            return Err(Error::client(400, "Need to set a username or email"));
        }
        let password = match password {
            Some(password) => Some(self.passwords.hash(password, connection).await?),
            None => None,
        };
        let user = User {
            created_at: Some(now()),
            username,
            emails: email.map(Email::new).into_iter().collect(),
            ..User::new(random::id())
        };
        let user = self.complete(user, options, Object::new()).await?;
        self.check_new(&user).await?;
        let new = NewUser { user, password, services: Vec::new() };
        self.store.create_user(&new, fence).await.map_err(|error| self.conflict(error))?;
        Ok(new)
    }

    /// Creates a user whom a login service knows by this id, as the application completes it.
    #[cfg(feature = "jwt")]
    pub(super) async fn create_service_user(
        &self,
        service: &str,
        service_id: String,
        options: Object,
    ) -> Result<User, WriteError> {
        let user = User { created_at: Some(now()), ..User::new(random::id()) };
        let user = self.complete(user, options, Object::new()).await?;
        self.check_new(&user).await?;
        let record = Service { service_id: Some(service_id), data: Object::new() };
        let new = NewUser { user, password: None, services: vec![(service.to_owned(), record)] };
        // Nobody has documents of this user yet.
        self.store.create_user(&new, &WriteFence::detached()).await?;
        Ok(new.user)
    }

    /// Whether a user may be created.
    async fn check_new(&self, user: &User) -> Result<(), Error> {
        if let Some(restriction) = &self.options.restriction {
            restriction.check(user, None)?;
        }
        self.hooks.validate_user(user).await
    }

    /// Lets the application complete a user, whose id stays.
    pub(super) async fn complete(
        &self,
        mut user: User,
        mut options: Object,
        services: Object,
    ) -> Result<User, Error> {
        let Some(hook) = &self.hooks.on_create_user else {
            if let Some(Ejson::Object(profile)) = options.shift_remove("profile") {
                user.profile = Some(profile);
            }
            return Ok(user);
        };
        let id = user.id.clone();
        let completed = hook(Creation { options: Ejson::Object(options), user, services }).await?;
        Ok(User { id, ..completed })
    }

    /// What a client is told of a conflict.
    pub(super) fn conflict(&self, error: WriteError) -> Error {
        match error {
            WriteError::Conflict(Conflict::Username) => self.refusal("Username already exists."),
            WriteError::Conflict(Conflict::Email) => self.refusal("Email already exists."),
            WriteError::Conflict(Conflict::Service) => {
                Error::client(403, "This account of the service belongs to another user")
            }
            WriteError::Failed(error) => error,
        }
    }

    /// The mail that a new user gets if that is configured: to verify the address or, without a
    /// password, to set one.
    pub(super) const fn welcome(has_password: bool) -> Purpose {
        if has_password { Purpose::Verify } else { Purpose::Enroll }
    }
}
