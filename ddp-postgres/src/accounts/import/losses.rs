//! What of a document is not kept.

use std::collections::BTreeSet;

use ddp_server::ejson::Ejson;

/// The most characters of a field's name that are reported.
const NAME_CHARS_MAX: usize = 120;

/// Why a field is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Why {
    NoColumn,
    Form,
    Type,
    Nul,
    Rounded,
    NoKey,
    Unsealed,
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
            Self::Rounded => "it is an integer beyond 2^53, which EJSON rounds",
            Self::NoKey => "it is secret, and there is no key to encrypt it with",
            Self::Unsealed => "it is stored as it is, for there is no key to encrypt it with",
            Self::Sealed => "it is encrypted, and not with the key that was given",
            Self::TooMany => "the user has more of them than are kept: the newest are",
            Self::Twice => "the user has it twice, but for upper and lower case",
            Self::Taken => "it is there already",
        }
    }

    /// Whether another key would help.
    pub(super) const fn is_of_key(self) -> bool {
        matches!(self, Self::NoKey | Self::Unsealed | Self::Sealed)
    }
}

/// The fields of one document that are not kept, and what its user loses by that.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses {
    pub(super) fields: BTreeSet<(String, Why)>,
    pub(super) notes: Vec<&'static str>,
}

impl Losses {
    /// A field, by its path.
    pub(super) fn field(&mut self, path: &str, why: Why) {
        if let Some(note) = login_lacks(path).filter(|_| why != Why::Twice) {
            self.note(note);
        }
        self.fields.insert((path.chars().take(NAME_CHARS_MAX).collect(), why));
    }

    /// Adds what else is not kept.
    pub(super) fn extend(&mut self, more: Self) {
        self.fields.extend(more.fields);
        for note in more.notes {
            self.note(note);
        }
    }

    /// What the user lacks, once.
    pub(super) fn note(&mut self, note: &'static str) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
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

/// What a login lacks without the field at a path.
fn login_lacks(path: &str) -> Option<&'static str> {
    match path {
        "username" => Some("its username is not kept"),
        "emails" | "emails.address" => Some("an address of it is not kept"),
        "services" => Some("none of its services is kept"),
        "services.password" | "services.password.bcrypt" | "services.password.argon2" => {
            Some("its password is not kept: the user has to set a new one")
        }
        "services.resume"
        | "services.resume.loginTokens"
        | "services.resume.loginTokens.hashedToken"
        | "services.resume.loginTokens.token"
        | "services.resume.loginTokens.when" => Some("not all of its login tokens are kept"),
        path if is_service_id(path) => Some("its id at a login service is not kept"),
        _ => None,
    }
}

/// Whether a path is that of a user's id at a login service: `services.google.id`.
pub(super) fn is_service_id(path: &str) -> bool {
    let name = path.strip_prefix("services.").and_then(|path| path.strip_suffix(".id"));
    name.is_some_and(|name| !name.contains('.'))
}
