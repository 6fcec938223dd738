//! The store as [`ddp_server::accounts`] wants it.

use std::fmt;
use std::sync::Arc;

use ddp_server::accounts::{
    AccountsStore, Email, Expired, LoginToken, LoginUser, NewUser, OnRevocation, OneTimeToken,
    PasswordChange, PasswordHash, Read, Selector, Service, TokenGuard, TokenHash, Tokens, User,
    Written,
};
use ddp_server::ejson::Object;
use ddp_server::live_query::DataSource;
use ddp_server::{AnyCursor, Collection, Cursor, WriteFence, field};
use futures::FutureExt;

use super::connected::Accounts;
use super::refusal::without_conflict;
use super::tables::USERS;
use crate::db::inner::Inner;

/// The accounts of a database, from [`Db::accounts`](crate::Db::accounts). Cheap to clone: clones are the
/// same accounts. See the [module](super).
#[derive(Clone)]
pub struct PostgresAccounts {
    pub(super) inner: Arc<Inner>,
    pub(super) accounts: Arc<Accounts>,
}

impl PostgresAccounts {
    pub(crate) fn new(inner: Arc<Inner>, accounts: Arc<Accounts>) -> Self {
        Self { inner, accounts }
    }
}

impl AccountsStore for PostgresAccounts {
    fn users(&self, user_id: &str, fields: &[String]) -> AnyCursor {
        let source: Arc<dyn DataSource> = Arc::clone(&self.inner) as _;
        let layout = self.inner.intake.collection(USERS).map(|collection| collection.layout());
        // A query that names others would be refused.
        let has = |field: &str| {
            layout.as_ref().is_some_and(|layout| layout.column_of_field(field).is_some())
        };
        let fields = fields.iter().map(String::as_str).filter(|field| has(field));
        let users = Cursor::new(source, &Collection::<()>::new(USERS));
        users.filter(field("_id").eq(user_id)).fields(fields).into()
    }

    fn find_user<'a>(&'a self, by: &'a Selector) -> Read<'a, Option<User>> {
        self.find(by).boxed()
    }

    fn find_login_user<'a>(&'a self, by: &'a Selector) -> Read<'a, Option<LoginUser>> {
        self.find_for_login(by).boxed()
    }

    fn create_user<'a>(&'a self, new: &'a NewUser, fence: &'a WriteFence) -> Written<'a, ()> {
        self.create(new, fence).boxed()
    }

    fn set_username<'a>(
        &'a self,
        user_id: &'a str,
        username: &'a str,
        fence: &'a WriteFence,
    ) -> Written<'a, bool> {
        self.change_username(user_id, username, fence).boxed()
    }

    fn add_email<'a>(
        &'a self,
        user_id: &'a str,
        email: &'a Email,
        fence: &'a WriteFence,
    ) -> Written<'a, bool> {
        self.add_address(user_id, email, fence).boxed()
    }

    fn replace_email<'a>(
        &'a self,
        user_id: &'a str,
        old: &'a str,
        new: &'a Email,
        fence: &'a WriteFence,
    ) -> Written<'a, bool> {
        self.replace_address(user_id, old, new, fence).boxed()
    }

    fn remove_email<'a>(
        &'a self,
        user_id: &'a str,
        address: &'a str,
        fence: &'a WriteFence,
    ) -> Read<'a, bool> {
        self.remove_address(user_id, address, fence).map(without_conflict).boxed()
    }

    fn verify_email<'a>(
        &'a self,
        user_id: &'a str,
        address: &'a str,
        fence: &'a WriteFence,
    ) -> Read<'a, bool> {
        self.verify_address(user_id, address, fence).map(without_conflict).boxed()
    }

    fn set_profile<'a>(
        &'a self,
        user_id: &'a str,
        profile: Option<&'a Object>,
        fence: &'a WriteFence,
    ) -> Read<'a, bool> {
        self.change_profile(user_id, profile, fence).map(without_conflict).boxed()
    }

    fn replace_profile<'a>(
        &'a self,
        user_id: &'a str,
        old: Option<&'a Object>,
        new: Option<&'a Object>,
        fence: &'a WriteFence,
    ) -> Read<'a, bool> {
        self.exchange_profile(user_id, old, new, fence).map(without_conflict).boxed()
    }

    fn set_active<'a>(&'a self, user_id: &'a str, is_active: bool) -> Read<'a, bool> {
        self.activate(user_id, is_active).map(without_conflict).boxed()
    }

    fn remove_user<'a>(&'a self, user_id: &'a str, fence: &'a WriteFence) -> Read<'a, bool> {
        self.remove(user_id, fence).map(without_conflict).boxed()
    }

    fn set_password<'a>(&'a self, user_id: &'a str, change: &'a PasswordChange) -> Read<'a, bool> {
        self.change_password(user_id, change).map(without_conflict).boxed()
    }

    fn rehash_password<'a>(
        &'a self,
        user_id: &'a str,
        old: &'a PasswordHash,
        new: &'a PasswordHash,
    ) -> Read<'a, bool> {
        self.store_rehashed(user_id, old, new).map(without_conflict).boxed()
    }

    fn add_login_token<'a>(
        &'a self,
        user_id: &'a str,
        token: &'a LoginToken,
        guard: &'a TokenGuard,
    ) -> Read<'a, bool> {
        self.add_token(user_id, token, guard).map(without_conflict).boxed()
    }

    fn find_login_token<'a>(&'a self, hash: &'a TokenHash) -> Read<'a, Option<(User, LoginToken)>> {
        self.find_token(hash).boxed()
    }

    fn stored_login_tokens<'a>(&'a self, hashes: &'a [TokenHash]) -> Read<'a, Vec<TokenHash>> {
        self.find_stored(hashes).boxed()
    }

    fn remove_login_tokens<'a>(&'a self, user_id: &'a str, which: &'a Tokens) -> Read<'a, u64> {
        self.remove_tokens(user_id, which).map(without_conflict).boxed()
    }

    fn remove_expired<'a>(&'a self, expired: &'a Expired) -> Read<'a, u64> {
        self.sweep(expired).map(without_conflict).boxed()
    }

    fn put_one_time_token<'a>(&'a self, token: &'a OneTimeToken) -> Read<'a, bool> {
        self.put_one_time(token).map(without_conflict).boxed()
    }

    fn find_one_time_token<'a>(&'a self, hash: &'a TokenHash) -> Read<'a, Option<OneTimeToken>> {
        self.find_one_time(hash).boxed()
    }

    fn take_one_time_token<'a>(&'a self, hash: &'a TokenHash) -> Read<'a, Option<OneTimeToken>> {
        self.take_one_time(hash).map(without_conflict).boxed()
    }

    fn find_service<'a>(
        &'a self,
        user_id: &'a str,
        service: &'a str,
    ) -> Read<'a, Option<(Service, u64)>> {
        self.service(user_id, service).boxed()
    }

    fn find_user_by_service<'a>(
        &'a self,
        service: &'a str,
        service_id: &'a str,
    ) -> Read<'a, Option<User>> {
        self.find_by_service(service, service_id).boxed()
    }

    fn put_service<'a>(
        &'a self,
        user_id: &'a str,
        service: &'a str,
        version: u64,
        record: Option<&'a Service>,
    ) -> Written<'a, bool> {
        self.write_service(user_id, service, version, record).boxed()
    }

    fn on_revocation(&self, listener: OnRevocation) {
        self.accounts.revocations.listen(listener);
    }
}

impl fmt::Debug for PostgresAccounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresAccounts")
            .field("schema", &self.accounts.tables.schema)
            .finish_non_exhaustive()
    }
}
