//! The records of users in memory, and what they are found by.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::unique::{Unique, fold};
use crate::accounts::store::{
    Conflict, Email, Expired, LoginToken, LoginUser, NewUser, OneTimeToken, PasswordHash, Purpose,
    Revocation, Selector, Service, TokenGuard, TokenHash, Tokens, User, WriteError,
};
use crate::ejson::Ejson;
use crate::error::Error;

/// More tokens than these, the oldest ones first, are forgotten of a user.
const LOGIN_TOKENS_MAX: usize = 1000;
const ONE_TIME_TOKENS_MAX: usize = 16;

/// All that is known of a user.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) user: User,
    pub(super) password: Option<PasswordHash>,
    /// The oldest first.
    pub(super) tokens: Vec<LoginToken>,
    /// The oldest first.
    pub(super) one_time: Vec<OneTimeToken>,
    /// With the versions of the records.
    pub(super) services: BTreeMap<String, (Service, u64)>,
}

/// All users.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) users: HashMap<String, Record>,
    /// By what is unique: whose it is.
    pub(super) names: Unique,
    pub(super) addresses: Unique,
    tokens: HashMap<TokenHash, String>,
    one_time: HashMap<TokenHash, String>,
    service_ids: HashMap<(String, String), String>,
}

impl State {
    pub(super) fn find(&self, by: &Selector) -> Option<&Record> {
        let id = match by {
            Selector::Id(id) => id,
            Selector::Username(name) => self.names.find(name)?,
            Selector::Email(address) => self.addresses.find(address)?,
        };
        self.users.get(id)
    }

