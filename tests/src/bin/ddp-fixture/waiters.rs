//! Methods that show whether a client waits for one before it sends the next.
//!
//! `delayedTrue(token)` unblocks, and returns true after a second, or false as soon as somebody calls
//! `makeDelayedTrueImmediatelyReturnFalse(token)`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ddp_server::extract::{Invocation, Params};
use ddp_server::{Error, ServerBuilder, State};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::app::App;

const DELAY: Duration = Duration::from_secs(1);

/// Those that are waiting, by token.
#[derive(Clone, Default)]
pub(crate) struct Waiters(Arc<Mutex<HashMap<String, Arc<Notify>>>>);

pub(crate) fn install(builder: ServerBuilder<App>) -> ServerBuilder<App> {
    builder
        .method("delayedTrue", delayed_true)
        .method("makeDelayedTrueImmediatelyReturnFalse", return_false)
}

async fn delayed_true(
    State(Waiters(waiters)): State<Waiters>,
    invocation: Invocation,
    Params((token,)): Params<(String,)>,
) -> Result<bool, Error> {
    let woken = Arc::new(Notify::new());
    waiters.lock().insert(token.clone(), Arc::clone(&woken));
    invocation.unblock();
    let in_time = tokio::time::timeout(DELAY, woken.notified()).await.is_ok();
    waiters.lock().remove(&token);
    Ok(!in_time)
}

async fn return_false(
    State(Waiters(waiters)): State<Waiters>,
    Params((token,)): Params<(String,)>,
) -> Result<(), Error> {
    if let Some(waiter) = waiters.lock().remove(&token) {
        waiter.notify_one();
    }
    Ok(())
}
