//! A live query that the server itself follows.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ddp_core::{CollectionName, DdpError, Delta, Document, DocumentChange, DocumentId, Snapshot};
use futures::Stream;
use futures::task::AtomicWaker;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use super::observer::{Observation, Observer};
use super::sink::{Sink, Step};
use super::source::DataSource;
use super::typed::typed;
use crate::error::Error;
use crate::query::Query;

/// If this many steps are waiting, or this many bytes of documents in them, only the difference to
/// the newest state is kept.
const STEPS_MAX: usize = 64;
const STEPS_BYTES_MAX: usize = 1024 * 1024;

/// What happened to a document that a [`Changes`] follows.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Observed<T> {
    /// It now matches the query; at first, every match is reported like this.
    Added {
        /// The document's id.
        id: DocumentId,
        /// The document.
        document: T,
    },
    /// Something in it changed.
    Changed {
        /// The document's id.
        id: DocumentId,
        /// What it is now.
        document: T,
        /// What it was.
        old_document: T,
    },
    /// It no longer matches the query.
    Removed {
        /// The document's id.
        id: DocumentId,
        /// What it was.
        old_document: T,
    },
}

/// The changes of a live query's documents, for the server itself: the stream that
/// [`Cursor::observe`](crate::Cursor::observe) gives.
///
/// A reader that falls behind skips steps: once 64 of them, or 1 MiB of documents, are waiting, it
/// gets the difference to the newest state instead. The same happens after a gap in the source's
/// changes. The reported changes always add up to the query's result.
///
/// The query is observed until this is dropped.
///
/// ```
/// use ddp_server::{Collection, Error, MemoryCollection};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let visits = MemoryCollection::new(&Collection::<()>::new("visits"));
/// let changes = visits.find().observe().await?;
/// assert_eq!(changes.count(), 0);
/// # Ok(())
/// # }
/// ```
pub struct Changes<T> {
    inbox: Arc<Inbox>,
    collection: CollectionName,
    /// The documents as reported so far, including the changes in `told`.
    shown: Snapshot,
    told: VecDeque<DocumentChange>,
    has_ended: bool,
    documents: PhantomData<fn() -> T>,
    _observation: Observation,
}

/// Where the steps wait for the reader.
#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct State {
    steps: VecDeque<Arc<Delta>>,
    bytes: usize,
    /// The state after the last step received.
    newest: Snapshot,
    /// Whether steps were left out.
    is_lagging: bool,
    failure: Option<DdpError>,
}

impl<T> Changes<T> {
    /// Starts following a query; done when its documents are there.
    pub(super) async fn begin(source: &dyn DataSource, query: &Query) -> Result<Self, Error> {
        let inbox = Arc::new(Inbox::default());
        let observer = Observer::new(Arc::clone(&inbox) as _, 0);
        let observation = source.observe(query, observer).await?;
        Ok(Self {
            inbox,
            collection: query.collection.clone(),
            shown: Snapshot::default(),
            told: VecDeque::new(),
            has_ended: false,
            documents: PhantomData,
            _observation: observation,
        })
    }

    /// How many documents match the query now, reported or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.inbox.state.lock().newest.len()
    }
}

impl<T: DeserializeOwned> Changes<T> {
    /// The next change; `None` after an error of the query, which ends it.
    ///
    /// # Errors
    /// A document that does not have the form of `T`, after which the stream goes on; or that the
    /// query cannot be kept up to date any more, after which it is over.
    pub async fn next(&mut self) -> Option<Result<Observed<T>, Error>> {
        poll_fn(|cx| self.poll_change(cx)).await
    }

    fn poll_change(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Observed<T>, Error>>> {
        loop {
            if let Some(change) = self.told.pop_front() {
                return Poll::Ready(Some(observed(&self.collection, &change)));
            }
            if self.has_ended {
                return Poll::Ready(None);
            }
            self.inbox.waker.register(cx.waker());
            let mut state = self.inbox.state.lock();
            if std::mem::take(&mut state.is_lagging) {
                let newest = state.newest.clone();
                // With many documents this takes a while, during which more changes may come.
                drop(state);
                self.told = self.shown.diff(&newest).into();
                self.shown = newest;
            } else if let Some(step) = state.steps.pop_front() {
                state.bytes -= bytes(&step);
                self.told.extend(step.changes().iter().cloned());
                self.shown = step.after().clone();
            } else if let Some(error) = state.failure.take() {
                self.has_ended = true;
                return Poll::Ready(Some(Err(error.into())));
            } else {
                return Poll::Pending;
            }
        }
    }
}

fn observed<T: DeserializeOwned>(
    collection: &str,
    change: &DocumentChange,
) -> Result<Observed<T>, Error> {
    let id = change.id.clone();
    let typed = |document: &Option<Arc<Document>>| {
        document.as_ref().map(|document| typed(collection, &id, document)).transpose()
    };
    let (document, old_document) = (typed(&change.after)?, typed(&change.before)?);
    match (document, old_document) {
        (Some(document), Some(old_document)) => {
            Ok(Observed::Changed { id, document, old_document })
        }
        (Some(document), None) => Ok(Observed::Added { id, document }),
        (None, Some(old_document)) => Ok(Observed::Removed { id, old_document }),
        (None, None) => Err(Error::internal("a change without a document")),
    }
}

/// The total length of the documents that a step keeps alive.
fn bytes(step: &Delta) -> usize {
    let documents = step.changes().iter().flat_map(|change| [&change.before, &change.after]);
    let fields = documents.flatten().flat_map(|document| document.iter());
    fields.map(|(_, value)| value.len()).sum()
}

impl Sink for Inbox {
    fn leave(&self, steps: &[Step<'_>]) -> bool {
        let mut state = self.state.lock();
        for Step { delta, .. } in steps {
            state.newest = delta.after().clone();
            if !state.is_lagging {
                state.bytes += bytes(delta);
                state.steps.push_back(Arc::clone(delta));
            }
        }
        if state.steps.len() > STEPS_MAX || state.bytes > STEPS_BYTES_MAX {
            // The first documents come as one step, however many there are.
            state.is_lagging = true;
            state.steps.clear();
            state.bytes = 0;
        }
        drop(state);
        self.waker.wake();
        false
    }

    fn fail(&self, _: u64, error: DdpError) {
        self.state.lock().failure = Some(error);
        self.waker.wake();
    }
}

impl<T: DeserializeOwned> Stream for Changes<T> {
    type Item = Result<Observed<T>, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_change(cx)
    }
}

impl<T> fmt::Debug for Changes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes").field("count", &self.count()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::collection::Collection;
    use crate::live_query::AnyCursor;
    use crate::memory::MemoryCollection;
    use crate::query::field;

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Task {
        list: String,
        done: bool,
        text: String,
    }

