//! Users in memory.

#[cfg(feature = "testing")]
mod meteor;
mod saved;
mod state;
#[cfg(test)]
mod tests;
mod unique;

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use self::state::{State, is_among};
use super::store::{
    AccountsStore, Email, Expired, LoginToken, LoginUser, NewUser, OnRevocation, OneTimeToken,
    PasswordChange, PasswordHash, Read, Revocation, Selector, Service, TokenGuard, TokenHash,
    Tokens, User, Written,
};
use crate::collection::Collection;
use crate::ejson::{Date, Ejson, Object};
use crate::error::Error;
use crate::live_query::AnyCursor;
use crate::memory::MemoryCollection;
use crate::query::field;
use crate::write_fence::WriteFence;

/// Users in memory, for tests and for servers without a database. They end with the program, unless
/// it [saves](Self::save) them. Cheap to clone: clones are the same users.
///
/// A user has at most 1,000 login tokens and 16 tokens that were mailed; the oldest ones go first.
#[derive(Clone)]
pub struct MemoryAccounts(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// What clients see of users. It changes under the lock of the state.
    documents: MemoryCollection<Shown>,
    listeners: Mutex<Vec<OnRevocation>>,
}

/// A user's document; nothing in it is secret.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Date>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    emails: Vec<Email>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<Ejson>,
}

impl From<&User> for Shown {
    fn from(user: &User) -> Self {
        Self {
            created_at: user.created_at,
            username: user.username.clone(),
            emails: user.emails.clone(),
            profile: user.profile.clone().map(Ejson::Object),
        }
    }
}

impl MemoryAccounts {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::with_state(State::default())
    }

    fn with_state(state: State) -> Self {
        let documents = MemoryCollection::new(&Collection::new("users"));
        let (state, listeners) = (Mutex::new(state), Mutex::default());
        Self(Arc::new(Inner { state, documents, listeners }))
    }

    /// How many users there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.state.lock().users.len()
    }

    /// Tells nobody of anything any longer, as a store that is out of reach.
    #[cfg(all(test, feature = "testing"))]
    pub(in crate::accounts) fn fall_silent(&self) {
        self.0.listeners.lock().clear();
    }

    /// Changes the state, and then tells of revocations, outside of the lock.
    fn change<T>(&self, change: impl FnOnce(&mut State, &mut Vec<Revocation>) -> T) -> T {
        let mut told = Vec::new();
        let done = change(&mut self.0.state.lock(), &mut told);
        if !told.is_empty() {
            let listeners = self.0.listeners.lock().clone();
            for revocation in told {
                for listener in &listeners {
                    listener(revocation.clone());
                }
            }
        }
        done
    }

    /// Changes a user, and shows it as it is then.
    fn change_shown<E: From<Error>>(
        &self,
        user_id: &str,
        change: impl FnOnce(&mut State) -> Result<bool, E>,
    ) -> Result<bool, E> {
        self.change(|state, _| {
            let is_changed = change(state)?;
            if let Some(record) = state.users.get(user_id).filter(|_| is_changed) {
                let shown = Shown::from(&record.user);
                self.0.documents.update(user_id, |document| *document = shown)?;
            }
            Ok(is_changed)
        })
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.0.state.lock())
    }
}

