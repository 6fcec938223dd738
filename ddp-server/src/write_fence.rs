//! The write fence of a running method.

use std::fmt;
use std::sync::Arc;

use ddp_core::session::CallKey;
use parking_lot::Mutex;

/// Delays a method's `updated` until its writes have been sent to the client, as Meteor's
/// `WriteFence` does. A method takes it as an argument and hands it to the data source that it
/// writes to; `updated` does not wait for writes made without the fence. Cheap to clone.
///
/// Your own data source begins a write and ends it once its observers have the change:
///
/// ```
/// use ddp_server::{Error, Server, WriteFence};
///
/// async fn save(fence: WriteFence) -> Result<(), Error> {
///     let write = fence.begin_write();
///     tokio::spawn(async move {
///         // Hand the change to the observers here.
///         drop(write);
///     });
///     // The client has the result now, and `updated` when the write is over.
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let server = Server::builder().method("save", save).build();
/// server.call::<()>("save", ()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct WriteFence(Arc<Inner>);

/// Receives the news that a call's fence has fired.
pub(crate) trait Fired: Send + Sync {
    fn fired(&self, call: CallKey);
}

struct Inner {
    state: Mutex<ddp_core::WriteFence>,
    fired: Option<(Arc<dyn Fired>, CallKey)>,
}

impl WriteFence {
    pub(crate) fn new(caller: Arc<dyn Fired>, call: CallKey) -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), fired: Some((caller, call)) }))
    }

    /// A fence for writes that no client waits for.
    #[must_use]
    pub fn detached() -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), fired: None }))
    }

    /// Begins a write. The write ends when the returned value is dropped; drop it only after the
    /// observers have been handed the change.
    #[must_use]
    pub fn begin_write(&self) -> Write {
        self.0.state.lock().begin_write();
        Write(self.clone())
    }

    /// The method has returned. True if there is no write to wait for; else the caller is told later.
    #[must_use]
    pub(crate) fn arm(&self) -> bool {
        self.0.state.lock().arm()
    }

    fn fire_if(&self, fires: bool) {
        if let Some((caller, call)) = self.0.fired.as_ref().filter(|_| fires) {
            caller.fired(*call);
        }
    }
}

impl fmt::Debug for WriteFence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.state.lock().fmt(f)
    }
}

/// A write that has not reached every observer yet; it ends when dropped.
#[derive(Debug)]
pub struct Write(WriteFence);

impl Drop for Write {
    fn drop(&mut self) {
        let fires = self.0.0.state.lock().end_write();
        self.0.fire_if(fires);
    }
}
