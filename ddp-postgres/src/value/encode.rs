//! Every kind of value, and arrays of them.

use serde_json::value::RawValue;

use super::binary::{binary, binary_hex};
use super::kind::{ValueError, ValueKind};
use super::text::escape_json;
use super::{number, time};

/// PostgreSQL's arrays have at most six dimensions; only domains over arrays add more.
const DIMENSIONS_MAX: usize = 32;

/// Appends the EJSON of a value, from the JSON text `raw` that `to_json` wrote.
///
/// # Errors
///
/// If PostgreSQL would not write such text for this kind. `out` may then hold part of a value.
pub fn encode(kind: &ValueKind, raw: &str, out: &mut String) -> Result<(), ValueError> {
    if raw == "null" {
        out.push_str(raw);
        return Ok(());
    }
    let encoded = match kind {
        ValueKind::Boolean => matches!(raw, "true" | "false").then(|| out.push_str(raw)),
        ValueKind::Integer => number::integer(raw, out),
        ValueKind::BigInteger => number::big_integer(raw, out),
        ValueKind::Id => number::id(raw, out),
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
        ValueKind::Array(element) => return array(element, raw, out),
    };
    encoded.ok_or_else(|| ValueError::new(kind, raw))
}

fn array(element: &ValueKind, raw: &str, out: &mut String) -> Result<(), ValueError> {
    match element {
        // An element that is itself an array cannot be told from a dimension, and is encoded like
        // one.
        ValueKind::Json => escape_json(raw, out),
        ValueKind::Ejson => out.push_str(raw),
        _ => nested(element, raw, DIMENSIONS_MAX, out)?,
    }
    Ok(())
}

fn nested(
    element: &ValueKind,
    raw: &str,
    dimensions_left: usize,
    out: &mut String,
) -> Result<(), ValueError> {
    if !raw.starts_with('[') {
        return encode(element, raw, out);
    }
    let malformed = || ValueError::new(&ValueKind::Array(Box::new(element.clone())), raw);
    if dimensions_left == 0 {
        return Err(malformed());
    }
    let elements: Vec<&RawValue> = serde_json::from_str(raw).map_err(|_| malformed())?;
    out.push('[');
    for (index, value) in elements.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        nested(element, value.get(), dimensions_left - 1, out)?;
    }
    out.push(']');
    Ok(())
}
