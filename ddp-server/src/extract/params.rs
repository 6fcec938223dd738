//! Typed arguments.

use ddp_core::DdpError;
use ddp_core::ejson::{DecodeError, RawParams};
use serde::de::DeserializeOwned;

use crate::error::Error;

/// The arguments that the client gave, as a tuple, `Params((list_id,)): Params<(String,)>`, or as a
/// struct with a field for each, in their order.
///
/// Arguments of the wrong type, or too many of them, are answered with `Match failed [400]`, like
/// Meteor's `check`; the log says where they differ. A missing argument counts as `null`, so a
/// trailing `Option` may be left out. `Params<Vec<Ejson>>` takes anything, and then up to thirty times
/// the memory of what the client sent. A map, and a struct with
/// `#[serde(flatten)]` that serde reads as one, match no arguments.
///
/// ```
/// use ddp_server::extract::Params;
/// use ddp_server::{Error, Server};
///
/// async fn greet(Params((name, greeting)): Params<(String, Option<String>)>) -> Result<String, Error> {
///     Ok(format!("{}, {name}", greeting.as_deref().unwrap_or("Hello")))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let server = Server::builder().method("greet", greet).build();
/// assert_eq!(server.call::<String>("greet", ("Ada",)).await?, "Hello, Ada");
/// assert_eq!(server.call::<String>("greet", ("Ada", "Welcome")).await?, "Welcome, Ada");
///
/// let mismatch = server.call::<String>("greet", (7,)).await.unwrap_err();
/// assert_eq!(mismatch.to_string(), "Match failed [400]");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> Params<T> {
    /// `log` gets the detail that the client does not.
    pub(super) fn extract(params: &RawParams, log: impl FnOnce(&str)) -> Result<Self, Error> {
        params.read().map(Self).map_err(|error| {
            log(&explain(&error));
            DdpError::match_failed().into()
        })
    }
}

/// The error, and what to do if the type takes no arguments at all: `(String)` is no tuple.
fn explain(error: &DecodeError) -> String {
    let takes_none = error.path().is_empty() && error.message().ends_with(", got array");
    let hint =
        "; `Params` takes a tuple, a struct or a Vec: write `Params<(String,)>` for one String";
    format!("{error}{}", if takes_none { hint } else { "" })
}
