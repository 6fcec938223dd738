//! The application's functions that decide on logins and new users, or are told of them.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::attempt::{Attempt, CreatedLoginToken, Creation, Logout};
use super::store::User;
use crate::error::Error;

/// A function of the application.
pub(super) type Hook<A, R> = Arc<dyn Fn(A) -> BoxFuture<'static, R> + Send + Sync>;

/// Makes one of an async function.
pub(super) fn hook<A, R, F, Fut>(function: F) -> Hook<A, R>
where
    F: Fn(A) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    Arc::new(move |argument| Box::pin(function(argument)))
}

/// All hooks, each kind in the order in which they were added.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    pub(super) validate_login_attempt: Vec<Hook<Attempt, Result<bool, Error>>>,
    pub(super) on_login: Vec<Hook<Attempt, ()>>,
    pub(super) on_login_failure: Vec<Hook<Attempt, ()>>,
    pub(super) on_logout: Vec<Hook<Logout, ()>>,
    pub(super) validate_new_user: Vec<Hook<User, Result<bool, Error>>>,
    pub(super) on_create_user: Option<Hook<Creation, Result<User, Error>>>,
    pub(super) on_create_login_token: Option<Hook<CreatedLoginToken, Result<bool, Error>>>,
}

impl Hooks {
    /// Asks all hooks about an attempt. None of them can allow what another refuses.
    pub(super) async fn validate_login(&self, attempt: &mut Attempt) {
        for hook in &self.validate_login_attempt {
            match hook(attempt.clone()).await {
                Ok(true) => {}
                Ok(false) => attempt.forbid(),
                Err(error) => attempt.fail(error),
            }
        }
    }

    pub(super) async fn login(&self, attempt: &Attempt) {
        for hook in &self.on_login {
            hook(attempt.clone()).await;
        }
    }

    pub(super) async fn login_failure(&self, attempt: &Attempt) {
        for hook in &self.on_login_failure {
            hook(attempt.clone()).await;
        }
    }

    pub(super) async fn logout(&self, logout: Logout) {
        for hook in &self.on_logout {
            hook(logout.clone()).await;
        }
    }

    /// Asks whether a user may be created.
    pub(super) async fn validate_user(&self, user: &User) -> Result<(), Error> {
        for hook in &self.validate_new_user {
            if !hook(user.clone()).await? {
                return Err(Error::client(403, "User validation failed"));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}
