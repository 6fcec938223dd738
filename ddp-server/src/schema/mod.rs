//! Handlers' arguments and results as JSON Schemas; requires the feature `schema`.
//!
//! The types of a [`typed`] handler's arguments and of its result derive
//! [`JsonSchema`](schemars::JsonSchema), and [`Server::describe`](crate::Server::describe) tells their
//! schemas:
//!
//! ```
//! use ddp_server::extract::Params;
//! use ddp_server::schema::typed;
//! use ddp_server::{Error, Server};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//! use serde_json::json;
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(rename_all = "camelCase")]
//! struct NewTask {
//!     list_id: String,
//!     /// Nothing means that it is not urgent.
//!     priority: Option<u8>,
//! }
//!
//! async fn insert(Params(task): Params<NewTask>) -> Result<String, Error> {
//!     Ok(format!("a task of {}", task.list_id))
//! }
//!
//! let server = Server::builder().method("tasks.insert", typed(insert)).build();
//! assert_eq!(
//!     server.describe()["methods"]["tasks.insert"],
//!     json!({
//!         "params": [
//!             {"name": "listId", "schema": {"type": "string"}, "required": true},
//!             {
//!                 "name": "priority",
//!                 "schema": {
//!                     "description": "Nothing means that it is not urgent.",
//!                     "type": ["integer", "null"], "format": "uint8", "minimum": 0, "maximum": 255,
//!                 },
//!                 "required": false,
//!             },
//!         ],
//!         "result": {"type": "string"},
//!     })
//! );
//! ```
//!
//! Derive [`JsonSchema`](schemars::JsonSchema) with version 1 of the crate `schemars`. The types
//! of EJSON, such as `Date`, have schemas; a field whose type has none can be given that of another
//! one, `#[schemars(with = "String")]`.
//!
//! A handler registered without [`typed`] works as well, but its types stay unknown. Rust cannot
//! test at compile time whether a type implements a trait, so each handler must opt in.

mod generate;
mod input;
mod output;
#[cfg(test)]
mod tests;

#[doc(no_inline)]
pub use schemars;

pub use input::TypedInput;
pub use output::TypedOutput;

use std::future::Future;

use crate::error::Error;
use crate::handler::Handler;
use crate::signature::Signature;

/// A handler whose types [`Server::describe`](crate::Server::describe) reports; made by [`typed`].
#[derive(Clone, Copy, Debug)]
pub struct Typed<H>(H);

/// Makes a handler report its types: `.method("tasks.insert", typed(insert))`.
///
/// All its arguments must be [`TypedInput`] and its return type [`TypedOutput`]. Calls work as
/// before.
///
/// ```
/// use ddp_server::extract::Params;
/// use ddp_server::schema::typed;
/// use ddp_server::{Error, Server};
///
/// let add = async |Params((a, b)): Params<(i32, i32)>| Ok::<_, Error>(a + b);
/// let server = Server::builder().method("add", typed(add)).params(["a", "b"]).build();
/// let add = &server.describe()["methods"]["add"];
/// assert_eq!(add["params"][1]["name"], "b");
/// assert_eq!(add["params"][1]["schema"]["type"], "integer");
/// ```
pub const fn typed<H>(handler: H) -> Typed<H> {
    Typed(handler)
}

impl<H, C, S, Args> Handler<C, S, Args> for Typed<H>
where
    H: Handler<C, S, Args>,
    H::Output: TypedOutput<C>,
    Args: TypedInput,
{
    type Output = H::Output;

    fn signature() -> Signature {
        let mut signature = H::signature();
        Args::describe(&mut signature);
        H::Output::describe(&mut signature);
        signature
    }

    fn call(
        self,
        context: C,
        state: S,
    ) -> impl Future<Output = Result<Self::Output, Error>> + Send {
        self.0.call(context, state)
    }
}
