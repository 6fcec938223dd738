//! Publications and what they return.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::error::Error;
use crate::extract::Subscription;
use crate::handler::Handler;
use crate::live_query::{AnyCursor, Cursor};

/// The context of a subscription, from which arguments are extracted.
#[derive(Clone, Debug)]
pub struct PublicationContext {
    pub(crate) subscription: Subscription,
}

/// What a publication may return: cursors, whose documents are then published live and followed by
/// `ready`; or nothing, if it uses the [`Subscription`] itself. Either in a `Result`. An
/// `Option` that is `None` publishes nothing and is `ready`.
pub trait IntoPublication {
    /// The cursors; `None` if the publication calls `ready` itself.
    ///
    /// # Errors
    /// The publication's error.
    fn into_publication(self) -> Result<Option<Vec<AnyCursor>>, Error>;
}

impl IntoPublication for () {
    fn into_publication(self) -> Result<Option<Vec<AnyCursor>>, Error> {
        Ok(None)
    }
}

impl<T> IntoPublication for Cursor<T> {
    fn into_publication(self) -> Result<Option<Vec<AnyCursor>>, Error> {
        Ok(Some(vec![self.into()]))
    }
}

impl<P: IntoPublication> IntoPublication for Option<P> {
    fn into_publication(self) -> Result<Option<Vec<AnyCursor>>, Error> {
        match self {
            Some(publication) => publication.into_publication(),
            None => Ok(Some(Vec::new())),
        }
    }
}

impl IntoPublication for Vec<AnyCursor> {
    fn into_publication(self) -> Result<Option<Vec<AnyCursor>>, Error> {
        Ok(Some(self))
    }
}

impl<P: IntoPublication, E: Into<Error>> IntoPublication for Result<P, E> {
    fn into_publication(self) -> Result<Option<Vec<AnyCursor>>, Error> {
        self.map_err(Into::into)?.into_publication()
    }
}

macro_rules! cursor_tuples {
    ($($cursor:ident),*) => {
        impl<$($cursor),*> IntoPublication for ($(Cursor<$cursor>,)*) {
            #[allow(non_snake_case, reason = "one macro serves every arity")]
            fn into_publication(self) -> Result<Option<Vec<AnyCursor>>, Error> {
                let ($($cursor,)*) = self;
                Ok(Some(vec![$($cursor.into()),*]))
            }
        }
    };
}

cursor_tuples!(A, B);
cursor_tuples!(A, B, C);
cursor_tuples!(A, B, C, D);

pub(crate) type PublicationFuture =
    Pin<Box<dyn Future<Output = Result<Option<Vec<AnyCursor>>, Error>> + Send + 'static>>;

/// A publication with its argument types erased.
pub(crate) type ErasedPublication =
    Arc<dyn Fn(PublicationContext) -> PublicationFuture + Send + Sync>;

pub(crate) fn erase<S, H, Args>(handler: H, state: S) -> ErasedPublication
where
    S: Clone + Send + Sync + 'static,
    H: Handler<PublicationContext, S, Args>,
    H::Output: IntoPublication,
    Args: 'static,
{
    Arc::new(move |context| {
        let (handler, state) = (handler.clone(), state.clone());
        Box::pin(async move { handler.call(context, state).await?.into_publication() })
    })
}
