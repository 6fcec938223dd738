//! The publications of the transcripts.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;

use ddp_core::ejson::Ejson;
use ddp_server::extract::{Params, Subscription};
use ddp_server::query::Value;
use ddp_server::{AnyCursor, Collection, Error, State, field};

use crate::steps::Step;
use crate::world::World;

/// Does what its parameters say, step by step.
pub(crate) async fn script(
    State(world): State<World>,
    subscription: Subscription,
    Params(steps): Params<Vec<Ejson>>,
) -> Result<(), Error> {
    run(&world, &subscription, &steps).await.map(|_| ())
}

type Steps<'a> = Pin<Box<dyn Future<Output = Result<ControlFlow<()>, Error>> + Send + 'a>>;

fn run<'a>(world: &'a World, subscription: &'a Subscription, steps: &'a [Ejson]) -> Steps<'a> {
    Box::pin(async move {
        for step in steps {
            if step_of(world, subscription, &Step::new(step)).await?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

async fn step_of(
    world: &World,
    subscription: &Subscription,
    step: &Step<'_>,
) -> Result<ControlFlow<()>, Error> {
    let user = subscription.user_id().map(|user| user.as_str());
    match step.verb {
        "added" | "changed" | "removed" => documents(subscription, step)?,
        "addedUser" => {
            let document = Ejson::object([("user", user)]);
            subscription.added(&named(step), step.text(1), &document)?;
        }
        "ready" => subscription.ready(),
        "stop" => subscription.stop(),
        "error" => subscription.error(step.error()),
        "errorInternal" => subscription.error(step.failure()),
        "throw" => return Err(step.error()),
        "fail" => return Err(step.failure()),
        "gate" => world.wait(step.text(0)).await,
        "unblock" => subscription.unblock(),
        "onStop" => {
            let (world, id) = (world.clone(), step.text(0).to_owned());
            subscription.on_stop(move || {
                world.set("log", &id, &Ejson::object([("stopped", true)]));
            });
        }
        "user" => {
            let branches = step.arg(0);
            let branch = branches.get(user.unwrap_or_default()).or_else(|| branches.get("*"));
            let branch = branch.and_then(Ejson::as_array).unwrap_or_default();
            return run(world, subscription, branch).await;
        }
        // What a JavaScript function returns besides cursors is a matter of types in Rust.
        "return" => return Ok(ControlFlow::Break(())),
        verb => panic!("there is no step {verb}"),
    }
    Ok(ControlFlow::Continue(()))
}

fn named(step: &Step<'_>) -> Collection<Ejson> {
    Collection::named(step.text(0).to_owned())
}

fn documents(subscription: &Subscription, step: &Step<'_>) -> Result<(), Error> {
    let (collection, id) = (named(step), step.text(1));
    match step.verb {
        "added" => subscription.added(&collection, id, step.arg(2)),
        "changed" => {
            let fields = step.arg(2).as_object().unwrap();
            let fields = fields.iter().map(|(name, value)| (name.as_str(), Some(value)));
            let cleared = step.arg(3).as_array().unwrap_or_default();
            let cleared = cleared.iter().map(|name| (name.as_str().unwrap(), None));
            subscription.changed(&collection, id, fields.chain(cleared))
        }
        _ => {
            subscription.removed(&collection, id);
            Ok(())
        }
    }
}

/// Returns cursors: each parameter gives the collection, the documents and fields, and the users
/// who may see them.
pub(crate) async fn find(
    State(world): State<World>,
    subscription: Subscription,
    Params(specs): Params<Vec<Ejson>>,
) -> Vec<AnyCursor> {
    let user = Ejson::from(subscription.user_id().map(|user| user.as_str()));
    let is_for_user = |spec: &&Ejson| {
        spec.get("users").and_then(Ejson::as_array).is_none_or(|users| users.contains(&user))
    };
    specs.iter().filter(is_for_user).map(|spec| cursor(&world, spec)).collect()
}

fn cursor(world: &World, spec: &Ejson) -> AnyCursor {
    let name = spec.get("from").and_then(Ejson::as_str).unwrap();
    let mut cursor = world.collection(name).find();
    for (name, value) in spec.get("where").and_then(Ejson::as_object).into_iter().flatten() {
        cursor = cursor.filter(field(name.as_str()).eq(Value::from_ejson(value).unwrap()));
    }
    match spec.get("fields").and_then(Ejson::as_array) {
        Some(fields) => cursor.fields(fields.iter().filter_map(Ejson::as_str)).into(),
        None => cursor.into(),
    }
}

/// Takes one string.
pub(crate) async fn checked(subscription: Subscription, Params(_): Params<(String,)>) {
    subscription.ready();
}

/// Has a rate limit.
pub(crate) async fn limited(subscription: Subscription) {
    subscription.ready();
}
