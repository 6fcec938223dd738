//! The server put together.

use ddp_server::{Error, FromRef, Server};

use crate::async_stubs::Events;
use crate::echo::Arrays;
use crate::ledger::Ledger;
use crate::nested::Nested;
use crate::publishers::{Handles, Multi};
use crate::universal::Universal;
use crate::users::Users;
use crate::waiters::Waiters;
use crate::{accounts, async_stubs, echo, ledger, nested, publishers, universal, users, waiters};

/// What the modules keep. Each handler takes its own part.
#[derive(Clone)]
pub(crate) struct App {
    arrays: Arrays,
    events: Events,
    handles: Handles,
    ledger: Ledger,
    multi: Multi,
    nested: Nested,
    universal: Universal,
    users: Users,
    waiters: Waiters,
}

macro_rules! parts {
    ($($field:ident: $part:ty),* $(,)?) => {$(
        impl FromRef<App> for $part {
            fn from_ref(app: &App) -> Self {
                app.$field.clone()
            }
        }
    )*};
}

parts! {
    arrays: Arrays,
    events: Events,
    handles: Handles,
    ledger: Ledger,
    multi: Multi,
    nested: Nested,
    universal: Universal,
    users: Users,
    waiters: Waiters,
}

/// The whole server, with the collections that the suite expects.
pub(crate) fn server(root_url: String) -> Result<Server, Error> {
    let app = App {
        arrays: Arrays::default(),
        events: Events::default(),
        handles: Handles::default(),
        ledger: Ledger::new(),
        multi: Multi::new()?,
        nested: Nested::new(),
        universal: Universal::default(),
        users: Users::new()?,
        waiters: Waiters::default(),
    };
    let mut builder = Server::builder();
    builder = echo::install(builder);
    builder = waiters::install(builder);
    builder = ledger::install(builder, &app.ledger);
    builder = users::install(builder, &app.users);
    builder = universal::install(builder);
    builder = publishers::install(builder, &app.multi);
    builder = nested::install(builder, &app.nested);
    builder = async_stubs::install(builder);
    builder = accounts::install(builder, root_url);
    Ok(builder.with_state(app))
}
