//! Column values as PostgreSQL wrote them, ready to compare.

use ddp_server::query::{Decimal, Value};
use serde_json::value::RawValue;

use super::comparable::Comparable;
use super::constant::is_numeric;
use super::path;
use crate::value::{bytes, date_days, time_microseconds};

/// PostgreSQL's arrays have at most six dimensions.
const DIMENSIONS_MAX: usize = 8;

impl Comparable {
    /// The value of a column, or at the path into it, from PostgreSQL's JSON text. `None` if it
    /// cannot be read here.
    pub(crate) fn value(&self, path: Option<&str>, json: &str) -> Option<Value> {
        if json == "null" {
            return Some(Value::Null);
        }
        Some(match self {
            Self::Boolean => Value::Bool(json.parse().ok()?),
            Self::Integer => Value::Int(json.parse().ok()?),
            Self::Real => Value::from(f64::from(number::<f32>(json)?)),
            Self::Double => Value::from(number::<f64>(json)?),
            Self::Numeric => Value::Decimal(json.trim_matches('"').parse().ok()?),
            Self::Text(_) | Self::Padded(_) | Self::Enum | Self::Uuid => Value::from(text(json)?),
            Self::Date => Value::Int(date_days(&text(json)?)?),
            Self::Time => Value::Int(time_microseconds(&text(json)?)?),
            Self::Timestamp | Self::TimestampTz => Value::Time(time(json)?),
            Self::Binary => Value::Binary(bytes(json)?.into()),
            Self::Json(_) => {
                let found = match path {
                    Some(path) => path::find(json, path)?,
                    None => Some(json),
                };
                found.map_or(Some(Value::Null), json_value)?
            }
            Self::Array(element) => {
                let mut elements = Vec::new();
                flatten(&element.comparable, json, DIMENSIONS_MAX, &mut elements)?;
                Value::List(elements.into())
            }
            Self::CiText | Self::Other => Value::Object,
        })
    }
}

/// The elements of an array of any number of dimensions, one after the other.
fn flatten(
    comparable: &Comparable,
    json: &str,
    dimensions: usize,
    elements: &mut Vec<Value>,
) -> Option<()> {
    if !json.starts_with('[') {
        elements.push(comparable.value_or_none(json)?);
        return Some(());
    }
    let inner: Vec<&RawValue> = serde_json::from_str(json).ok()?;
    let dimensions = dimensions.checked_sub(1)?;
    inner.into_iter().try_for_each(|json| flatten(comparable, json.get(), dimensions, elements))
}

impl Comparable {
    fn value_or_none(&self, json: &str) -> Option<Value> {
        let value = self.value(None, json)?;
        Some(match (self, &value) {
            (Self::Padded(_), Value::Text(text)) => Value::from(text.trim_end_matches(' ')),
            _ => value,
        })
    }
}

/// A value inside JSON. `None` if PostgreSQL might read it differently.
fn json_value(json: &str) -> Option<Value> {
    Some(match json.as_bytes().first()? {
        b'n' => Value::Null,
        b't' => Value::Bool(true),
        b'f' => Value::Bool(false),
        b'"' => Value::from(text(json).filter(|text| !text.contains('\0'))?),
        b'{' => Value::Object,
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(json).ok()?;
            let elements = elements.into_iter().map(|element| match element.get().as_bytes() {
                // Nothing equals an array or object.
                [b'[' | b'{', ..] => Some(Value::Object),
                _ => json_value(element.get()),
            });
            Value::List(elements.collect::<Option<_>>()?)
        }
        _ => Value::Decimal(json.parse().ok().filter(|number: &Decimal| is_numeric(number))?),
    })
}

fn text(json: &str) -> Option<String> {
    serde_json::from_str(json).ok()
}

/// A number, or one of the strings for numbers that JSON does not have.
fn number<T: std::str::FromStr>(json: &str) -> Option<T> {
    // Rust parses these strings as well.
    json.trim_matches('"').parse().ok()
}

/// Microseconds since 1970. Infinity is beyond all other times.
fn time(json: &str) -> Option<i64> {
    match json {
        "\"infinity\"" => Some(i64::MAX),
        "\"-infinity\"" => Some(i64::MIN),
        _ => crate::value::microseconds(json),
    }
}
