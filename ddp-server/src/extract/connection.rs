//! The client's connection.

use std::net::SocketAddr;
use std::sync::Arc;

use super::FromContext;
use crate::error::Error;
use crate::mailbox::Mailbox;
use crate::method::MethodContext;
use crate::publication::PublicationContext;

/// The connection that a handler runs for. Cheap to clone, and usable after the handler returned.
#[derive(Clone, Debug)]
pub struct Connection {
    pub(crate) id: Arc<str>,
    pub(crate) remote_address: Option<SocketAddr>,
    pub(crate) mailbox: Arc<Mailbox>,
}

impl Connection {
    /// The session's id, 17 characters.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The address of the other end of the socket, if the server was given it.
    #[must_use]
    pub fn remote_address(&self) -> Option<SocketAddr> {
        self.remote_address
    }

    /// Disconnects the client, after what it is to be sent so far. It may connect again.
    pub fn close(&self) {
        self.mailbox.request_end();
    }
}

impl<S> FromContext<PublicationContext, S> for Connection {
    fn from_context(context: &PublicationContext, _: &S) -> Result<Self, Error> {
        Ok(context.subscription.connection().clone())
    }
}

impl<S> FromContext<MethodContext, S> for Connection {
    fn from_context(context: &MethodContext, _: &S) -> Result<Self, Error> {
        Ok(context.invocation.connection().clone())
    }
}
