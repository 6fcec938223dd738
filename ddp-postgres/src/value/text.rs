//! Text and JSON within rows.

use ddp_core::ejson;

/// Appends JSON text so that a client gets exactly this JSON: an object that EJSON would take for
/// something else, such as `{"$date": 0}`, is wrapped in `$escape`. JSON nested deeper than
/// [`ejson::NESTING_MAX`] is passed on as it is.
pub(super) fn escape_json(raw: &str, out: &mut String) {
    let start = out.len();
    if ejson::escape_json(raw, out).is_err() {
        out.truncate(start);
        out.push_str(raw);
    }
}

/// The inside of a JSON string that needs no escapes.
pub(super) fn plain_string(raw: &str) -> Option<&str> {
    let text = raw.strip_prefix('"')?.strip_suffix('"')?;
    (!text.contains(['\\', '"'])).then_some(text)
}
