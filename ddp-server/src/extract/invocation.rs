//! The running method call.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use ddp_core::ejson::{self, RawParams};
use ddp_core::merge_box::PublicationStrategy;
use ddp_core::random::RandomStream;
use ddp_core::session::CallKey;
use futures::channel::oneshot;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::connection::Connection;
use super::user_id::UserId;
use crate::connection::mail::Mail;
use crate::error::Error;
use crate::log::Log;
use crate::random;
use crate::write_fence::WriteFence;

/// A method's invocation, Meteor's `this` in a method. Cheap to clone.
///
/// ```
/// use ddp_server::extract::{Invocation, Params};
/// use ddp_server::{Error, Server};
///
/// async fn add(Params((a, b)): Params<(i64, i64)>) -> Result<i64, Error> {
///     Ok(a + b)
/// }
///
/// async fn double(invocation: Invocation, Params((number,)): Params<(i64,)>) -> Result<i64, Error> {
///     // Let the client's next messages begin while this one works.
///     invocation.unblock();
///     invocation.call("add", (number, number)).await
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let server = Server::builder().method("add", add).method("double", double).build();
/// assert_eq!(server.call::<i64>("double", (21,)).await?, 42);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Invocation(Arc<Inner>);

/// What a running handler may use of its server.
pub(crate) trait Host: Any + Send + Sync {
    /// Runs a method by name and returns its result as EJSON text; `None` for `undefined`.
    fn invoke(
        &self,
        method: &str,
        params: RawParams,
        invocation: Invocation,
    ) -> BoxFuture<'static, Result<Option<String>, Error>>;

    /// How a collection's documents are merged.
    fn strategy(&self, collection: &str) -> PublicationStrategy;

    /// For what clients cause.
    fn log(&self) -> &Log;
}

/// Runs a method with typed parameters and result.
pub(crate) async fn invoke<R: DeserializeOwned>(
    host: &Arc<dyn Host>,
    method: &str,
    params: impl Serialize,
    invocation: Invocation,
) -> Result<R, Error> {
    let params = RawParams::from_serialize(&params)?;
    let result = host.invoke(method, params, invocation).await?;
    Ok(ejson::from_text(result.as_deref().unwrap_or("null"))?)
}

struct Inner {
    host: Arc<dyn Host>,
    caller: Caller,
    state: Mutex<State>,
    /// Created on first use if the caller sent no seed.
    random: Mutex<Option<RandomStream>>,
    fence: WriteFence,
}

struct State {
    user_id: Option<UserId>,
    has_unblocked: bool,
}

/// Who called a method.
enum Caller {
    Client(Connection, CallKey),
    Method(Invocation),
    Publication(Connection),
    Server,
}

impl Invocation {
    fn new(
        host: Arc<dyn Host>,
        caller: Caller,
        user_id: Option<UserId>,
        random: Option<RandomStream>,
        fence: WriteFence,
    ) -> Self {
        let state = Mutex::new(State { user_id, has_unblocked: false });
        Self(Arc::new(Inner { host, caller, state, random: Mutex::new(random), fence }))
    }

    pub(crate) fn by_client(
        host: Arc<dyn Host>,
        connection: Connection,
        call: CallKey,
        user_id: Option<UserId>,
        random_seed: Option<&str>,
    ) -> Self {
        let fence = WriteFence::new(Arc::clone(connection.mailbox()) as _, call);
        let random = random_seed.map(RandomStream::from_seed);
        Self::new(host, Caller::Client(connection, call), user_id, random, fence)
    }

    pub(crate) fn by_publication(
        host: Arc<dyn Host>,
        connection: Connection,
        user_id: Option<UserId>,
    ) -> Self {
        let caller = Caller::Publication(connection);
        Self::new(host, caller, user_id, None, WriteFence::detached())
    }

    pub(crate) fn by_server(host: Arc<dyn Host>) -> Self {
        Self::new(host, Caller::Server, None, None, WriteFence::detached())
    }

    /// The invocation of a method that this one calls: the same connection, user and write fence,
    /// and a random stream that the client's stub can foresee.
    fn nested(&self, method: &str) -> Self {
        let seed = self.0.random.lock().get_or_insert_with(random::stream).rpc_seed(method);
        let random = Some(RandomStream::from_seed(seed));
        let caller = Caller::Method(self.clone());
        Self::new(Arc::clone(&self.0.host), caller, self.user_id(), random, self.0.fence.clone())
    }

