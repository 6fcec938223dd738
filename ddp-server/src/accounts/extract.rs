//! The user as an argument of methods, publications and routes.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::http::request::Parts;

use super::handle::AccountsHandle;
use super::http::Unauthorized;
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

impl<S> FromRequestParts<S> for User
where
    AccountsHandle: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Unauthorized;

    async fn from_request_parts(request: &mut Parts, state: &S) -> Result<Self, Unauthorized> {
        AccountsHandle::from_ref(state).authenticate(request).await
    }
}

impl<S> FromRequestParts<S> for UserId
where
    AccountsHandle: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Unauthorized;

    async fn from_request_parts(request: &mut Parts, state: &S) -> Result<Self, Unauthorized> {
        let user = AccountsHandle::from_ref(state).authenticate(request).await?;
        Ok(user.id.as_str().into())
    }
}

/// Without a token, or with one that is nobody's, there is nobody.
impl<S> OptionalFromRequestParts<S> for User
where
    AccountsHandle: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Unauthorized;

    async fn from_request_parts(
        request: &mut Parts,
        state: &S,
    ) -> Result<Option<Self>, Unauthorized> {
        match AccountsHandle::from_ref(state).authenticate(request).await {
            Ok(user) => Ok(Some(user)),
            Err(failed @ Unauthorized::Failed(_)) => Err(failed),
            Err(_) => Ok(None),
        }
    }
}

/// Without a token, or with one that is nobody's, there is nobody.
impl<S> OptionalFromRequestParts<S> for UserId
where
    AccountsHandle: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Unauthorized;

    async fn from_request_parts(
        request: &mut Parts,
        state: &S,
    ) -> Result<Option<Self>, Unauthorized> {
        let user: Option<User> =
            <User as OptionalFromRequestParts<S>>::from_request_parts(request, state).await?;
        Ok(user.map(|user| user.id.as_str().into()))
    }
}
