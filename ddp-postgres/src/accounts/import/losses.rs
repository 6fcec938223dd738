//! What of a document is not kept.

use std::collections::BTreeMap;

use ddp_server::ejson::Ejson;

/// The most characters of a field's name that are reported.
const NAME_CHARS_MAX: usize = 120;

/// Why a field is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    NoColumn,
    Form,
    Type,
    Nul,
    NoKey,
    Sealed,
    TooMany,
    Twice,
    Taken,
}

impl Why {
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::NoColumn => "there is no column for it",
            Self::Form => "it does not have the form that Meteor gives it",
            Self::Type => "EJSON has no such type",
            Self::Nul => "PostgreSQL keeps no text with a NUL in it",
            Self::NoKey => "it is secret, and there is no key to encrypt it with",
            Self::Sealed => "it is encrypted, and not with the key that was given",
            Self::TooMany => "the user has more of them than are kept: the newest are",
            Self::Twice => "the user has it twice, but for upper and lower case",
            Self::Taken => "it is there already",
        }
    }
}

/// The fields of one document that are not kept, and what its user loses by that.
#[derive(Debug, Default)]
pub(super) struct Losses {
    pub(super) fields: BTreeMap<String, Why>,
    pub(super) notes: Vec<&'static str>,
}

impl Losses {
    /// A field, by its path.
    pub(super) fn field(&mut self, path: &str, why: Why) {
        let name: String = path.chars().take(NAME_CHARS_MAX).collect();
        self.fields.entry(name).or_insert(why);
    }

    /// Those fields of an object that nothing was made of.
    pub(super) fn rest<'a>(
        &mut self,
        path: &str,
        members: impl IntoIterator<Item = (&'a String, &'a Ejson)>,
    ) {
        for (name, value) in members {
            if !value.is_null() {
                self.field(&format!("{path}{name}"), Why::NoColumn);
            }
        }
    }
}
