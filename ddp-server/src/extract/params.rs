//! Typed arguments.

use std::fmt;

use ddp_core::DdpError;
use ddp_core::ejson::{self, Ejson};
use serde::de::DeserializeOwned;

use crate::error::Error;

/// The arguments that the client gave, as a tuple, `Params((list_id,)): Params<(String,)>`, or as a
/// struct with a field for each, in their order.
///
/// Arguments of other types, or too many, are answered with `Match failed [400]`, as Meteor's
/// `check` does; the log says where they differ. An argument that is missing counts as `null`, so
/// that an `Option` at the end may be left out. `Params<Vec<Ejson>>` takes anything.
#[derive(Clone, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> Params<T> {
    pub(super) fn extract(params: &[Ejson], handler: &dyn fmt::Display) -> Result<Self, Error> {
        ejson::from_value(Ejson::Array(params.to_vec())).map(Self).map_err(|error| {
            tracing::warn!("match failed in {handler}: {error}");
            DdpError::match_failed().into()
        })
    }
}
