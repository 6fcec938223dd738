//! The special keys, and which objects have only such keys.

use super::Object;

pub(super) const DATE: &str = "$date";
pub(super) const REGEXP: &str = "$regexp";
pub(super) const FLAGS: &str = "$flags";
pub(super) const INF_NAN: &str = "$InfNaN";
pub(super) const BINARY: &str = "$binary";
pub(super) const ESCAPE: &str = "$escape";
pub(super) const TYPE: &str = "$type";
pub(super) const VALUE: &str = "$value";

/// The name of the newtype struct in which values of this module pass through serde.
///
/// Its content is already in wire form: our serializer must not escape it, and our deserializer
/// provides wire form for it. Other formats ignore the name, and so treat the wire form as ordinary
/// data.
pub(super) const NEWTYPE: &str = "$ddp_core::ejson";

/// The meaning of an object with exactly the right keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    Date,
    RegExp,
    InfNan,
    Binary,
    Escape,
    Custom,
}

/// The set of keys found in an object.
///
/// A set, because serializers may write a key twice, which JavaScript counts once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keys(u16);

impl Keys {
    const DATE: u16 = 1;
    const REGEXP: u16 = 1 << 1;
    const FLAGS: u16 = 1 << 2;
    const INF_NAN: u16 = 1 << 3;
    const BINARY: u16 = 1 << 4;
    const ESCAPE: u16 = 1 << 5;
    const TYPE: u16 = 1 << 6;
    const VALUE: u16 = 1 << 7;
    const OTHER: u16 = 1 << 8;

    pub(super) fn insert(&mut self, key: &str) {
        self.0 |= match key {
            DATE => Self::DATE,
            REGEXP => Self::REGEXP,
            FLAGS => Self::FLAGS,
            INF_NAN => Self::INF_NAN,
            BINARY => Self::BINARY,
            ESCAPE => Self::ESCAPE,
            TYPE => Self::TYPE,
            VALUE => Self::VALUE,
            _ => Self::OTHER,
        };
    }

    /// Whether there are keys without a special meaning.
    pub(super) fn has_other(self) -> bool {
        self.0 & Self::OTHER != 0
    }

    /// What an object with exactly these keys is read as, if not as an object.
    pub(super) fn tag(self) -> Option<Tag> {
        match self.0 {
            Self::DATE => Some(Tag::Date),
            Self::INF_NAN => Some(Tag::InfNan),
            Self::BINARY => Some(Tag::Binary),
            Self::ESCAPE => Some(Tag::Escape),
            keys if keys == Self::REGEXP | Self::FLAGS => Some(Tag::RegExp),
            keys if keys == Self::TYPE | Self::VALUE => Some(Tag::Custom),
            _ => None,
        }
    }
}

/// What this object is read as in JSON, if not as an object.
pub(super) fn tag(object: &Object) -> Option<Tag> {
    if object.len() > 2 {
        return None;
    }
    let mut keys = Keys::default();
    for key in object.keys() {
        keys.insert(key);
    }
    keys.tag()
}
