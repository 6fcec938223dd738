//! From a document's changes to messages.

use super::io::{Direct, Outgoing, Place};
use crate::id::DocumentId;
use crate::message::encode::{FieldList, push_added_before, push_difference, push_moved_before};
use crate::snapshot::CollectionName;

impl Direct {
    /// Passes the messages to `send`: none if nothing differs, two if a document that the client
    /// has both changes and moves.
    pub fn send(&self, send: &mut impl FnMut(Outgoing)) {
        let before: Option<FieldList<'_>> = self.before.as_ref().map(|d| d.iter().collect());
        let after: Option<FieldList<'_>> = self.after.as_ref().map(|d| d.iter().collect());
        let (before, after) = (before.as_ref(), after.as_ref());
        match &self.place {
            None => send_change(&self.collection, &self.id, before, after, send),
            Some(place) => send_placed(&self.collection, &self.id, place, before, after, send),
        }
    }
}

/// Sends the messages for a change of a document.
pub(super) fn send_change(
    collection: &CollectionName,
    id: &DocumentId,
    before: Option<&FieldList<'_>>,
    after: Option<&FieldList<'_>>,
    send: &mut impl FnMut(Outgoing),
) {
    let mut text = String::new();
    if push_difference(&mut text, collection, id, before, after) {
        send(Outgoing::Text(text));
    }
}

/// Sends the messages for a change of a document and its place.
pub(super) fn send_placed(
    collection: &CollectionName,
    id: &DocumentId,
    place: &Place,
    before: Option<&FieldList<'_>>,
    after: Option<&FieldList<'_>>,
    send: &mut impl FnMut(Outgoing),
) {
    let mut text = String::new();
    match (before, after) {
        (None, Some(fields)) => push_added_before(&mut text, collection, id, fields, place.next()),
        (Some(_), Some(_)) => {
            send_change(collection, id, before, after, send);
            push_moved_before(&mut text, collection, id, place.next());
        }
        (_, None) => return send_change(collection, id, before, after, send),
    }
    send(Outgoing::Text(text));
}
