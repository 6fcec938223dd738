//! What arguments of handlers take from the client.

use axum::extract::State;
use schemars::JsonSchema;

use super::generate;
use crate::extract::{Connection, Invocation, Params, Subscription, UserId};
use crate::server::Server;
use crate::signature::Signature;
use crate::write_fence::WriteFence;

/// An argument of a [`typed`](super::typed) handler, or a tuple of all its arguments.
///
/// An extractor of an application is one by an empty implementation, unless it takes arguments of
/// the client's:
///
/// ```
/// use ddp_server::extract::FromContext;
/// use ddp_server::schema::{TypedInput, typed};
/// use ddp_server::{Error, Server};
///
/// struct Now(std::time::SystemTime);
///
/// impl<C: Sync, S: Sync> FromContext<C, S> for Now {
///     async fn from_context(_: &C, _: &S) -> Result<Self, Error> {
///         Ok(Self(std::time::SystemTime::now()))
///     }
/// }
///
/// impl TypedInput for Now {}
///
/// let year = async |Now(now): Now| {
///     let seconds = now.duration_since(std::time::UNIX_EPOCH)?.as_secs();
///     Ok::<_, Error>(1970 + seconds / 31_556_952)
/// };
/// let server = Server::builder().method("year", typed(year)).build();
/// assert_eq!(server.describe()["methods"]["year"]["result"]["type"], "integer");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an argument of a typed handler",
    note = "`T` in `Params<T>` needs `#[derive(schemars::JsonSchema)]`, and an extractor `E` of your own an `impl TypedInput for E {{}}`"
)]
pub trait TypedInput {
    /// Adds the schemas of the client's arguments that this one takes, if it takes any.
    fn describe(_signature: &mut Signature) {}
}

impl<T: JsonSchema> TypedInput for Params<T> {
    fn describe(signature: &mut Signature) {
        if let Some(params) = &mut signature.params {
            generate::add_params::<T>(params);
        }
    }
}

impl<T> TypedInput for State<T> {}
impl TypedInput for Subscription {}
impl TypedInput for Invocation {}
impl TypedInput for WriteFence {}
impl TypedInput for Connection {}
impl TypedInput for Option<Connection> {}
impl TypedInput for UserId {}
impl TypedInput for Option<UserId> {}
impl TypedInput for Server {}

macro_rules! arguments {
    ($($argument:ident),*) => {
        impl<$($argument: TypedInput),*> TypedInput for ($($argument,)*) {
            #[allow(unused_variables, reason = "one macro serves every arity")]
            fn describe(signature: &mut Signature) {
                $($argument::describe(signature);)*
            }
        }
    };
}

arguments!();
arguments!(A1);
arguments!(A1, A2);
arguments!(A1, A2, A3);
arguments!(A1, A2, A3, A4);
arguments!(A1, A2, A3, A4, A5);
arguments!(A1, A2, A3, A4, A5, A6);
arguments!(A1, A2, A3, A4, A5, A6, A7);
arguments!(A1, A2, A3, A4, A5, A6, A7, A8);
