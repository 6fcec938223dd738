//! A subscription of a test's client.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use ddp_core::DdpError;
use ddp_core::ejson::Ejson;
use tokio::sync::mpsc;

use super::socket::{Outgoing, send};
use super::state::{Shared, Standing};

/// A subscription that has become ready. Dropped, it goes on until the client does not.
///
/// ```
/// use ddp_server::testing::Client;
/// use ddp_server::{Collection, Error, MemoryCollection, Server, State};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Word {
///     text: String,
/// }
/// const WORDS: Collection<Word> = Collection::new("words");
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let words = MemoryCollection::new(&WORDS);
/// words.insert(&Word { text: "meteor".to_owned() })?;
/// let server = Server::builder()
///     .publish("words", async |State(words): State<MemoryCollection<Word>>| words.find())
///     .with_state(words);
///
/// let client = Client::connect(&server).await;
/// let subscription = client.subscribe("words", ()).await?;
/// assert_eq!(client.documents(&WORDS).len(), 1);
/// subscription.unsubscribe().await;
/// assert!(client.documents(&WORDS).is_empty());
/// # Ok(())
/// # }
/// ```
pub struct Subscription {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    pub(super) outgoing: mpsc::WeakSender<Outgoing>,
}

impl Subscription {
    /// The client's id of it, which is in the messages `sub`, `ready` and `nosub`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Ends the subscription, and waits until its documents are gone. One that the server has
    /// stopped already is left alone.
    ///
    /// # Panics
    /// If the server does not answer in time, or the connection ends before.
    #[track_caller]
    pub fn unsubscribe(self) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            if self.stopped_with().is_some() {
                return;
            }
            let what = format!("the end of subscription {}, {:?}", self.id, self.name);
            let Some(outgoing) = self.outgoing.upgrade() else {
                panic!("{caller}: the client is closed, and its subscriptions with it");
            };
            let message = Ejson::object([("msg", "unsub"), ("id", &self.id)]);
            send(&self.shared, &outgoing, &message, &what, caller).await;
            drop(outgoing);
            self.shared.wait(what, caller, || self.stopped_with()).await;
        }
    }

    /// Waits until the server ends the subscription, by a publication's `stop` or with an error.
    ///
    /// # Panics
    /// If it does not in time, or the connection ends before.
    #[track_caller]
    pub fn stopped(&self) -> impl Future<Output = Option<DdpError>> {
        let caller = Location::caller();
        let what = format!("the server to stop subscription {}, {:?}", self.id, self.name);
        async move { self.shared.wait(what, caller, || self.stopped_with()).await }
    }

    /// Whether it has ended; with what error, if there was one.
    fn stopped_with(&self) -> Option<Option<DdpError>> {
        match self.shared.look().subscriptions.get(&self.id) {
            Some(Standing::Stopped(error)) => Some(error.clone()),
            _ => None,
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
