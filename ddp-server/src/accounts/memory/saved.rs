//! Users in memory as text, to outlive the program.

use serde::{Deserialize, Serialize};

use super::state::{Record, State};
use super::{MemoryAccounts, Shown};
use crate::accounts::store::{Email, LoginToken, NewUser, Revocation, Service, TokenGuard, User};
use crate::ejson::{self, Date, Ejson, Object};
use crate::error::Error;

/// A user with hashes, but without tokens that were mailed.
#[derive(Serialize, Deserialize)]
struct Saved {
    id: String,
    created_at: Option<Date>,
    username: Option<String>,
    emails: Vec<Email>,
    profile: Option<Ejson>,
    is_active: bool,
    password: Option<String>,
    tokens: Vec<SavedToken>,
    services: Vec<SavedService>,
}

#[derive(Serialize, Deserialize)]
struct SavedToken {
    hash: String,
    when: Date,
    expires: Option<Date>,
}

#[derive(Serialize, Deserialize)]
struct SavedService {
    name: String,
    id: Option<String>,
    data: Ejson,
}

impl MemoryAccounts {
    /// All users as EJSON text, with the hashes of their passwords and login tokens: whoever reads it
    /// may try passwords. Tokens that were mailed are left out.
    ///
    /// # Errors
    /// None that users of this crate can cause.
    pub fn save(&self) -> Result<String, Error> {
        let users: Vec<Saved> = self.read(|state| state.users.values().map(Saved::of).collect());
        Ok(ejson::to_text(&users)?)
    }

    /// The users that were [saved](Self::save).
    ///
    /// # Errors
    /// A text that is not of that form, or users with the same name or address.
    pub fn load(text: &str) -> Result<Self, Error> {
        let saved: Vec<Saved> = ejson::from_text(text)?;
        let mut state = State::default();
        for user in saved {
            user.put_into(&mut state)?;
        }
        let users = Self::with_state(state);
        users.read(|state| {
            state.users.values().try_for_each(|record| {
                users.0.documents.insert_with_id(&record.user.id, &Shown::from(&record.user))
            })
        })?;
        Ok(users)
    }
}

impl Saved {
    fn of(record: &Record) -> Self {
        let user = record.user.clone();
        let token = |token: &LoginToken| SavedToken {
            hash: token.hash.as_str().to_owned(),
            when: token.when,
            expires: token.expires,
        };
        let service = |(name, (service, _)): (&String, &(Service, u64))| SavedService {
            name: name.clone(),
            id: service.service_id.clone(),
            data: Ejson::Object(service.data.clone()),
        };
        Self {
            id: user.id,
            created_at: user.created_at,
            username: user.username,
            emails: user.emails,
            profile: user.profile.map(Ejson::Object),
            is_active: user.is_active,
            password: record.password.as_ref().map(|hash| hash.as_str().to_owned()),
            tokens: record.tokens.iter().map(token).collect(),
            services: record.services.iter().map(service).collect(),
        }
    }

    fn put_into(self, state: &mut State) -> Result<(), Error> {
        let user = User {
            id: self.id,
            created_at: self.created_at,
            username: self.username,
            emails: self.emails,
            profile: self.profile.map(object).transpose()?,
            is_active: self.is_active,
        };
        let service = |SavedService { name, id, data }| -> Result<_, Error> {
            Ok((name, Service { service_id: id, data: object(data)? }))
        };
        let services = self.services.into_iter().map(service).collect::<Result<_, _>>()?;
        let password = self.password.map(Into::into);
        let id = user.id.clone();
        let created = state.create(&NewUser { user, password, services });
        created.map_err(|_| Error::internal(format!("user {id:?} is there twice")))?;
        let told: &mut Vec<Revocation> = &mut Vec::new();
        for SavedToken { hash, when, expires } in self.tokens {
            let token = LoginToken { hash: hash.into(), when, expires };
            state.add_token(&id, &token, &TokenGuard::Active, told);
        }
        Ok(())
    }
}

fn object(value: Ejson) -> Result<Object, Error> {
    match value {
        Ejson::Object(object) => Ok(object),
        _ => Err(Error::internal("a profile or a service's record must be an object")),
    }
}
