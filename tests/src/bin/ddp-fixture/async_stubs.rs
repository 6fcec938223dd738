//! Methods that record in which order the server ran them.
//!
//! `getAndResetEvents` returns the records so far. There is one list for everybody, as in the
//! suite, which runs one test at a time.
//!
//! - `server-only-sync`, `server-only-async`, `sync-stub`, `async-stub` and those named after calls
//!   from stubs to stubs note their names and return constants;
//! - `blockingMethod` only notes its name; `unblockedMethod({delay})` its start, and its end after so
//!   many milliseconds, and lets the client's next methods begin meanwhile;
//! - the publication `simple-publication` notes that it ran.

use std::sync::Arc;
use std::time::Duration;

use ddp_server::extract::{Invocation, Params, Subscription};
use ddp_server::{Error, ServerBuilder, State};
use parking_lot::Mutex;
use serde::Deserialize;

use crate::app::App;

/// What has been recorded since somebody last asked.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<&'static str>>>);

impl Events {
    fn note(&self, event: &'static str) {
        self.0.lock().push(event);
    }
}

/// Methods that note their name, and what they return.
const NOTED: [(&str, &str); 7] = [
    ("server-only-sync", "sync-result"),
    ("server-only-async", "server-only-async-result"),
    ("sync-stub", "sync-server-result"),
    ("async-stub", "async-server-result"),
    ("callSyncStubFromAsyncStub", "server result"),
    ("callSyncStubFromSyncStub", "server result"),
    ("callAsyncStubFromAsyncStub", "server result"),
];

#[derive(Deserialize)]
struct UnblockedOptions {
    delay: f64,
}

pub(crate) fn install(mut builder: ServerBuilder<App>) -> ServerBuilder<App> {
    for (name, result) in NOTED {
        builder = builder.method(name, move |State(events): State<Events>| {
            events.note(name);
            async move { Ok::<_, Error>(result) }
        });
    }
    for name in ["callAsyncFromSyncStub", "blockingMethod"] {
        builder = builder.method(name, move |State(events): State<Events>| {
            events.note(name);
            async { Ok::<_, Error>(()) }
        });
    }
    builder
        .method("getAndResetEvents", async |State(Events(events))| {
            Ok::<_, Error>(std::mem::take(&mut *events.lock()))
        })
        .method("unblockedMethod", unblocked)
        .publish(
            "simple-publication",
            async |State(events): State<Events>, subscription: Subscription| {
                events.note("publication");
                subscription.ready();
            },
        )
}

async fn unblocked(
    State(events): State<Events>,
    invocation: Invocation,
    Params((options,)): Params<(UnblockedOptions,)>,
) -> Result<(), Error> {
    // The conversion leaves no number too large for the timer.
    let delay = Duration::from_millis(options.delay as u32 as u64);
    events.note("unblock start");
    invocation.unblock();
    tokio::time::sleep(delay).await;
    events.note("unblock end");
    Ok(())
}
