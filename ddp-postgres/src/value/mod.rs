//! PostgreSQL's values as EJSON.
//!
//! The database writes every row by `to_json`, in triggers and in queries alike, and this module
//! turns the JSON text of one column into the EJSON text that clients get:
//!
//! | PostgreSQL | EJSON |
//! |---|---|
//! | `NULL` of any type | `null` |
//! | `boolean` | `true`, `false` |
//! | `smallint`, `integer` | number |
//! | `bigint` | number up to 2^53 − 1 either way, a string of its digits beyond |
//! | `real`, `double precision` | number; `NaN` and infinities as `{"$InfNaN": 0 \| 1 \| -1}` |
//! | `numeric` | number if 15 significant digits suffice, so that a JavaScript number holds it exactly; a string of all digits otherwise; `NaN` and infinities as above |
//! | `text`, `varchar`, `char`, `uuid`, enums, ranges, `inet`, `time`, `money`, … | string, as PostgreSQL writes it |
//! | `json`, `jsonb` | what is stored, with EJSON's special objects escaped |
//! | the same, marked as EJSON | what is stored |
//! | `bytea` | `{"$binary": base64}` |
//! | `date` | string `"2024-02-29"`; by option a `$date` at midnight UTC |
//! | `timestamp` | `{"$date": milliseconds}`, read as UTC |
//! | `timestamptz` | `{"$date": milliseconds}` |
//! | `interval` | string in ISO 8601, such as `"P1DT2H"` |
//! | arrays | array, nested for several dimensions |
//! | domains | as the type that they are based on |
//! | composites, `hstore` | object, as `to_json` writes it, escaped like JSON |
//!
//! Milliseconds are rounded down, before 1970 as well. Infinite times become `$InfNaN`, and times
//! that JavaScript's `Date` cannot hold (beyond the year 275760) a string.

mod array;
mod number;
mod time;

pub(crate) use time::{
    date_days, date_text, microseconds, time_microseconds, time_text, timestamp_text,
    within_calendar,
};

use ddp_core::ejson;

/// How the values of a column become EJSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueKind {
    /// `boolean`.
    Boolean,
    /// `smallint` and `integer`.
    Integer,
    /// `bigint`.
    BigInteger,
    /// `real` and `double precision`.
    Float,
    /// `numeric`.
    Numeric,
    /// Text, and every type without a rule of its own.
    Text,
    /// `json` and `jsonb`, composites, and what else `to_json` writes as an object.
    Json,
    /// `json` and `jsonb` that hold EJSON.
    Ejson,
    /// `bytea`, which the row's SQL has encoded as base64.
    Binary,
    /// `bytea` inside of an array, which PostgreSQL has written in hexadecimal.
    BinaryHex,
    /// `date` as a string.
    Date,
    /// `date` as a `$date` at midnight UTC.
    DateAsDate,
    /// `timestamp` and `timestamptz`.
    Timestamp,
    /// `interval`.
    Interval,
    /// An array of any number of dimensions.
    Array(Box<Self>),
}

impl ValueKind {
    /// Whether different values become different EJSON: JavaScript's times have no microseconds.
    pub(crate) fn is_exact(&self) -> bool {
        match self {
            Self::Timestamp => false,
            Self::Array(element) => element.is_exact(),
            _ => true,
        }
    }
}

/// A column's JSON text that PostgreSQL does not write for a column of this kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected value of a {kind:?} column: {text}")]
pub struct ValueError {
    kind: ValueKind,
    text: String,
}

impl ValueError {
    /// An excerpt is enough to find the mistake, and does not fill a log.
    fn new(kind: &ValueKind, raw: &str) -> Self {
        Self { kind: kind.clone(), text: raw.chars().take(60).collect() }
    }
}

/// Appends JSON text so that a client gets exactly this JSON: an object that EJSON would take for
/// something else, such as `{"$date": 0}`, is wrapped in `$escape`. JSON nested deeper than
/// [`ejson::NESTING_MAX`] is passed on as it is.
fn escape_json(raw: &str, out: &mut String) {
    let start = out.len();
    if ejson::escape_json(raw, out).is_err() {
        out.truncate(start);
        out.push_str(raw);
    }
}

/// Appends the EJSON text of a value that `to_json` wrote as the JSON text `raw`.
///
/// # Errors
///
/// If the text is none that PostgreSQL writes for the kind. `out` may hold a part of a value then.
pub fn encode(kind: &ValueKind, raw: &str, out: &mut String) -> Result<(), ValueError> {
    if raw == "null" {
        out.push_str(raw);
        return Ok(());
    }
    let encoded = match kind {
        ValueKind::Boolean => matches!(raw, "true" | "false").then(|| out.push_str(raw)),
        ValueKind::Integer => number::integer(raw, out),
        ValueKind::BigInteger => number::big_integer(raw, out),
        ValueKind::Float => number::float(raw, out),
        ValueKind::Numeric => number::numeric(raw, out),
        ValueKind::Text | ValueKind::Date | ValueKind::Interval if raw.starts_with('"') => {
            out.push_str(raw);
            Some(())
        }
        ValueKind::Text | ValueKind::Json => {
            escape_json(raw, out);
            Some(())
        }
        ValueKind::Date | ValueKind::Interval => None,
        ValueKind::Ejson => {
            out.push_str(raw);
            Some(())
        }
        ValueKind::Binary => binary(raw, out),
        ValueKind::BinaryHex => binary_hex(raw, out),
        ValueKind::DateAsDate | ValueKind::Timestamp => time::instant(raw, out),
        ValueKind::Array(element) => return array::encode(element, raw, out),
    };
    encoded.ok_or_else(|| ValueError::new(kind, raw))
}

/// The inside of a JSON string that needs no escapes.
fn plain_string(raw: &str) -> Option<&str> {
    let text = raw.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains(['\\', '"'])).then_some(text)
}

fn binary(raw: &str, out: &mut String) -> Option<()> {
    let base64 = plain_string(raw)?;
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    if !base64.bytes().all(alphabet) {
        return None;
    }
    push_binary(base64, out);
    Some(())
}

/// The bytes of a `bytea`, whichever way they are written.
pub(crate) fn bytes(raw: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    if raw.contains('\\') {
        return hex_bytes(raw);
    }
    base64::engine::general_purpose::STANDARD.decode(plain_string(raw)?).ok()
}

fn binary_hex(raw: &str, out: &mut String) -> Option<()> {
    use base64::Engine as _;
    push_binary(&base64::engine::general_purpose::STANDARD.encode(hex_bytes(raw)?), out);
    Some(())
}

fn hex_bytes(raw: &str) -> Option<Vec<u8>> {
    let hex = raw.strip_prefix(r#""\\x"#)?.strip_suffix('"')?;
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

fn push_binary(base64: &str, out: &mut String) {
    out.push_str(r#"{"$binary":""#);
    out.push_str(base64);
    out.push_str(r#""}"#);
}

#[cfg(test)]
mod tests;
