//! Arguments that are read by hand.

use crate::ejson::{Ejson, RawParams};
use crate::error::Error;
use crate::extract::FromContext;
use crate::handler::method::MethodContext;
use crate::signature::Signature;

/// The arguments as the client sent them.
pub(super) struct Raw(pub(super) RawParams);

impl<S: Sync> FromContext<MethodContext, S> for Raw {
    async fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        Ok(Self(context.params.clone()))
    }

    fn describe(signature: &mut Signature) {
        signature.takes::<Vec<Ejson>>();
    }
}
