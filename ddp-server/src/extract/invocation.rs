//! The running method call.

use std::fmt;
use std::sync::Arc;

use ddp_core::random::RandomStream;
use ddp_core::session::CallKey;
use parking_lot::Mutex;

use super::{Connection, FromContext};
use crate::error::Error;
use crate::mailbox::Mail;
use crate::method::MethodContext;
use crate::random;
use crate::write_fence::WriteFence;

/// A method's invocation, Meteor's `this` in a method. Cheap to clone.
#[derive(Clone)]
pub struct Invocation(Arc<Inner>);

struct Inner {
    connection: Connection,
    call: CallKey,
    random: Mutex<RandomStream>,
    fence: WriteFence,
}

impl Invocation {
    pub(crate) fn new(connection: Connection, call: CallKey, random_seed: Option<&str>) -> Self {
        let fence = WriteFence::new(Arc::clone(&connection.mailbox), call);
        let random = match random_seed {
            Some(seed) => RandomStream::from_seed(seed),
            None => random::stream(),
        };
        Self(Arc::new(Inner { connection, call, random: Mutex::new(random), fence }))
    }

    /// Lets the client's next messages begin before this method returns.
    pub fn unblock(&self) {
        self.0.connection.mailbox.push(Mail::MethodUnblocked(self.0.call));
    }

    /// The next id for a document of this collection. If the client's stub drew ids, these are the
    /// same in the same order, so that the document does not flicker at the client.
    #[must_use]
    pub fn random_id(&self, collection: &str) -> String {
        self.0.random.lock().document_id(collection)
    }

    /// The write fence, to be handed to the data source that the method writes to.
    #[must_use]
    pub fn fence(&self) -> &WriteFence {
        &self.0.fence
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    pub(crate) fn call(&self) -> CallKey {
        self.0.call
    }
}

impl<S> FromContext<MethodContext, S> for Invocation {
    fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        Ok(context.invocation.clone())
    }
}

impl<S> FromContext<MethodContext, S> for WriteFence {
    fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        Ok(context.invocation.fence().clone())
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Invocation").field(&self.0.call).finish()
    }
}
