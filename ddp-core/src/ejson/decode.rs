//! From wire form to values.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::wire::{self, Tag};
use super::{Date, DecodeError, Ejson, Object, json};

/// Meteor's decoder ignores both padding and surplus bits in the last digit.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// How much of a regular expression's flags is considered, as in Meteor.
const FLAGS_MAX: usize = 50;

/// Reads EJSON text, as `EJSON.parse` does.
///
/// Custom types need not be registered: the value becomes an [`Ejson::Custom`]. A lone surrogate in
/// a string becomes U+FFFD, and a number beyond a double's range becomes infinite.
///
/// # Errors
///
/// If the text is not JSON or nested deeper than [`NESTING_MAX`](super::NESTING_MAX), or if a
/// tagged object is malformed in a way that makes Meteor throw, such as a `$binary` that is not
/// base64.
pub fn parse(text: &str) -> Result<Ejson, DecodeError> {
    let (mut value, tagged) = json::parse(text)?;
    if tagged {
        interpret(&mut value)?;
    }
    Ok(value)
}

/// Reads JSON text as it is, as `JSON.parse` does: `{"$date": 0}` is an object with a key.
/// [`Ejson::from_json_value`] would make a date of it.
///
/// ```
/// use ddp_core::ejson;
///
/// let plain = ejson::parse_json(r#"{"$date":{"$numberLong":"0"}}"#)?;
/// assert_eq!(plain.get("$date").and_then(|date| date.get("$numberLong")?.as_str()), Some("0"));
/// # Ok::<(), ejson::DecodeError>(())
/// ```
///
/// # Errors
///
/// If the text is not JSON, or nested deeper than [`NESTING_MAX`](super::NESTING_MAX).
pub fn parse_json(text: &str) -> Result<Ejson, DecodeError> {
    json::parse(text).map(|(value, _)| value)
}

impl Ejson {
    /// Converts a value from its wire form, like `EJSON.fromJSONValue`: objects with the right keys
    /// become dates and so on. Values that are not plain JSON are left unchanged.
    ///
    /// # Errors
    ///
    /// As for [`parse`].
    pub fn from_json_value(mut value: Self) -> Result<Self, DecodeError> {
        interpret(&mut value)?;
        Ok(value)
    }
}

pub(super) fn interpret(value: &mut Ejson) -> Result<(), DecodeError> {
    match value {
        Ejson::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                interpret(item).map_err(|error| error.at_index(index))?;
            }
        }
        Ejson::Object(object) => match wire::tag(object) {
            Some(tag) => *value = tagged(tag, object)?,
            None => interpret_members(object)?,
        },
        _ => {}
    }
    Ok(())
}

fn interpret_members(object: &mut Object) -> Result<(), DecodeError> {
    for (key, value) in object {
        interpret(value).map_err(|error| error.at_key(key))?;
    }
    Ok(())
}

/// The value of an object with this tag's keys; takes the members out of the object.
fn tagged(tag: Tag, object: &mut Object) -> Result<Ejson, DecodeError> {
    let mut take = |key| object.get_mut(key).map(std::mem::take).unwrap_or_default();
    match tag {
        Tag::Date => Ok(Ejson::Date(date(&take(wire::DATE)))),
        Tag::InfNan => Ok(Ejson::Number(infinite(&take(wire::INF_NAN)))),
        Tag::Binary => {
            let text = string(take(wire::BINARY), wire::BINARY)?;
            let bytes = BASE64.decode(text);
            let bytes = bytes.map_err(|_| DecodeError::new("$binary is not base64"))?;
            Ok(Ejson::Binary(bytes))
        }
        Tag::RegExp => {
            let source = string(take(wire::REGEXP), wire::REGEXP)?;
            let flags = flags(&string(take(wire::FLAGS), wire::FLAGS)?);
            Ok(Ejson::RegExp { source, flags })
        }
        Tag::Custom => {
            let type_name = string(take(wire::TYPE), wire::TYPE)?;
            Ok(Ejson::Custom { type_name, value: Box::new(take(wire::VALUE)) })
        }
        Tag::Escape => match take(wire::ESCAPE) {
            Ejson::Object(mut inner) => {
                interpret_members(&mut inner)?;
                Ok(Ejson::Object(inner))
            }
            other => Err(mismatch("object", &other).at_key(wire::ESCAPE)),
        },
    }
}

/// Whether a `$binary` with this string can be read.
pub(super) fn is_base64(text: &str) -> bool {
    /// Four digits are three bytes, so any part of so many digits can be read for itself.
    const DIGITS: usize = 1024;
    let mut bytes = [0; DIGITS];
    let mut rest = text.as_bytes();
    // What is left for the end includes all padding.
    while let Some((part, more)) = rest.split_at_checked(DIGITS)
        && more.len() >= DIGITS
    {
        if part.contains(&b'=') || BASE64.decode_slice(part, &mut bytes).is_err() {
            return false;
        }
        rest = more;
    }
    let mut bytes = [0; 2 * DIGITS];
    BASE64.decode_slice(rest, &mut bytes).is_ok()
}

fn string(value: Ejson, key: &str) -> Result<String, DecodeError> {
    match value {
        Ejson::String(string) => Ok(string),
        other => Err(mismatch("string", &other).at_key(key)),
    }
}

pub(super) fn mismatch(expected: &str, got: &Ejson) -> DecodeError {
    DecodeError::new(format!("expected {expected}, got {}", got.kind()))
}

/// The result of `new Date(value)`. Arrays and objects give the invalid date, although JavaScript
/// would accept an array of one number.
fn date(value: &Ejson) -> Date {
    match value {
        Ejson::Null => Date::from_millis(0),
        Ejson::Bool(value) => Date::from_millis((*value).into()),
        Ejson::Number(millis) => Date::from_millis_f64(*millis),
        Ejson::String(text) => Date::from_iso(text).unwrap_or(Date::INVALID),
        _ => Date::INVALID,
    }
}

/// The result of `value / 0`: infinite with the number's sign, otherwise NaN.
fn infinite(value: &Ejson) -> f64 {
    let number = match value {
        Ejson::Bool(true) => 1.0,
        Ejson::Number(number) => *number,
        Ejson::String(text) => text.trim().parse().unwrap_or(0.0),
        _ => 0.0,
    };
    number / 0.0
}

/// The flags that Meteor knows, each once, in JavaScript's order.
fn flags(text: &str) -> String {
    let known = |flag: &char| text.chars().take(FLAGS_MAX).any(|given| given == *flag);
    ['g', 'i', 'm', 'u', 'y'].into_iter().filter(known).collect()
}
