//! Methods and what they return.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ddp_core::ejson::{self, Ejson, RawParams};
use serde::Serialize;

use crate::error::Error;
use crate::extract::Invocation;
use crate::handler::Handler;

/// The context of a method call, from which arguments are extracted.
#[derive(Clone, Debug)]
pub struct MethodContext {
    pub(crate) name: Arc<str>,
    pub(crate) params: RawParams,
    pub(crate) invocation: Invocation,
}

/// What a method may return: a `Result` of anything that serializes. `Ok(())` becomes `undefined`
/// at the client if the type is `()`.
pub trait IntoMethodResult {
    /// The result as EJSON text; `None` for `undefined`.
    ///
    /// # Errors
    /// The method's error, or a value that can't be written as EJSON.
    fn into_method_result(self) -> Result<Option<String>, Error>;
}

impl<T: Serialize, E: Into<Error>> IntoMethodResult for Result<T, E> {
    fn into_method_result(self) -> Result<Option<String>, Error> {
        let value = self.map_err(Into::into)?;
        // Among the types that matter, only a unit has no size in memory.
        if std::mem::size_of::<T>() == 0 && ejson::to_value(&value)? == Ejson::Null {
            return Ok(None);
        }
        Ok(Some(ejson::to_text(&value)?))
    }
}

pub(crate) type MethodFuture =
    Pin<Box<dyn Future<Output = Result<Option<String>, Error>> + Send + 'static>>;

/// A method with its argument types erased.
pub(crate) type ErasedMethod = Arc<dyn Fn(MethodContext) -> MethodFuture + Send + Sync>;

pub(crate) fn erase<S, H, Args>(handler: H, state: S) -> ErasedMethod
where
    S: Clone + Send + Sync + 'static,
    H: Handler<MethodContext, S, Args>,
    H::Output: IntoMethodResult,
    Args: 'static,
{
    Arc::new(move |context| {
        let (handler, state) = (handler.clone(), state.clone());
        Box::pin(async move { handler.call(context, state).await?.into_method_result() })
    })
}
