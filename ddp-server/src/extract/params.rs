//! Typed arguments.

use std::fmt;

use ddp_core::DdpError;
use ddp_core::ejson::{self, Ejson};
use serde::de::DeserializeOwned;

use super::FromContext;
use crate::error::Error;
use crate::handler::method::MethodContext;
use crate::handler::publication::PublicationContext;

/// The arguments that the client gave, as a tuple: `Params((list_id,)): Params<(String,)>`.
///
/// Arguments of other types, or too many, are answered with `Match failed [400]`, as Meteor's
/// `check` does; the log says where they differ. An argument that is missing counts as `null`, so
/// that an `Option` at the end may be left out. `Params<Vec<Ejson>>` takes anything.
#[derive(Clone, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> Params<T> {
    fn extract(params: &[Ejson], handler: &dyn fmt::Display) -> Result<Self, Error> {
        ejson::from_value(Ejson::Array(params.to_vec())).map(Self).map_err(|error| {
            tracing::warn!("match failed in {handler}: {error}");
            DdpError::match_failed().into()
        })
    }
}

impl<S, T: DeserializeOwned> FromContext<PublicationContext, S> for Params<T> {
    fn from_context(context: &PublicationContext, _: &S) -> Result<Self, Error> {
        let request = context.subscription.request();
        Self::extract(&request.params, &**request)
    }
}

impl<S, T: DeserializeOwned> FromContext<MethodContext, S> for Params<T> {
    fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        Self::extract(&context.params, &format_args!("method '{}'", context.name))
    }
}
