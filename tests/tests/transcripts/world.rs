//! The servers of the transcripts, which publish what the parameters say.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ddp_core::ejson::{self, Ejson};
use ddp_core::merge_box::PublicationStrategy;
use ddp_server::extract::{Connection, Subscription};
use ddp_server::rate_limit::Rule;
use ddp_server::{Collection, Error, MemoryCollection, Server, ServerBuilder, State};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{methods, publications};

/// What the handlers share with each other and with the replay.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Inner>);

#[derive(Default)]
struct Inner {
    collections: Mutex<HashMap<String, MemoryCollection<Ejson>>>,
    /// Gates are closed semaphores once they are open.
    gates: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl World {
    pub(crate) fn collection(&self, name: &str) -> MemoryCollection<Ejson> {
        let mut collections = self.0.collections.lock();
        let new = || MemoryCollection::new(&Collection::named(name.to_owned()));
        collections.entry(name.to_owned()).or_insert_with(new).clone()
    }

    fn gate(&self, name: &str) -> Arc<Semaphore> {
        let new = || Arc::new(Semaphore::new(0));
        Arc::clone(self.0.gates.lock().entry(name.to_owned()).or_insert_with(new))
    }

    /// Waits until the gate has been opened.
    pub(crate) async fn wait(&self, gate: &str) {
        let gate = self.gate(gate);
        gate.acquire().await.expect_err("a gate has no permits; it is only ever closed");
    }

    pub(crate) fn open(&self, gate: &str) {
        self.gate(gate).close();
    }

    /// Sets fields of a document, which is created if it does not exist.
    pub(crate) fn set(&self, collection: &str, id: &str, fields: &Ejson) {
        let collection = self.collection(collection);
        let exists = collection.update(id, |document| {
            let (Ejson::Object(old), Ejson::Object(new)) = (document, fields) else { return };
            old.extend(new.iter().map(|(name, value)| (name.clone(), value.clone())));
        });
        if !exists.unwrap() {
            collection.insert_with_id(id, fields).unwrap();
        }
    }

    pub(crate) fn unset<'a>(
        &self,
        collection: &str,
        id: &str,
        fields: impl IntoIterator<Item = &'a str>,
    ) {
        let clear = |document: &mut Ejson| {
            let Ejson::Object(document) = document else { return };
            for name in fields {
                document.shift_remove(name);
            }
        };
        assert!(self.collection(collection).update(id, clear).unwrap());
    }

    fn note(&self, id: &str, fields: &Value) {
        self.set("log", id, &ejson::to_value(fields).unwrap());
    }

    /// Does what a transcript's line with `!` says.
    pub(crate) fn happen(&self, words: &[String]) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match *words {
            ["open", gate] => self.open(gate),
            ["set", collection, id, fields] => {
                self.set(collection, id, &ejson::parse(fields).unwrap());
            }
            ["unset", collection, id, fields] => self.unset(collection, id, fields.split(' ')),
            ["remove", collection, id] => assert!(self.collection(collection).remove(id)),
            _ => panic!("what is ! {words:?}"),
        }
    }

    /// The server with this name.
    pub(crate) fn server(&self, name: &str) -> Server {
        let limit = |rule: fn(Rule) -> Rule| rule(Rule::new(2, Duration::from_secs(10)));
        let builder = Server::builder()
            .publish("script", publications::script)
            .publish("find", publications::find)
            .publish("checked", publications::checked)
            .publish("limitedSub", publications::limited)
            .method("script", methods::script)
            .method("echo", methods::echo)
            .method("describe", methods::describe)
            .method("checked", methods::checked)
            .method("limited", methods::limited)
            .method("values", methods::values)
            .publication_strategy("nomerge", PublicationStrategy::NoMerge)
            .publication_strategy("history", PublicationStrategy::NoMergeNoHistory)
            .publication_strategy("multi", PublicationStrategy::NoMergeMulti)
            .rate_limit(limit(|rule| rule.method("limited").per_connection()))
            .rate_limit(limit(|rule| rule.publication("limitedSub").per_connection()));
        let builder = self.hooks(name, builder);
        self.universal(name, builder).with_state(self.clone())
    }

    fn hooks(&self, name: &str, builder: ServerBuilder<Self>) -> ServerBuilder<Self> {
        if name.starts_with("refuse") {
            return builder.on_connection(Connection::close);
        }
        let (world, count) = (self.clone(), AtomicU32::new(0));
        let builder = builder.on_connection(move |connection| {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let known = connection.id().len() == 17;
            let opened = json!({"address": connection.client_address(), "known": known});
            world.note(&format!("{number} opened"), &opened);
            let world = world.clone();
            connection.on_close(move || world.note(&format!("{number} closed"), &json!({})));
        });
        if name != "messages" {
            return builder;
        }
        let (world, count) = (self.clone(), AtomicU32::new(0));
        builder.on_message(move |_, text| {
            let message: Value = serde_json::from_str(text).unwrap();
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            let fields = json!({"msg": message["msg"], "id": message["id"]});
            world.note(&format!("message {number}"), &fields);
        })
    }

    fn universal(&self, name: &str, builder: ServerBuilder<Self>) -> ServerBuilder<Self> {
        let one = || self.set("lists", "l1", &Ejson::object([("title", "one")]));
        match name {
            "plain" | "messages" | "refuse" => builder,
            "refuse-universal" => builder.publish_universal(theme),
            "universal" => builder.publish_universal(theme).publish_universal(user),
            "universal-cursor" => {
                one();
                builder.publish_universal(theme).publish_universal(lists)
            }
            "universal-async" => {
                one();
                builder.publish_universal(theme_of_user).publish_universal(lists)
            }
            "universal-errors" => builder.publish_universal(throws).publish_universal(stops),
            "universal-gate" => builder.publish_universal(waits),
            _ => panic!("there is no world {name}"),
        }
    }
}

const SETTINGS: Collection<Value> = Collection::new("settings");
const USERS: Collection<Value> = Collection::new("users");

async fn theme(subscription: Subscription) -> Result<(), Error> {
    subscription.added(&SETTINGS, "theme", &json!({"dark": true}))?;
    subscription.ready();
    Ok(())
}

async fn user(subscription: Subscription) -> Result<(), Error> {
    if let Some(user) = subscription.user_id() {
        subscription.added(&USERS, user, &json!({"name": user.to_uppercase()}))?;
    }
    subscription.ready();
    Ok(())
}

async fn lists(State(world): State<World>) -> ddp_server::Cursor<Ejson> {
    world.collection("lists").find()
}

async fn theme_of_user(subscription: Subscription) -> Result<(), Error> {
    let user = subscription.user_id().map(|user| user.as_str());
    subscription.added(&SETTINGS, "theme", &json!({"user": user}))
}

async fn throws(subscription: Subscription) -> Result<(), Error> {
    subscription.added(&SETTINGS, "theme", &json!({"dark": true}))?;
    match subscription.user_id().map(|user| user.as_str()) {
        Some("bad") => Err(Error::client("forbidden", "Not you")),
        _ => Ok(()),
    }
}

async fn stops(subscription: Subscription) -> Result<(), Error> {
    subscription.added(&SETTINGS, "other", &json!({"n": 1}))?;
    if subscription.user_id().is_some_and(|user| user.as_str() == "stopped") {
        subscription.stop();
    }
    Ok(())
}

async fn waits(State(world): State<World>, subscription: Subscription) -> Result<(), Error> {
    subscription.added(&SETTINGS, "before", &json!({}))?;
    world.wait("g").await;
    subscription.added(&SETTINGS, "after", &json!({}))
}
