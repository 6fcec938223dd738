//! Plain async functions as publications and methods.

pub(crate) mod callbacks;
pub(crate) mod method;
pub(crate) mod publication;
pub(crate) mod span;

pub use method::{IntoMethodResult, MethodContext};
pub use publication::{IntoPublication, PublicationContext};

use std::future::Future;

use crate::error::Error;
use crate::extract::FromContext;
use crate::signature::Signature;

/// An async function whose arguments are extracted from the context `C` and the state `S`.
///
/// Implemented for functions and closures of up to eight arguments that implement [`FromContext`].
/// `Args` only tells the implementations apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a publication or method handler",
    note = "a handler is an async function whose arguments implement `FromContext`: `State`, `Params`, `Connection`, `UserId`, and for publications `Subscription`, for methods `Invocation` and `WriteFence`",
    note = "`Params<T>` does if `T` is `Deserialize`, and `State<T>` if the server's state is a `T` or `FromRef` makes one of it"
)]
pub trait Handler<C, S, Args>: Clone + Send + Sync + 'static {
    /// What the function returns.
    type Output;

    /// What it takes from the client.
    fn signature() -> Signature;

    /// Extracts the arguments and calls the function.
    ///
    /// # Errors
    /// The error of the first argument that can't be extracted.
    fn call(self, context: C, state: S)
    -> impl Future<Output = Result<Self::Output, Error>> + Send;
}

macro_rules! handler {
    ($($argument:ident),*) => {
        impl<F, Fut, C, S, $($argument,)*> Handler<C, S, ($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut + Clone + Send + Sync + 'static,
            Fut: Future + Send,
            C: Send + Sync,
            S: Send + Sync,
            $($argument: FromContext<C, S> + Send,)*
        {
            type Output = Fut::Output;

            #[allow(unused_mut, reason = "one macro serves every arity")]
            fn signature() -> Signature {
                let mut signature = Signature::default();
                $(<$argument as FromContext<C, S>>::describe(&mut signature);)*
                signature
            }

            #[allow(non_snake_case, unused_variables, reason = "one macro serves every arity")]
            async fn call(self, context: C, state: S) -> Result<Self::Output, Error> {
                $(let $argument = $argument::from_context(&context, &state).await?;)*
                drop((context, state));
                Ok(self($($argument),*).await)
            }
        }
    };
}

handler!();
handler!(A1);
handler!(A1, A2);
handler!(A1, A2, A3);
handler!(A1, A2, A3, A4);
handler!(A1, A2, A3, A4, A5);
handler!(A1, A2, A3, A4, A5, A6);
handler!(A1, A2, A3, A4, A5, A6, A7);
handler!(A1, A2, A3, A4, A5, A6, A7, A8);