/// What is done already.
fn now<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl AccountsStore for MemoryAccounts {
    fn users(&self, user_id: &str, fields: &[String]) -> AnyCursor {
        let own = self.0.documents.find().filter(field("_id").eq(user_id));
        own.fields(fields.iter().map(String::as_str)).into()
    }

    fn find_user<'a>(&'a self, by: &'a Selector) -> Read<'a, Option<User>> {
        now(Ok(self.read(|state| Some(state.find(by)?.user.clone()))))
    }

    fn find_login_user<'a>(&'a self, by: &'a Selector) -> Read<'a, Option<LoginUser>> {
        now(Ok(self.read(|state| state.find_login_user(by))))
    }

    fn create_user<'a>(&'a self, new: &'a NewUser, _: &'a WriteFence) -> Written<'a, ()> {
        now(self.change(|state, _| {
            state.create(new)?;
            self.0.documents.insert_with_id(&new.user.id, &Shown::from(&new.user))?;
            Ok(())
        }))
    }

    fn set_username<'a>(
        &'a self,
        user_id: &'a str,
        username: &'a str,
        _: &'a WriteFence,
    ) -> Written<'a, bool> {
        now(self.change_shown(user_id, |state| state.set_username(user_id, username)))
    }

    fn add_email<'a>(
        &'a self,
        user_id: &'a str,
        email: &'a Email,
        _: &'a WriteFence,
    ) -> Written<'a, bool> {
        now(self.change_shown(user_id, |state| state.add_email(user_id, email)))
    }

    fn replace_email<'a>(
        &'a self,
        user_id: &'a str,
        old: &'a str,
        new: &'a Email,
        _: &'a WriteFence,
    ) -> Written<'a, bool> {
        now(self.change_shown(user_id, |state| state.replace_email(user_id, old, new)))
    }

    fn remove_email<'a>(
        &'a self,
        user_id: &'a str,
        address: &'a str,
        _: &'a WriteFence,
    ) -> Read<'a, bool> {
        now(self.change_shown(user_id, |state| Ok(state.remove_email(user_id, address))))
    }

    fn verify_email<'a>(
        &'a self,
        user_id: &'a str,
        address: &'a str,
        _: &'a WriteFence,
    ) -> Read<'a, bool> {
        now(self.change_shown(user_id, |state| Ok(state.verify_email(user_id, address))))
    }

    fn set_profile<'a>(
        &'a self,
        user_id: &'a str,
        profile: Option<&'a Object>,
        _: &'a WriteFence,
    ) -> Read<'a, bool> {
        now(self.change_shown(user_id, |state| {
            let Some(record) = state.users.get_mut(user_id) else { return Ok(false) };
            record.user.profile = profile.cloned();
            Ok(true)
        }))
    }

    fn replace_profile<'a>(
        &'a self,
        user_id: &'a str,
        old: Option<&'a Object>,
        new: Option<&'a Object>,
        _: &'a WriteFence,
    ) -> Read<'a, bool> {
        now(self.change_shown(user_id, |state| {
            let Some(record) = state.users.get_mut(user_id) else { return Ok(false) };
            let is_old = record.user.profile.as_ref() == old;
            if is_old {
                record.user.profile = new.cloned();
            }
            Ok(is_old)
        }))
    }

    fn set_active<'a>(&'a self, user_id: &'a str, is_active: bool) -> Read<'a, bool> {
        now(Ok(self.change(|state, told| {
            let Some(record) = state.users.get_mut(user_id) else { return false };
            record.user.is_active = is_active;
            if !is_active {
                state.remove_tokens(user_id, |_| true, told);
            }
            true
        })))
    }

    fn remove_user<'a>(&'a self, user_id: &'a str, _: &'a WriteFence) -> Read<'a, bool> {
        now(Ok(self.change(|state, told| {
            self.0.documents.remove(user_id);
            state.remove_user(user_id, told)
        })))
    }

    fn set_password<'a>(&'a self, user_id: &'a str, change: &'a PasswordChange) -> Read<'a, bool> {
        let PasswordChange { hash, only_if, ends } = change;
        now(Ok(self.change(|state, told| {
            let Some(record) = state.users.get_mut(user_id) else { return false };
            if only_if.is_some() && record.password != *only_if {
                return false;
            }
            record.password = Some(hash.clone());
            state.remove_tokens(user_id, |token| is_among(ends, token), told);
            state.drop_one_time(user_id, |_| true);
            true
        })))
    }

    fn rehash_password<'a>(
        &'a self,
        user_id: &'a str,
        old: &'a PasswordHash,
        new: &'a PasswordHash,
    ) -> Read<'a, bool> {
        now(Ok(self.change(|state, _| {
            let password = state.users.get_mut(user_id).and_then(|user| user.password.as_mut());
            let Some(password) = password.filter(|password| *password == old) else {
                return false;
            };
            *password = new.clone();
            true
        })))
    }

    fn add_login_token<'a>(
        &'a self,
        user_id: &'a str,
        token: &'a LoginToken,
        guard: &'a TokenGuard,
    ) -> Read<'a, bool> {
        now(Ok(self.change(|state, told| state.add_token(user_id, token, guard, told))))
    }

    fn find_login_token<'a>(&'a self, hash: &'a TokenHash) -> Read<'a, Option<(User, LoginToken)>> {
        now(Ok(self.read(|state| state.find_token(hash))))
    }

    fn stored_login_tokens<'a>(&'a self, hashes: &'a [TokenHash]) -> Read<'a, Vec<TokenHash>> {
        now(Ok(self
            .read(|state| hashes.iter().filter(|hash| state.has_token(hash)).cloned().collect())))
    }

    fn remove_login_tokens<'a>(&'a self, user_id: &'a str, which: &'a Tokens) -> Read<'a, u64> {
        now(Ok(self.change(|state, told| {
            state.remove_tokens(user_id, |token| is_among(which, token), told)
        })))
    }

    fn remove_expired<'a>(&'a self, expired: &'a Expired) -> Read<'a, u64> {
        now(Ok(self.change(|state, told| state.remove_expired(expired, told))))
    }

    fn put_one_time_token<'a>(&'a self, token: &'a OneTimeToken) -> Read<'a, bool> {
        now(Ok(self.change(|state, _| state.put_one_time(token))))
    }

    fn find_one_time_token<'a>(&'a self, hash: &'a TokenHash) -> Read<'a, Option<OneTimeToken>> {
        now(Ok(self.read(|state| state.find_one_time(hash).cloned())))
    }

    fn take_one_time_token<'a>(&'a self, hash: &'a TokenHash) -> Read<'a, Option<OneTimeToken>> {
        now(Ok(self.change(|state, _| {
            let token = state.find_one_time(hash)?.clone();
            state.drop_one_time(&token.user_id, |other| other.hash == token.hash);
            Some(token)
        })))
    }

    fn find_service<'a>(
        &'a self,
        user_id: &'a str,
        service: &'a str,
    ) -> Read<'a, Option<(Service, u64)>> {
        now(Ok(self.read(|state| state.users.get(user_id)?.services.get(service).cloned())))
    }

    fn find_user_by_service<'a>(
        &'a self,
        service: &'a str,
        service_id: &'a str,
    ) -> Read<'a, Option<User>> {
        let find = |state: &State| Some(state.find_by_service(service, service_id)?.user.clone());
        now(Ok(self.read(find)))
    }

    fn put_service<'a>(
        &'a self,
        user_id: &'a str,
        service: &'a str,
        version: u64,
        record: Option<&'a Service>,
    ) -> Written<'a, bool> {
        now(self.change(|state, _| state.put_service(user_id, service, version, record)))
    }

    fn on_revocation(&self, listener: OnRevocation) {
        self.0.listeners.lock().push(listener);
    }
}

impl Default for MemoryAccounts {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAccounts").field("users", &self.count()).finish_non_exhaustive()
    }
}
