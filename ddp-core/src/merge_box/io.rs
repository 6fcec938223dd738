//! A merge box's input and output.

use std::sync::Arc;

use crate::document::Document;
use crate::id::{DocumentId, LiveQueryKey};
use crate::snapshot::{CollectionName, Delta};

/// Something to send to the client.
#[derive(Clone, Debug)]
pub enum Outgoing {
    /// One message of this session alone.
    Text(String),
    /// The messages of a delta unchanged, shared with other sessions.
    Shared(Arc<Delta>),
}

/// Where a subscription's documents of a collection come from. A publication may return a cursor
/// and also add documents of the same collection by hand; each has its own versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// The publication adds, changes and removes them itself.
    ByHand,
    /// A cursor whose steps this subscription alone gets, such as one that is read once.
    Cursor,
    /// A live query. All subscriptions of a session that show it share its versions, so that each
    /// of its steps need be [told](super::MergeBox::step) only once.
    LiveQuery(LiveQueryKey),
}

/// A place in an ordered collection, for the messages `addedBefore` and `movedBefore`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Right before this document.
    Before(DocumentId),
    /// After all others.
    End,
}

impl Place {
    /// The place before this document, or the end if there is none.
    #[must_use]
    pub fn before(next: Option<DocumentId>) -> Self {
        next.map_or(Self::End, Self::Before)
    }

    /// The document that comes next; `None` at the end.
    #[must_use]
    pub fn next(&self) -> Option<&DocumentId> {
        match self {
            Self::Before(next) => Some(next),
            Self::End => None,
        }
    }
}

/// A document's place in its collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The collection.
    pub collection: CollectionName,
    /// The document.
    pub id: DocumentId,
    /// Where it goes.
    pub place: Place,
}

/// A publication's change to one document of a collection without history
/// ([`PublicationStrategy::NoMergeNoHistory`](super::PublicationStrategy::NoMergeNoHistory)).
///
/// The client is sent whatever turns `before` into `after`. Only the publication knows what the
/// client has, so `before` may be as little as the fields that are to be cleared.
///
/// ```
/// use ddp_core::merge_box::{Direct, Outgoing};
/// use ddp_core::{Document, DocumentId};
///
/// let direct = Direct {
///     collection: "queue".into(),
///     id: DocumentId::from_string("a"),
///     before: None,
///     after: Document::from_fields([("n".into(), "1")]),
///     place: None,
/// };
/// let mut sent = Vec::new();
/// direct.send(&mut |outgoing| sent.push(outgoing));
/// let [Outgoing::Text(text)] = &*sent else { panic!("one message") };
/// assert_eq!(text, r#"{"msg":"added","collection":"queue","id":"a","fields":{"n":1}}"#);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    /// The collection.
    pub collection: CollectionName,
    /// The document.
    pub id: DocumentId,
    /// What the client has; `None` if the document is new to it.
    pub before: Option<Document>,
    /// What it should have; `None` if the document is gone.
    pub after: Option<Document>,
    /// Where the document goes, in a collection whose documents have places.
    pub place: Option<Place>,
}
