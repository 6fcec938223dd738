//! Publications without a name, which every client gets.
//!
//! - Two that show nothing by themselves. `testOverlappingSubs(token)` lets both show every client
//!   the document `token` of `overlappingUniversalSubs`, and the first take it away again: it stays.
//! - `runtimeUniversalSubCreation(token)` makes another one, with the document `token` of
//!   `runtimeSubCreation`.

use std::collections::BTreeMap;
use std::sync::Arc;

use ddp_core::ejson::{Ejson, Object};
use ddp_server::extract::{Params, Subscription};
use ddp_server::{Collection, Error, Server, ServerBuilder, State};
use parking_lot::Mutex;

use crate::app::App;

const OVERLAPPING: Collection<Ejson> = Collection::new("overlappingUniversalSubs");
const AT_RUN_TIME: Collection<Ejson> = Collection::new("runtimeSubCreation");

/// The open subscriptions to both publications.
#[derive(Clone, Default)]
pub(crate) struct Universal(Arc<[Mutex<Subscribers>; 2]>);

#[derive(Default)]
struct Subscribers {
    open: BTreeMap<u64, Subscription>,
    next: u64,
}

pub(crate) fn install(builder: ServerBuilder<App>) -> ServerBuilder<App> {
    builder
        .publish_universal(async |State(universal), subscription| {
            register(&universal, 0, subscription);
        })
        .publish_universal(async |State(universal), subscription| {
            register(&universal, 1, subscription);
        })
        .method("testOverlappingSubs", overlap)
        .method("runtimeUniversalSubCreation", publish_at_run_time)
}

fn register(universal: &Universal, index: usize, subscription: Subscription) {
    let mut subscribers = universal.0[index].lock();
    let number = subscribers.next;
    subscribers.next += 1;
    subscribers.open.insert(number, subscription.clone());
    drop(subscribers);
    let universal = universal.clone();
    subscription.on_stop(move || {
        universal.0[index].lock().open.remove(&number);
    });
}

async fn overlap(
    State(Universal(subscribers)): State<Universal>,
    Params((token,)): Params<(String,)>,
) -> Result<(), Error> {
    let open = |index: usize| -> Vec<Subscription> {
        subscribers[index].lock().open.values().cloned().collect()
    };
    let (first, second) = (open(0), open(1));
    let nothing = Ejson::Object(Object::new());
    for subscription in first.iter().chain(&second) {
        subscription.added(&OVERLAPPING, &token, &nothing)?;
    }
    for subscription in &first {
        subscription.removed(&OVERLAPPING, &token);
    }
    Ok(())
}

async fn publish_at_run_time(
    server: Server,
    Params((token,)): Params<(String,)>,
) -> Result<(), Error> {
    let publication = async |State(token): State<Arc<str>>, subscription: Subscription| {
        subscription.added(&AT_RUN_TIME, &token, &Ejson::Object(Object::new()))
    };
    server.publish_universal(publication, Arc::<str>::from(token));
    Ok(())
}
