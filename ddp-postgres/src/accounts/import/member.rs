//! Members of documents, by what they ought to be.

use ddp_server::ejson::{Date, Ejson, Object};

use super::losses::{Losses, Why};

/// The longest id, address, and id at a login service, in bytes.
pub(super) const ID_BYTES_MAX: usize = 256;

/// The first time that PostgreSQL knows, in 4714 BC.
const FIRST_MILLIS: i64 = -210_866_803_200_000;

/// Takes a member out of an object; null if it is not there.
pub(super) fn take(object: &mut Object, name: &str) -> Ejson {
    object.shift_remove(name).unwrap_or_default()
}

/// A date that PostgreSQL can keep. Meteor had some as numbers.
pub(super) fn date(value: &Ejson) -> Option<Date> {
    let date = match value {
        Ejson::Date(date) => *date,
        Ejson::Number(millis) => Date::from_millis_f64(*millis),
        Ejson::String(text) => Date::from_iso(text)?,
        _ => return None,
    };
    date.millis().filter(|millis| *millis >= FIRST_MILLIS).map(|_| date)
}

/// A text that is not empty, of so many bytes at most.
pub(super) fn text(value: &Ejson, bytes_max: usize) -> Option<&str> {
    value.as_str().filter(|text| (1..=bytes_max).contains(&text.len()))
}

/// The members of an object, if there is one.
pub(super) fn object(value: Ejson, path: &str, losses: &mut Losses) -> Option<Object> {
    match value {
        Ejson::Object(object) => Some(object),
        Ejson::Null => None,
        _ => {
            losses.field(path, Why::Form);
            None
        }
    }
}

/// The items of an array, if there is one.
pub(super) fn items(value: Ejson, path: &str, losses: &mut Losses) -> Vec<Ejson> {
    match value {
        Ejson::Array(items) => items,
        Ejson::Null => Vec::new(),
        _ => {
            losses.field(path, Why::Form);
            Vec::new()
        }
    }
}
