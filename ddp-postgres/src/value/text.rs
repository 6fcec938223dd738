//! Text and JSON within rows.

use ddp_core::ejson;

/// Appends JSON text so that a client gets exactly this JSON: an object that EJSON would interpret,
/// such as `{"$date": 0}`, is wrapped in `$escape`. JSON nested deeper than [`ejson::NESTING_MAX`]
/// is passed on unchanged.
pub(super) fn escape_json(raw: &str, out: &mut String) {
    let start = out.len();
    if ejson::escape_json(raw, out).is_err() {
        out.truncate(start);
        out.push_str(raw);
    }
}

/// The contents of a JSON string without escapes.
pub(super) fn plain_string(raw: &str) -> Option<&str> {
    let text = raw.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains(['\\', '"'])).then_some(text)
}
