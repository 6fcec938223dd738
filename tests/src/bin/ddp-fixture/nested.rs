//! Methods that call methods, on the collection `livedata-tests` (published as `clivedata-tests`).
//!
//! - `insertData(document)` returns the id and a text.
//! - `getData(id)` returns the document, and then marks it by `gotData`.
//! - `updateData(id, fields)` sets fields, calls `getData` before and after, and returns how many
//!   documents were updated and what it got.

use ddp_core::ejson::Ejson;
use ddp_server::extract::{Invocation, Params};
use ddp_server::{Error, ServerBuilder, State};

use crate::app::App;
use crate::documents::{Documents, Members};
use crate::echo::OrUndefined;
use crate::mutators;

#[derive(Clone)]
pub(crate) struct Nested(Documents);

impl Nested {
    pub(crate) fn new() -> Self {
        Self(Documents::new("livedata-tests"))
    }
}

pub(crate) fn install(builder: ServerBuilder<App>, nested: &Nested) -> ServerBuilder<App> {
    mutators::deny(builder, &nested.0)
        .publish("clivedata-tests", async |State(Nested(documents))| documents.find())
        .method("insertData", insert_data)
        .method("updateData", update_data)
        .method("getData", get_data)
}

async fn insert_data(
    State(Nested(documents)): State<Nested>,
    invocation: Invocation,
    Params((Members(document),)): Params<(Members,)>,
) -> Result<[String; 2], Error> {
    let id = documents.insert(document, || invocation.random_id(documents.name()))?;
    let text = format!("inserted with: {id}");
    Ok([id, text])
}

async fn get_data(
    State(Nested(documents)): State<Nested>,
    Params((id,)): Params<(String,)>,
) -> OrUndefined {
    OrUndefined(documents.get(&id).and_then(|document| {
        documents.update(&id, &set(Ejson::object([("gotData", true)])))?;
        Ok(document)
    }))
}

async fn update_data(
    State(Nested(documents)): State<Nested>,
    invocation: Invocation,
    Params((id, Members(fields))): Params<(String, Members)>,
) -> Result<Ejson, Error> {
    let before: Ejson = invocation.call("getData", (&id,)).await?;
    let before = format!("before update: a:{}", text_of(&before, "a")?);
    let count = documents.update(&id, &set(Ejson::Object(fields)))?;
    let after: Ejson = invocation.call("getData", (&id,)).await?;
    let (a, got_data) = (text_of(&after, "a")?, text_of(&after, "gotData")?);
    let after = format!("after update: a:{a}, gotData:{got_data}");
    let texts = Ejson::object([("before", before), ("after", after)]);
    Ok(Ejson::array([f64::from(count).into(), texts]))
}

fn set(fields: Ejson) -> Ejson {
    Ejson::object([("$set", fields)])
}

/// A member as JavaScript writes it into a template.
fn text_of(document: &Ejson, name: &str) -> Result<String, Error> {
    if document.is_null() {
        return Err(Error::internal("there is no such document"));
    }
    Ok(match document.get(name) {
        None => "undefined".to_owned(),
        Some(Ejson::String(text)) => text.clone(),
        Some(value) => value.to_text(),
    })
}
