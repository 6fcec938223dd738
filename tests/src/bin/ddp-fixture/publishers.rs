//! Publications by hand and with cursors, and the errors that they end with.
//!
//! - `publisherErrors(collection, options)` shows a document, is ready, and then ends as one of the
//!   options says; with `internalError` by an error that is not for the client.
//! - `multiPublish(options)` returns the cursors of `collectionOne` and `collectionTwo` if `normal`;
//!   if `dup`, two of the one collection among them, and if `notCursor`, something else, which are
//!   errors.
//! - `publisherCloning` shows a document and changes it before it is ready.
//! - `livedata/setup(id)` makes publications `pub1<id>` and `pub2<id>`, and `livedata/pub1go(id)` and
//!   `livedata/pub2go(id)` let each show its own field of one document of `MultiPubCollection<id>`.

use std::collections::HashMap;
use std::sync::Arc;

use ddp_core::ejson::{Ejson, Object};
use ddp_server::extract::{Params, Subscription};
use ddp_server::{
    AnyCursor, Collection, Error, IntoPublication, Server, ServerBuilder, State, field, random,
};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::app::App;
use crate::documents::{Documents, Members};
use crate::mutators;

/// The collections of `multiPublish`.
#[derive(Clone)]
pub(crate) struct Multi {
    one: Documents,
    two: Documents,
}

/// The newest subscriptions to the publications made by `livedata/setup`, by name.
#[derive(Clone, Default)]
pub(crate) struct Handles(Arc<Mutex<HashMap<String, Subscription>>>);

const CLONING: Collection<Ejson> = Collection::new("publisherCloning");

impl Multi {
    pub(crate) fn new() -> Result<Self, Error> {
        let (one, two) = (Documents::new("collectionOne"), Documents::new("collectionTwo"));
        let rows = [(&one, 1), (&one, 2), (&two, 3), (&two, 4), (&two, 5)];
        for (documents, number) in rows {
            let name = Ejson::from(format!("value{number}"));
            documents.insert(Object::from([("name".to_owned(), name)]), random::id)?;
        }
        Ok(Self { one, two })
    }
}

pub(crate) fn install(builder: ServerBuilder<App>, multi: &Multi) -> ServerBuilder<App> {
    let builder = mutators::deny(builder, &multi.one);
    mutators::deny(builder, &multi.two)
        .publish("publisherErrors", publisher_errors)
        .publish("multiPublish", multi_publish)
        .publish("publisherCloning", publisher_cloning)
        .method("livedata/setup", set_up)
        .method("livedata/pub1go", async |State(handles), Params((id,)): Params<(String,)>| {
            show(&handles, "pub1", &id, ("a", "aa")).map(|()| 1)
        })
        .method("livedata/pub2go", async |State(handles), Params((id,)): Params<(String,)>| {
            show(&handles, "pub2", &id, ("b", "bb")).map(|()| 2)
        })
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[derive(Default)]
struct ErrorOptions {
    internal_error: bool,
    stop_in_handler: bool,
    throw_in_handler: bool,
    error_in_handler: bool,
    throw_when_user_id_set: bool,
    error_later: bool,
}

async fn publisher_errors(
    subscription: Subscription,
    Params((collection, options)): Params<(String, ErrorOptions)>,
) -> Result<(), Error> {
    let document = Ejson::object([("foo", 42.0)]);
    subscription.added(&Collection::named(collection), &random::id(), &document)?;
    subscription.ready();
    let error = if options.internal_error {
        Error::internal("the publication was asked to fail")
    } else {
        Error::client(412, "Explicit error")
    };
    if options.stop_in_handler {
        subscription.stop();
    } else if options.throw_in_handler {
        return Err(error);
    } else if options.error_in_handler {
        subscription.error(error);
    } else if options.throw_when_user_id_set {
        return if subscription.user_id().is_some() { Err(error) } else { Ok(()) };
    } else if options.error_later {
        tokio::spawn(async move { subscription.error(error) });
    }
    Ok(())
}

async fn multi_publish(
    State(multi): State<Multi>,
    Params((Members(options),)): Params<(Members,)>,
) -> Result<Vec<AnyCursor>, Error> {
    let (one, two) = (multi.one.find(), multi.two.find());
    if options.contains_key("normal") {
        (one, two).into_publication().map(Option::unwrap_or_default)
    } else if options.contains_key("dup") {
        let again = multi.one.find().filter(field("name").eq("value2"));
        (one, again, two).into_publication().map(Option::unwrap_or_default)
    } else if options.contains_key("notCursor") {
        // What a publication returns is typed here, so this mistake needs an explicit error.
        Err(Error::internal("the publication was asked to return what is no cursor"))
    } else {
        Err(Error::internal("unexpected options"))
    }
}

async fn publisher_cloning(subscription: Subscription) -> Result<(), Error> {
    let x = |y: f64| Ejson::object([("y", y)]);
    subscription.added(&CLONING, "a", &Ejson::object([("x", x(42.0))]))?;
    subscription.changed(&CLONING, "a", [("x", Some(x(43.0)))])?;
    subscription.ready();
    Ok(())
}

async fn set_up(
    server: Server,
    State(handles): State<Handles>,
    Params((id,)): Params<(String,)>,
) -> Result<(), Error> {
    for publication in ["pub1", "pub2"] {
        let name = format!("{publication}{id}");
        let (handles, key) = (handles.clone(), name.clone());
        let handler = move |subscription: Subscription| {
            subscription.ready();
            handles.0.lock().insert(key.clone(), subscription);
            async {}
        };
        server.publish(name, handler, ());
    }
    Ok(())
}

fn show(handles: &Handles, publication: &str, id: &str, field: (&str, &str)) -> Result<(), Error> {
    let subscription = handles.0.lock().get(&format!("{publication}{id}")).cloned();
    let subscription = subscription.ok_or_else(|| Error::internal("nobody has subscribed"))?;
    let collection = Collection::named(format!("MultiPubCollection{id}"));
    subscription.added(&collection, "foo", &Ejson::object([field]))
}
