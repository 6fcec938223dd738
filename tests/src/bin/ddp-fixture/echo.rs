//! Methods whose results show what arrived, and the errors that methods end with.
//!
//! - `nothing` returns nothing;
//! - `echo` returns its arguments, `echoOne` the first of them;
//! - `exception(where, {intended})` fails if `where` is `server` or `both`, with an error for the
//!   client if it is intended;
//! - `s2s(text)`, `reverse(text)` and `server-only` return texts that no client's stub would, and
//!   `client-only` the one that its stub returns;
//! - `getArray(id)` returns an array and `pushToArray(id, value)` appends to it: what the one
//!   returned does not change with the other;
//! - `isCallAsync` is whether a stub runs that was called asynchronously: never, on a server.

use std::collections::HashMap;
use std::sync::Arc;

use ddp_core::ejson::Ejson;
use ddp_server::extract::Params;
use ddp_server::{Error, IntoMethodResult, ServerBuilder, State};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::app::App;

/// The arrays of `getArray`, by id.
#[derive(Clone, Default)]
pub(crate) struct Arrays(Arc<Mutex<HashMap<String, Vec<Ejson>>>>);

/// A result that may be `undefined`, which is not the same as `null`.
pub(crate) struct OrUndefined(pub(crate) Result<Option<Ejson>, Error>);

impl IntoMethodResult for OrUndefined {
    fn into_method_result(self) -> Result<Option<String>, Error> {
        Ok(self.0?.map(|value| value.to_text()))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ExceptionOptions {
    intended: bool,
}

pub(crate) fn install(builder: ServerBuilder<App>) -> ServerBuilder<App> {
    builder
        .method("nothing", async || Ok::<_, Error>(()))
        .method("echo", async |Params(params): Params<Vec<Ejson>>| Ok::<_, Error>(params))
        .method("echoOne", echo_one)
        .method("exception", exception)
        .method("s2s", async |Params((text,)): Params<(String,)>| {
            Ok::<_, Error>(format!("s2s {text}"))
        })
        .method("reverse", reverse)
        .method("server-only", async || Ok::<_, Error>("result"))
        .method("client-only", async || Ok::<_, Error>("result"))
        .method("getArray", get_array)
        .method("pushToArray", push_to_array)
        .method("isCallAsync", async || Ok::<_, Error>(false))
}

async fn echo_one(Params(params): Params<Vec<Ejson>>) -> OrUndefined {
    OrUndefined(Ok(params.into_iter().next()))
}

async fn exception(
    Params((place, options)): Params<(String, Option<ExceptionOptions>)>,
) -> Result<(), Error> {
    if !matches!(place.as_str(), "server" | "both") {
        return Ok(());
    }
    if options.unwrap_or_default().intended {
        return Err(Error::client(999, "Client-visible test exception"));
    }
    Err(Error::internal("the method was asked to fail"))
}

async fn reverse(Params((text,)): Params<(String,)>) -> Result<String, Error> {
    Ok(format!("{} LOCAL", text.chars().rev().collect::<String>()))
}

async fn get_array(
    State(Arrays(arrays)): State<Arrays>,
    Params((id,)): Params<(String,)>,
) -> Result<Vec<Ejson>, Error> {
    Ok(arrays.lock().entry(id).or_default().clone())
}

async fn push_to_array(
    State(Arrays(arrays)): State<Arrays>,
    Params((id, value)): Params<(String, Ejson)>,
) -> Result<(), Error> {
    arrays.lock().entry(id).or_default().push(value);
    Ok(())
}
