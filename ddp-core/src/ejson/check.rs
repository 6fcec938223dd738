//! Whether a text can be read, without building what it says.

use std::borrow::Cow;
use std::collections::HashSet;

use super::DecodeError;
use super::decode::is_base64;
use super::json::{Build, Scalar, read_whole};
use super::wire::{self, Keys, Tag};

/// Checks that [`parse`](super::parse) can read the text, and returns whether it is an array. Takes
/// no more memory than a single string of the text, however many values there are.
///
/// # Errors
///
/// If [`parse`](super::parse) would fail.
pub(super) fn check(text: &str) -> Result<bool, DecodeError> {
    let checked = read_whole(text, &mut Checker::default())?;
    if checked.is_sound {
        Ok(checked.kind == Kind::Array)
    } else {
        Err(DecodeError::new("malformed EJSON"))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Array,
    Object,
    String { is_base64: bool },
    Other,
}

/// What matters of a value.
#[derive(Clone, Copy)]
struct Checked {
    kind: Kind,
    /// Whether it can be interpreted.
    is_sound: bool,
    /// The same if it is an object that has been escaped.
    is_sound_escaped: bool,
}

impl Checked {
    const fn sound(kind: Kind) -> Self {
        Self { kind, is_sound: true, is_sound_escaped: true }
    }

    const fn is_string(self) -> bool {
        matches!(self.kind, Kind::String { .. })
    }
}

#[derive(Default)]
struct Checker {
    /// Whether the value that comes next is that of `$binary`.
    is_binary: bool,
}

/// Of an unfinished array: whether all items so far are sound.
struct Items(bool);

/// Of an unfinished object. Its size does not grow with the object.
#[derive(Default)]
struct Members {
    keys: Keys,
    /// The values of special keys: the last ones, if there are several.
    first: Option<Checked>,
    second: Option<Checked>,
    /// The keys of members that are not sound. One that comes again may be sound then.
    unsound: HashSet<String>,
}

impl Build for Checker {
    type Value = Checked;
    type Array = Items;
    type Object = Members;

    fn scalar(&mut self, scalar: Scalar<'_>) -> Checked {
        let is_binary = std::mem::take(&mut self.is_binary);
        Checked::sound(match scalar {
            Scalar::String(string) => Kind::String { is_base64: is_binary && is_base64(&string) },
            _ => Kind::Other,
        })
    }

    fn begin_array(&mut self) -> Items {
        self.is_binary = false;
        Items(true)
    }

    fn item(&mut self, items: &mut Items, item: Checked) {
        items.0 &= item.is_sound;
    }

    fn end_array(&mut self, items: Items) -> Checked {
        Checked { is_sound: items.0, ..Checked::sound(Kind::Array) }
    }

    fn begin_object(&mut self) -> Members {
        self.is_binary = false;
        Members::default()
    }

    fn key(&mut self, key: &str) {
        self.is_binary = key == wire::BINARY;
    }

    fn member(&mut self, members: &mut Members, key: Cow<'_, str>, value: Checked) {
        members.keys.insert(&key);
        match &*key {
            wire::BINARY | wire::ESCAPE | wire::REGEXP | wire::TYPE => members.first = Some(value),
            wire::FLAGS => members.second = Some(value),
            _ => {}
        }
        if !value.is_sound {
            members.unsound.insert(key.into_owned());
        } else if !members.unsound.is_empty() {
            members.unsound.remove(&*key);
        }
    }

    fn end_object(&mut self, members: Members) -> Checked {
        let Members { keys, first, second, unsound } = members;
        let are_sound = unsound.is_empty();
        let is_string = |value: Option<Checked>| value.is_some_and(Checked::is_string);
        let is_sound = match keys.tag() {
            None => are_sound,
            Some(Tag::Date | Tag::InfNan) => true,
            Some(Tag::Binary) => {
                first.is_some_and(|value| value.kind == Kind::String { is_base64: true })
            }
            Some(Tag::RegExp) => is_string(first) && is_string(second),
            Some(Tag::Escape) => {
                first.is_some_and(|inner| inner.kind == Kind::Object && inner.is_sound_escaped)
            }
            Some(Tag::Custom) => is_string(first),
        };
        Checked { kind: Kind::Object, is_sound, is_sound_escaped: are_sound }
    }
}
