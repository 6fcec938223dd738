//! What each argument takes from the context of a call.

use axum::extract::{FromRef, State};
use ddp_core::DdpError;
use serde::de::DeserializeOwned;

use super::FromContext;
use super::connection::Connection;
use super::invocation::Invocation;
use super::params::Params;
use super::subscription::Subscription;
use super::user_id::UserId;
use crate::error::Error;
use crate::handler::method::MethodContext;
use crate::handler::publication::PublicationContext;
use crate::log::{Count, brief};
use crate::signature::Signature;
use crate::write_fence::WriteFence;

impl<C: Sync, S: Sync, T: FromRef<S> + Send> FromContext<C, S> for State<T> {
    async fn from_context(_: &C, state: &S) -> Result<Self, Error> {
        Ok(Self(T::from_ref(state)))
    }
}

impl<S: Sync> FromContext<PublicationContext, S> for Subscription {
    async fn from_context(context: &PublicationContext, _: &S) -> Result<Self, Error> {
        Ok(context.subscription.clone())
    }
}

impl<S: Sync> FromContext<MethodContext, S> for Invocation {
    async fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        Ok(context.invocation.clone())
    }
}

impl<S: Sync> FromContext<MethodContext, S> for WriteFence {
    async fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        Ok(context.invocation.fence().clone())
    }
}

impl<S: Sync, T: DeserializeOwned + Send> FromContext<PublicationContext, S> for Params<T> {
    async fn from_context(context: &PublicationContext, _: &S) -> Result<Self, Error> {
        let (request, connection) =
            (context.subscription.request(), context.subscription.connection());
        Self::extract(&request.params, |error| {
            let (publication, session) = (request.log_name(), connection.id());
            let count: Count = |publication, error, count| {
                tracing::warn!(publication, error, count, "match failed");
            };
            let log = context.subscription.host().log();
            if log.admits("match failed in a publication", publication, error, count) {
                tracing::warn!(publication, session, error = %brief(error), "match failed");
            }
        })
    }

    fn describe(signature: &mut Signature) {
        signature.takes::<T>();
    }
}

impl<S: Sync, T: DeserializeOwned + Send> FromContext<MethodContext, S> for Params<T> {
    async fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        Self::extract(&context.params, |error| {
            let session = context.invocation.connection().map(Connection::id);
            let method = &*context.name;
            let count: Count = |method, error, count| {
                tracing::warn!(method, error, count, "match failed");
            };
            let log = context.invocation.host().log();
            if log.admits("match failed in a method", method, error, count) {
                tracing::warn!(method, session, error = %brief(error), "match failed");
            }
        })
    }

    fn describe(signature: &mut Signature) {
        signature.takes::<T>();
    }
}

impl<S: Sync> FromContext<PublicationContext, S> for Connection {
    async fn from_context(context: &PublicationContext, _: &S) -> Result<Self, Error> {
        Ok(context.subscription.connection().clone())
    }
}

impl<S: Sync> FromContext<MethodContext, S> for Option<Connection> {
    async fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        Ok(context.invocation.connection().cloned())
    }
}

impl<S: Sync> FromContext<MethodContext, S> for Connection {
    async fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        let connection = context.invocation.connection().cloned();
        connection.ok_or_else(|| Error::internal("the server itself called this method, so it has no connection: take Option<Connection>"))
    }
}

fn demand(user_id: Option<UserId>) -> Result<UserId, Error> {
    let refusal = || DdpError::new("not-authorized", "You must be logged in").into();
    user_id.ok_or_else(refusal)
}

impl<S: Sync> FromContext<PublicationContext, S> for Option<UserId> {
    async fn from_context(context: &PublicationContext, _: &S) -> Result<Self, Error> {
        Ok(context.subscription.user_id().cloned())
    }
}

impl<S: Sync> FromContext<PublicationContext, S> for UserId {
    async fn from_context(context: &PublicationContext, _: &S) -> Result<Self, Error> {
        demand(context.subscription.user_id().cloned())
    }
}

impl<S: Sync> FromContext<MethodContext, S> for Option<UserId> {
    async fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        Ok(context.invocation.user_id())
    }
}

impl<S: Sync> FromContext<MethodContext, S> for UserId {
    async fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        demand(context.invocation.user_id())
    }
}