    fn task(list: &str, done: bool) -> Task {
        Task { list: list.to_owned(), done, text: String::new() }
    }

    fn tasks() -> MemoryCollection<Task> {
        MemoryCollection::new(&Collection::new("tasks"))
    }

    fn follow(tasks: &MemoryCollection<Task>) -> Changes<Task> {
        let home = tasks.find().filter(field("list").eq("home"));
        home.observe().now_or_never().expect("memory does not wait").unwrap()
    }

    fn next(changes: &mut Changes<Task>) -> Option<Observed<Task>> {
        changes.next().now_or_never().map(|change| change.expect("it goes on").unwrap())
    }

    #[test]
    fn what_is_there_comes_first_and_then_each_change() {
        let tasks = tasks();
        tasks.insert_with_id("a", &task("home", false)).unwrap();
        tasks.insert_with_id("b", &task("work", false)).unwrap();
        let mut changes = follow(&tasks);
        assert_eq!(changes.count(), 1);
        let id = DocumentId::from_string("a");
        let added = Observed::Added { id: id.clone(), document: task("home", false) };
        assert_eq!(next(&mut changes), Some(added));
        assert_eq!(next(&mut changes), None);
        tasks.update("a", |task| task.done = true).unwrap();
        tasks.update("b", |task| task.done = true).unwrap();
        tasks.update("a", |task| task.list = "work".to_owned()).unwrap();
        let (old_document, document) = (task("home", false), task("home", true));
        let changed = Observed::Changed { id: id.clone(), document, old_document };
        assert_eq!(next(&mut changes), Some(changed));
        let removed = Observed::Removed { id, old_document: task("home", true) };
        assert_eq!(next(&mut changes), Some(removed));
        assert_eq!((next(&mut changes), changes.count()), (None, 0));
    }

    #[test]
    fn a_reader_that_does_not_keep_up_gets_the_difference() {
        let tasks = tasks();
        tasks.insert_with_id("a", &task("home", false)).unwrap();
        let mut changes = follow(&tasks);
        assert!(next(&mut changes).is_some());
        for number in 0..=STEPS_MAX {
            tasks.update("a", |task| task.text = number.to_string()).unwrap();
        }
        tasks.insert_with_id("b", &task("home", true)).unwrap();
        assert!(changes.inbox.state.lock().steps.is_empty(), "they are not kept");
        let last = Task { text: STEPS_MAX.to_string(), ..task("home", false) };
        let old_document = task("home", false);
        let id = DocumentId::from_string("a");
        assert_eq!(
            next(&mut changes),
            Some(Observed::Changed { id, document: last, old_document })
        );
        assert!(matches!(next(&mut changes), Some(Observed::Added { .. })));
        assert_eq!(next(&mut changes), None);
        // From here on each step counts again.
        tasks.remove("b");
        assert!(matches!(next(&mut changes), Some(Observed::Removed { .. })));
    }

    #[test]
    fn long_documents_count_by_their_bytes() {
        let tasks = tasks();
        tasks.insert_with_id("a", &task("home", false)).unwrap();
        let mut changes = follow(&tasks);
        assert!(next(&mut changes).is_some());
        for letter in ["a", "b", "c"] {
            tasks.update("a", |task| task.text = letter.repeat(STEPS_BYTES_MAX / 3)).unwrap();
        }
        let state = changes.inbox.state.lock();
        assert!(state.is_lagging && state.bytes == 0);
        drop(state);
        let change = next(&mut changes);
        let is_last = |task: &Task| task.text.starts_with('c');
        assert!(matches!(change, Some(Observed::Changed { document, .. }) if is_last(&document)));
        assert_eq!(next(&mut changes), None);
    }

    #[test]
    fn a_query_that_fails_ends_the_stream_and_a_document_of_another_form_does_not() {
        let tasks = tasks();
        tasks.insert_with_id("a", &task("home", false)).unwrap();
        let AnyCursor { source, query, .. } = tasks.find().into();
        let begun = Changes::<u8>::begin(&*source, &query).now_or_never();
        let mut changes = begun.unwrap().unwrap();
        assert!(changes.next().now_or_never().unwrap().unwrap().is_err());
        assert!(changes.next().now_or_never().is_none(), "it goes on");
        changes.inbox.fail(0, DdpError::new("gone", "for a test"));
        assert!(changes.next().now_or_never().unwrap().unwrap().is_err());
        assert!(changes.next().now_or_never().unwrap().is_none(), "it is over");
    }
}
