//! Typed arguments.

use ddp_core::DdpError;
use ddp_core::ejson::{self, DecodeError, Ejson};
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
    /// `log` is told what the client is not.
    pub(super) fn extract(params: &[Ejson], log: impl FnOnce(DecodeError)) -> Result<Self, Error> {
        ejson::from_params(params.to_vec()).map(Self).map_err(|error| {
            log(error);
            DdpError::match_failed().into()
        })
    }
}