    /// The user for whom the method runs: the one logged in when it began, or the one it has
    /// [set](Self::set_user_id) since.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        self.0.state.lock().user_id.clone()
    }

    /// Logs the connection in as this user, or out with `None`.
    ///
    /// All subscriptions of the connection run again for the new user. By the time this returns,
    /// they have run and the client has been sent the difference to the documents that it had, and
    /// then `ready`. A publication that neither becomes ready nor returns delays this call, just as
    /// it delays the client's other messages. If the connection ends in the meantime, this returns
    /// at once.
    ///
    /// # Errors
    /// After [`unblock`](Self::unblock), as in Meteor, and in a method that no client called.
    pub async fn set_user_id(&self, user_id: Option<&str>) -> Result<(), Error> {
        let user_id = user_id.map(UserId::from);
        // This invocation and its callers, the client's call last.
        let mut calls = vec![self];
        let connection = loop {
            let invocation = calls[calls.len() - 1];
            if invocation.0.state.lock().has_unblocked {
                let text = "can't call set_user_id in a method after calling unblock";
                return Err(Error::internal(text));
            }
            match &invocation.0.caller {
                Caller::Client(connection, _) => break connection,
                Caller::Method(outer) => calls.push(outer),
                Caller::Publication(_) | Caller::Server => {
                    let text = "can't call set_user_id on a server initiated method call";
                    return Err(Error::internal(text));
                }
            }
        };
        for invocation in calls {
            invocation.0.state.lock().user_id.clone_from(&user_id);
        }
        let (done, is_done) = oneshot::channel();
        connection.mailbox().push(Mail::SetUser(user_id, done));
        // Without an answer the connection has ended.
        let _ = is_done.await;
        Ok(())
    }

    /// Lets the client's next messages start before this method returns. Does nothing in a method
    /// called by another method.
    pub fn unblock(&self) {
        self.0.state.lock().has_unblocked = true;
        if let Caller::Client(connection, call) = &self.0.caller {
            connection.mailbox().push(Mail::MethodUnblocked(*call));
        }
    }

    /// The next id for a document of this collection. If the client's stub drew ids, these are the
    /// same in the same order, so that the document does not flicker at the client.
    #[must_use]
    pub fn random_id(&self, collection: &str) -> String {
        self.0.random.lock().get_or_insert_with(random::stream).document_id(collection)
    }

    /// The same as a UUID, for a table whose key is one. A stub has three lines for it:
    ///
    /// ```js
    /// const digits = DDP.randomStream('/collection/tasks').hexString(32).split('');
    /// [digits[12], digits[16]] = ['4', '89ab'[parseInt(digits[16], 16) % 4]];
    /// const id = digits.join('').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
    /// ```
    #[must_use]
    pub fn random_uuid(&self, collection: &str) -> String {
        self.0.random.lock().get_or_insert_with(random::stream).document_uuid(collection)
    }

    /// The write fence, to be handed to the data source that the method writes to.
    #[must_use]
    pub fn fence(&self) -> &WriteFence {
        &self.0.fence
    }

    /// Calls another method for the same user and connection, as Meteor's `callAsync` in a method:
    /// `invocation.call("tasks.insert", (list_id, text)).await?`. What it writes belongs to this
    /// method's write fence.
    ///
    /// # Errors
    /// The method's own error; `404` if there is no such method; parameters that aren't a tuple or
    /// an array; a result that does not deserialize to `R`.
    pub async fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: impl Serialize,
    ) -> Result<R, Error> {
        invoke(&self.0.host, method, params, self.nested(method)).await
    }

    /// The connection that the method was called on; `None` if the server itself called it.
    #[must_use]
    pub fn connection(&self) -> Option<&Connection> {
        match &self.0.caller {
            Caller::Client(connection, _) | Caller::Publication(connection) => Some(connection),
            Caller::Method(outer) => outer.connection(),
            Caller::Server => None,
        }
    }

    pub(crate) fn host(&self) -> &Arc<dyn Host> {
        &self.0.host
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connection = self.connection().map(Connection::id);
        f.debug_struct("Invocation").field("connection", &connection).finish_non_exhaustive()
    }
}