    pub(super) fn find_login_user(&self, by: &Selector) -> Option<LoginUser> {
        let record = self.find(by)?;
        let second = record.services.get("twoFactorAuthentication");
        let second = second.and_then(|(service, _)| service.data.get("type"));
        let has_2fa = second.is_some_and(|r#type| !matches!(r#type, Ejson::Null));
        Some(LoginUser::new(record.user.clone(), record.password.clone(), has_2fa))
    }

    pub(super) fn create(&mut self, new: &NewUser) -> Result<(), WriteError> {
        let NewUser { user, password, services } = new;
        if self.users.contains_key(&user.id) {
            return Err(Error::internal("a user has this id already").into());
        }
        if user.username.as_ref().is_some_and(|name| self.names.is_taken(name, &user.id)) {
            return Err(Conflict::Username.into());
        }
        let mut own = HashSet::new();
        for Email { address, .. } in &user.emails {
            if self.addresses.is_taken(address, &user.id) || !own.insert(fold(address)) {
                return Err(Conflict::Email.into());
            }
        }
        let mut ids = HashMap::new();
        for (name, service) in services {
            let Some(id) = &service.service_id else { continue };
            let key = (name.clone(), id.clone());
            if self.service_ids.contains_key(&key) {
                return Err(Conflict::Service.into());
            }
            ids.insert(key, user.id.clone());
        }
        if let Some(name) = &user.username {
            self.names.insert(name, &user.id);
        }
        for Email { address, .. } in &user.emails {
            self.addresses.insert(address, &user.id);
        }
        self.service_ids.extend(ids);
        let services = services.iter().cloned().map(|(name, service)| (name, (service, 1)));
        let record = Record {
            user: user.clone(),
            password: password.clone(),
            tokens: Vec::new(),
            one_time: Vec::new(),
            services: services.collect(),
        };
        self.users.insert(user.id.clone(), record);
        Ok(())
    }

    pub(super) fn set_username(&mut self, user_id: &str, name: &str) -> Result<bool, WriteError> {
        if self.names.is_taken(name, user_id) {
            return Err(Conflict::Username.into());
        }
        let Some(record) = self.users.get_mut(user_id) else { return Ok(false) };
        if let Some(old) = record.user.username.replace(name.to_owned()) {
            self.names.remove(&old, user_id);
        }
        self.names.insert(name, user_id);
        Ok(true)
    }

    pub(super) fn add_email(&mut self, user_id: &str, email: &Email) -> Result<bool, WriteError> {
        let folded = fold(&email.address);
        if self.addresses.is_taken(&email.address, user_id) {
            return Err(Conflict::Email.into());
        }
        let Some(record) = self.users.get_mut(user_id) else { return Ok(false) };
        let emails = &mut record.user.emails;
        match emails.iter_mut().find(|own| fold(&own.address) == folded) {
            Some(own) => *own = email.clone(),
            None => emails.push(email.clone()),
        }
        self.addresses.insert(&email.address, user_id);
        Ok(true)
    }

    pub(super) fn replace_email(
        &mut self,
        user_id: &str,
        old: &str,
        new: &Email,
    ) -> Result<bool, WriteError> {
        let (folded, folded_old) = (fold(&new.address), fold(old));
        let is_taken = self.addresses.is_taken(&new.address, user_id);
        let Some(record) = self.users.get_mut(user_id) else { return Ok(false) };
        // Another address of the same user is as much in the way as somebody else's.
        let is_own = record.user.emails.iter().any(|own| fold(&own.address) == folded);
        if is_taken || is_own && folded != folded_old {
            return Err(Conflict::Email.into());
        }
        let own = record.user.emails.iter_mut().find(|own| own.address == old);
        let Some(own) = own else { return Ok(false) };
        *own = new.clone();
        self.addresses.remove(old, user_id);
        self.addresses.insert(&new.address, user_id);
        self.drop_one_time(user_id, |token| token.address == old);
        Ok(true)
    }

    pub(super) fn remove_email(&mut self, user_id: &str, address: &str) -> bool {
        let Some(record) = self.users.get_mut(user_id) else { return false };
        let before = record.user.emails.len();
        record.user.emails.retain(|own| own.address != address);
        let is_removed = record.user.emails.len() < before;
        if is_removed {
            self.addresses.remove(address, user_id);
            self.drop_one_time(user_id, |token| token.address == address);
        }
        is_removed
    }

    pub(super) fn verify_email(&mut self, user_id: &str, address: &str) -> bool {
        let Some(record) = self.users.get_mut(user_id) else { return false };
        let own = record.user.emails.iter_mut().find(|own| own.address == address);
        let Some(own) = own else { return false };
        own.verified = true;
        self.drop_one_time(user_id, |token| {
            token.purpose == Purpose::Verify && token.address == address
        });
        true
    }

    pub(super) fn add_token(
        &mut self,
        user_id: &str,
        token: &LoginToken,
        guard: &TokenGuard,
        told: &mut Vec<Revocation>,
    ) -> bool {
        let Some(record) = self.users.get_mut(user_id) else { return false };
        let holds = match guard {
            TokenGuard::Active => true,
            TokenGuard::Password(hash) => record.password.as_ref() == Some(hash),
            TokenGuard::NoPassword => record.password.is_none(),
            TokenGuard::Token(hash) => record.tokens.iter().any(|token| token.hash == *hash),
        };
        if !holds || !record.user.is_active {
            return false;
        }
        record.tokens.push(token.clone());
        self.tokens.insert(token.hash.clone(), user_id.to_owned());
        if record.tokens.len() > LOGIN_TOKENS_MAX {
            let oldest = record.tokens.remove(0);
            self.tokens.remove(&oldest.hash);
            told.push(Revocation::Token(oldest.hash));
        }
        true
    }

    pub(super) fn find_token(&self, hash: &TokenHash) -> Option<(User, LoginToken)> {
        let record = self.users.get(self.tokens.get(hash)?)?;
        let token = record.tokens.iter().find(|token| token.hash == *hash)?;
        Some((record.user.clone(), token.clone()))
    }

    pub(super) fn has_token(&self, hash: &TokenHash) -> bool {
        self.tokens.contains_key(hash)
    }

    /// Removes login tokens of a user, and tells of each.
    pub(super) fn remove_tokens(
        &mut self,
        user_id: &str,
        goes: impl Fn(&LoginToken) -> bool,
        told: &mut Vec<Revocation>,
    ) -> u64 {
        let Some(record) = self.users.get_mut(user_id) else { return 0 };
        let gone: Vec<LoginToken> = record.tokens.extract_if(.., |token| goes(token)).collect();
        for token in &gone {
            self.tokens.remove(&token.hash);
        }
        told.extend(gone.iter().map(|token| Revocation::Token(token.hash.clone())));
        gone.len() as u64
    }

    pub(super) fn remove_user(&mut self, user_id: &str, told: &mut Vec<Revocation>) -> bool {
        self.remove_tokens(user_id, |_| true, told);
        self.drop_one_time(user_id, |_| true);
        let Some(record) = self.users.remove(user_id) else { return false };
        if let Some(name) = record.user.username {
            self.names.remove(&name, user_id);
        }
        for email in record.user.emails {
            self.addresses.remove(&email.address, user_id);
        }
        for (name, (service, _)) in record.services {
            if let Some(id) = service.service_id {
                self.service_ids.remove(&(name, id));
            }
        }
        true
    }

    pub(super) fn remove_expired(&mut self, expired: &Expired, told: &mut Vec<Revocation>) -> u64 {
        let ids: Vec<String> = self.users.keys().cloned().collect();
        let mut count = 0;
        for id in ids {
            let is_old = |token: &LoginToken| {
                expired.login_before.is_some_and(|before| token.when < before)
                    || token.expires.is_some_and(|expires| expires <= expired.now)
            };
            count += self.remove_tokens(&id, is_old, told);
            count += self.drop_one_time(&id, |token| match token.purpose {
                Purpose::Reset => token.when < expired.reset_before,
                Purpose::Enroll => token.when < expired.enroll_before,
                Purpose::Verify => false,
            });
        }
        count
    }

    pub(super) fn put_one_time(&mut self, token: &OneTimeToken) -> bool {
        if !self.users.contains_key(&token.user_id) {
            return false;
        }
        if token.purpose != Purpose::Verify {
            self.drop_one_time(&token.user_id, |other| other.purpose == token.purpose);
        }
        let Some(record) = self.users.get_mut(&token.user_id) else { return false };
        record.one_time.push(token.clone());
        self.one_time.insert(token.hash.clone(), token.user_id.clone());
        if record.one_time.len() > ONE_TIME_TOKENS_MAX {
            self.one_time.remove(&record.one_time.remove(0).hash);
        }
        true
    }

    pub(super) fn find_one_time(&self, hash: &TokenHash) -> Option<&OneTimeToken> {
        let record = self.users.get(self.one_time.get(hash)?)?;
        record.one_time.iter().find(|token| token.hash == *hash)
    }

    /// Forgets one-time tokens of a user, and says how many.
    pub(super) fn drop_one_time(
        &mut self,
        user_id: &str,
        goes: impl Fn(&OneTimeToken) -> bool,
    ) -> u64 {
        let Some(record) = self.users.get_mut(user_id) else { return 0 };
        let gone: Vec<_> = record.one_time.extract_if(.., |token| goes(token)).collect();
        for token in &gone {
            self.one_time.remove(&token.hash);
        }
        gone.len() as u64
    }

    pub(super) fn find_by_service(&self, service: &str, service_id: &str) -> Option<&Record> {
        let key = (service.to_owned(), service_id.to_owned());
        self.users.get(self.service_ids.get(&key)?)
    }

    pub(super) fn put_service(
        &mut self,
        user_id: &str,
        name: &str,
        version: u64,
        record: Option<&Service>,
    ) -> Result<bool, WriteError> {
        let new_id = record.and_then(|service| service.service_id.as_ref());
        let new_key = new_id.map(|id| (name.to_owned(), id.clone()));
        let owner = new_key.as_ref().and_then(|key| self.service_ids.get(key));
        if owner.is_some_and(|owner| owner != user_id) {
            return Err(Conflict::Service.into());
        }
        let Some(user) = self.users.get_mut(user_id) else { return Ok(false) };
        let old = user.services.get(name);
        if old.map_or(0, |(_, version)| *version) != version {
            return Ok(false);
        }
        if let Some(id) = old.and_then(|(service, _)| service.service_id.clone()) {
            self.service_ids.remove(&(name.to_owned(), id));
        }
        match record {
            Some(service) => {
                user.services.insert(name.to_owned(), (service.clone(), version + 1));
            }
            None => {
                user.services.remove(name);
            }
        }
        self.service_ids.extend(new_key.map(|key| (key, user_id.to_owned())));
        Ok(true)
    }
}

/// Whether a token is one of these.
pub(super) fn is_among(which: &Tokens, token: &LoginToken) -> bool {
    match which {
        Tokens::All => true,
        Tokens::AllBut(hash) => token.hash != *hash,
        Tokens::One(hash) => token.hash == *hash,
        Tokens::Nothing => false,
    }
}
