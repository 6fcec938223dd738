//! Arrays of one or more dimensions.

use serde_json::value::RawValue;

use super::{ValueError, ValueKind, escape_json};

/// PostgreSQL's arrays have at most six dimensions, more only by domains over arrays.
const DIMENSIONS_MAX: usize = 32;

pub(super) fn encode(element: &ValueKind, raw: &str, out: &mut String) -> Result<(), ValueError> {
    match element {
        // An element may be an array itself, which cannot be told from a dimension and is
        // encoded like one.
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
        return super::encode(element, raw, out);
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
