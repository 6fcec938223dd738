//! What Meteor's `Collection` calls when a client writes: `/<collection>/insert`, `update` and
//! `remove`, each with and without `Async` at the end.
//!
//! A collection either allows everything, as far as the rules for clients go, or nothing. The rules
//! are Meteor's: a client names one document by its id, changes it by operators, does not replace it
//! and does not upsert. An insert returns the id, which the client's stub can foresee; the others how
//! many documents were concerned.

use ddp_core::ejson::Ejson;
use ddp_server::extract::{Invocation, Params};
use ddp_server::{Error, ServerBuilder};

use crate::app::App;
use crate::documents::{Documents, Members};

/// The operators with which clients may change documents.
const ALLOWED: [&str; 10] = [
    "$inc",
    "$set",
    "$unset",
    "$addToSet",
    "$pop",
    "$pullAll",
    "$pull",
    "$pushAll",
    "$push",
    "$bit",
];

fn denied(why: &str) -> Error {
    Error::client(403, format!("Access denied{why}"))
}

/// Lets clients write to the collection.
pub(crate) fn allow(mut builder: ServerBuilder<App>, documents: &Documents) -> ServerBuilder<App> {
    for suffix in ["", "Async"] {
        let name = |verb: &str| format!("/{}/{verb}{suffix}", documents.name());
        let (inserted, updated, removed) =
            (documents.clone(), documents.clone(), documents.clone());
        builder = builder
            .method(name("insert"), move |invocation, params| {
                insert(inserted.clone(), invocation, params)
            })
            .method(name("update"), move |params| update(updated.clone(), params))
            .method(name("remove"), move |params| remove(removed.clone(), params));
    }
    builder
}

/// Refuses clients that write to the collection.
pub(crate) fn deny(mut builder: ServerBuilder<App>, documents: &Documents) -> ServerBuilder<App> {
    for verb in ["insert", "update", "remove"] {
        for suffix in ["", "Async"] {
            let name = format!("/{}/{verb}{suffix}", documents.name());
            builder = builder.method(name, async || Err::<(), _>(denied("")));
        }
    }
    builder
}

async fn insert(
    documents: Documents,
    invocation: Invocation,
    Params((Members(document),)): Params<(Members,)>,
) -> Result<String, Error> {
    documents.insert(document, || invocation.random_id(documents.name()))
}

async fn update(
    documents: Documents,
    Params((selector, Members(modifier), options)): Params<(Ejson, Members, Option<Ejson>)>,
) -> Result<u32, Error> {
    let id = id_of(&selector)?;
    if options.as_ref().and_then(|options| options.get("upsert")).is_some_and(is_true) {
        return Err(denied(". Clients may not upsert"));
    }
    if modifier.is_empty() || modifier.keys().any(|operator| !operator.starts_with('$')) {
        return Err(denied(". Clients may not replace documents"));
    }
    if let Some(operator) = modifier.keys().find(|operator| !ALLOWED.contains(&operator.as_str())) {
        return Err(denied(&format!(". Clients may not use {operator}")));
    }
    documents.update(&id, &Ejson::Object(modifier))
}

async fn remove(documents: Documents, Params((selector,)): Params<(Ejson,)>) -> Result<u32, Error> {
    Ok(documents.remove(&id_of(&selector)?))
}

fn is_true(value: &Ejson) -> bool {
    value.as_bool() == Some(true)
}

/// The id in a selector that is one, or that holds nothing else.
fn id_of(selector: &Ejson) -> Result<String, Error> {
    let id = match selector.as_object() {
        Some(object) if object.len() == 1 => object.get("_id"),
        _ => Some(selector),
    };
    id.and_then(Ejson::as_str)
        .map(str::to_owned)
        .ok_or_else(|| Error::client(403, "Not permitted. Clients name documents by their ids"))
}
