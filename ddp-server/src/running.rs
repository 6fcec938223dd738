//! The handlers that run for one connection.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use ddp_core::ejson::Ejson;
use ddp_core::merge_box::Source;
use ddp_core::session::CallKey;
use ddp_core::{DdpError, SubscriptionKey};
use futures::FutureExt;
use tokio::task::AbortHandle;

use crate::error::Error;
use crate::extract::{Connection, Invocation, Subscription};
use crate::live_query::{AnyCursor, Observation};
use crate::mailbox::Mail;
use crate::method::MethodContext;
use crate::publication::PublicationContext;
use crate::server::Shared;

/// The running publications of a connection, and what its methods need.
///
/// Handlers answer through the connection's mailbox. A publication is dropped with its
/// subscription; a method runs to its end even if the client goes, as in Meteor.
pub(crate) struct Running {
    server: Arc<Shared>,
    connection: Connection,
    publications: HashMap<SubscriptionKey, Publication>,
}

#[derive(Default)]
struct Publication {
    task: Option<AbortHandle>,
    observations: Vec<Observation>,
}

impl Drop for Publication {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Running {
    pub(crate) fn new(server: Arc<Shared>, connection: Connection) -> Self {
        Self { server, connection, publications: HashMap::new() }
    }

    pub(crate) async fn subscribe(
        &mut self,
        key: SubscriptionKey,
        name: String,
        params: Vec<Ejson>,
    ) {
        if !self.server.publications.contains_key(&name) {
            let error = DdpError::subscription_not_found(&name);
            return self.connection.mailbox.push(Mail::Stop(key, Some(error)));
        }
        // Before it starts, so that what it does to the subscription finds it.
        self.publications.insert(key, Publication::default());
        let subscription = Subscription::new(self.connection.clone(), key);
        let run = publish(Arc::clone(&self.server), subscription, name, params);
        let task = start(run).await;
        if let Some(publication) = self.publications.get_mut(&key) {
            publication.task = task;
        }
    }

    pub(crate) fn observing(&mut self, key: SubscriptionKey, observations: Vec<Observation>) {
        // If the subscription ended meanwhile, the observations end here.
        if let Some(publication) = self.publications.get_mut(&key) {
            publication.observations = observations;
        }
    }

    pub(crate) fn unsubscribe(&mut self, key: SubscriptionKey) {
        self.publications.remove(&key);
    }

    pub(crate) async fn call(
        &mut self,
        key: CallKey,
        name: String,
        params: Vec<Ejson>,
        random_seed: Option<&str>,
    ) {
        if !self.server.methods.contains_key(&name) {
            let mailbox = &self.connection.mailbox;
            mailbox.push(Mail::Result(key, Err(DdpError::method_not_found(&name))));
            return mailbox.push(Mail::Updated(key));
        }
        let invocation = Invocation::new(self.connection.clone(), key, random_seed);
        let context = MethodContext { name, params, invocation };
        // Its end is told by mail; nobody waits for the task.
        let _ = start(invoke(Arc::clone(&self.server), context)).await;
    }
}

/// Polls a handler once here, where many end, and gives it a task of its own if it has to wait.
async fn start(handler: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
    let mut handler: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(handler);
    match poll_fn(|cx| Poll::Ready(handler.as_mut().poll(cx))).await {
        Poll::Ready(()) => None,
        Poll::Pending => Some(tokio::spawn(handler).abort_handle()),
    }
}

async fn invoke(server: Arc<Shared>, context: MethodContext) {
    let (name, invocation) = (context.name.clone(), context.invocation.clone());
    let run = async {
        match server.methods.get(&name) {
            Some(method) => method(context).await,
            None => Err(DdpError::method_not_found(&name).into()),
        }
    };
    let result = catch_panic(run).await.map_err(|error| {
        let session = invocation.connection().id();
        redact(error, &format!("while invoking method '{name}' for session {session}"))
    });
    invocation.connection().mailbox.push(Mail::Result(invocation.call(), result));
    invocation.fence().arm();
}

async fn publish(
    server: Arc<Shared>,
    subscription: Subscription,
    name: String,
    params: Vec<Ejson>,
) {
    let key = subscription.key();
    let connection = subscription.connection().clone();
    let context = PublicationContext { name, params, subscription: subscription.clone() };
    let name = context.name.clone();
    let run = async {
        let cursors = match server.publications.get(&name) {
            Some(publication) => publication(context).await?,
            None => return Err(DdpError::subscription_not_found(&name).into()),
        };
        match cursors {
            Some(cursors) => Ok(Some(observe(&subscription, &cursors).await?)),
            None => Ok(None),
        }
    };
    let mail = match catch_panic(run).await {
        Ok(Some(observations)) => {
            connection.mailbox.push(Mail::Observing(key, observations));
            Mail::Ready(key)
        }
        Ok(None) => Mail::SubscriptionUnblocked(key),
        Err(error) => {
            let session = connection.id();
            let context = format!("from sub '{name}' of session {session}");
            Mail::Stop(key, Some(redact(error, &context)))
        }
    };
    connection.mailbox.push(mail);
}

/// Begins to observe all cursors of a publication, each of another collection.
async fn observe(
    subscription: &Subscription,
    cursors: &[AnyCursor],
) -> Result<Vec<Observation>, Error> {
    for (index, cursor) in cursors.iter().enumerate() {
        let collection = &cursor.query.collection;
        if cursors[..index].iter().any(|other| other.query.collection == *collection) {
            return Err(Error::internal(format!(
                "publish function returned multiple cursors for collection {collection}"
            )));
        }
    }
    let observing = cursors
        .iter()
        .map(|cursor| cursor.driver.observe(&cursor.query, subscription.observer(Source::Cursor)));
    futures::future::try_join_all(observing).await
}

/// What the client gets of an error. Logging it runs the application's code, which may panic, too.
fn redact(error: Error, context: &str) -> DdpError {
    let redact = AssertUnwindSafe(|| error.into_ddp(context));
    std::panic::catch_unwind(redact).unwrap_or_else(|_| DdpError::internal())
}

/// Turns a panic of a handler into its error, so that it costs nobody else anything.
async fn catch_panic<T>(run: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|panic| {
        let message = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Err(Error::internal(format!("handler panicked: {message}")))
    })
}
