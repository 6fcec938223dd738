//! The user as an argument of methods and publications.

use super::handle::AccountsHandle;
use super::store::User;
use crate::error::Error;
use crate::extract::{FromContext, FromRef, UserId};

/// Who is logged in, as the store has it now: one read. A handler that takes it requires a user, as one
/// does that takes [`UserId`].
impl<C, S> FromContext<C, S> for User
where
    C: Sync,
    S: Sync,
    UserId: FromContext<C, S>,
    AccountsHandle: FromRef<S>,
{
    async fn from_context(context: &C, state: &S) -> Result<Self, Error> {
        let id = UserId::from_context(context, state).await?;
        let user = AccountsHandle::from_ref(state).find_user(&id).await?;
        // It has been removed just now.
        user.ok_or_else(|| Error::client("not-authorized", "You must be logged in"))
    }
}

impl<C, S> FromContext<C, S> for Option<User>
where
    C: Sync,
    S: Sync,
    Option<UserId>: FromContext<C, S>,
    AccountsHandle: FromRef<S>,
{
    async fn from_context(context: &C, state: &S) -> Result<Self, Error> {
        match Option::<UserId>::from_context(context, state).await? {
            Some(id) => AccountsHandle::from_ref(state).find_user(&id).await,
            None => Ok(None),
        }
    }
}
