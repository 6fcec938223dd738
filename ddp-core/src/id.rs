//! Ids: of documents on the wire, and of a session's subscriptions and calls.
//!
//! A document's id is sent by the rules of Meteor's `mongo-id` package, so that a number arrives as
//! a number, and a string that merely looks like one stays a string:
//!
//! ```
//! use ddp_core::DocumentId;
//!
//! assert_eq!(DocumentId::from_string("Kc9ZbXWp4n3wCmdyv").as_str(), "Kc9ZbXWp4n3wCmdyv");
//! assert_eq!(DocumentId::from_integer(7).as_str(), "~7");
//! assert_eq!(DocumentId::from_string("~7").as_str(), "-~7");
//! ```
//!
//! Subscriptions and calls have keys in addition to the clients' ids, because clients may reuse an
//! id. A driver that stores keys elsewhere can hold them as numbers:
//!
//! ```
//! use ddp_core::SubscriptionKey;
//!
//! let key = SubscriptionKey::from(12);
//! assert_eq!(u64::from(key), 12);
//! ```

use std::fmt;
use std::sync::Arc;

/// Identifies one `sub` of a session for as long as the session lives. Clients may reuse their own
/// ids; keys are never reused.
///
/// A session treats an unknown key like that of an ended subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionKey(u64);

impl From<u64> for SubscriptionKey {
    fn from(key: u64) -> Self {
        Self(key)
    }
}

impl From<SubscriptionKey> for u64 {
    fn from(key: SubscriptionKey) -> Self {
        key.0
    }
}

/// Identifies a live query among all that may be shown to a session, whoever subscribed to it. The
/// same live query always has the same key, and no other ever gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LiveQueryKey(u64);

impl From<u64> for LiveQueryKey {
    fn from(key: u64) -> Self {
        Self(key)
    }
}

/// Identifies one `method` call of a session for as long as the session lives.
///
/// A session treats an unknown key like that of an ended call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallKey(u64);

impl From<u64> for CallKey {
    fn from(key: u64) -> Self {
        Self(key)
    }
}

impl From<CallKey> for u64 {
    fn from(key: CallKey) -> Self {
        key.0
    }
}

/// A document's id in the form used in the `id` field of DDP messages.
///
/// Meteor's clients decode it by the rules of `mongo-id`: bare 24-digit hex is an ObjectID, `~`
/// starts JSON, a leading `-` protects a string that would otherwise be taken for one of these, and
/// anything else is the string itself. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId(Arc<str>);

impl DocumentId {
    /// The id of a document whose `_id` is this string.
    #[must_use]
    pub fn from_string(id: &str) -> Self {
        let ambiguous = id.starts_with(['-', '~', '{']) || is_object_id(id);
        if ambiguous { Self(format!("-{id}").into()) } else { Self(id.into()) }
    }

    /// The id of a document whose `_id` is the number in this JSON text, such as `7`.
    #[must_use]
    pub fn from_number_text(number: &str) -> Self {
        Self(format!("~{number}").into())
    }

    /// The id of a document whose `_id` is this integer. Exact for clients up to 2^53 - 1.
    #[must_use]
    pub fn from_integer(id: i64) -> Self {
        Self::from_number_text(&id.to_string())
    }

    /// The id of a document whose `_id` is a Mongo ObjectID; `None` unless it is 24 hex digits.
    #[must_use]
    pub fn from_object_id(hex: &str) -> Option<Self> {
        let hex = hex.to_ascii_lowercase();
        is_object_id(&hex).then(|| Self(hex.into()))
    }

    /// An id that is already in its wire form, such as one that a client sent back.
    #[must_use]
    pub fn from_wire(id: &str) -> Self {
        Self(id.into())
    }

    /// The wire form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether Meteor reads a bare string of this form as an ObjectID.
fn is_object_id(id: &str) -> bool {
    id.len() == 24 && id.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'a'..=b'f'))
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_travel_by_the_rule_of_mongo_id() {
        for (id, wire) in [
            ("abc", "abc"),
            ("", ""),
            ("1", "1"),
            ("-a", "--a"),
            ("~1", "-~1"),
            ("{x", "-{x"),
            ("507f1f77bcf86cd799439011", "-507f1f77bcf86cd799439011"),
            ("507F1F77BCF86CD799439011", "507F1F77BCF86CD799439011"),
            ("507f1f77bcf86cd79943901", "507f1f77bcf86cd79943901"),
        ] {
            assert_eq!(DocumentId::from_string(id).as_str(), wire);
        }
        assert_eq!(DocumentId::from_integer(-7).as_str(), "~-7");
        let object_id = DocumentId::from_object_id("507F1f77bcf86cd799439011").unwrap();
        assert_eq!(object_id.as_str(), "507f1f77bcf86cd799439011");
        assert_eq!(DocumentId::from_object_id("507f"), None);
    }
}
