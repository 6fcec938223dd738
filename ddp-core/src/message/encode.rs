//! From messages to text.

use crate::document::FieldName;
use crate::id::DocumentId;

/// A document's visible fields in order, each with its EJSON text.
pub(crate) type FieldList<'a> = Vec<(&'a FieldName, &'a str)>;

/// Writes a JSON string as `JSON.stringify` does.
pub(crate) fn push_string(out: &mut String, text: &str) {
    if text.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        // Writing a string to memory cannot fail, so the fallback is never used.
        out.push_str(&serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned()));
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

/// Writes the message that turns one version of a document into the next at the client: `added`,
/// `changed` with the fields that differ and those `cleared`, or `removed`. Writes nothing and
/// returns false if there is no difference.
pub(crate) fn push_difference(
    out: &mut String,
    collection: &str,
    id: &DocumentId,
    before: Option<&FieldList<'_>>,
    after: Option<&FieldList<'_>>,
) -> bool {
    match (before, after) {
        (None, None) => return false,
        (None, Some(fields)) => {
            push_head(out, "added", collection, id);
            push_fields(out, fields.iter().copied());
        }
        (Some(_), None) => push_head(out, "removed", collection, id),
        (Some(before), Some(after)) => {
            let changed = || after.iter().copied().filter(|field| !has(before, field));
            let cleared =
                || before.iter().filter(|(name, _)| !after.iter().any(|(other, _)| other == name));
            if changed().next().is_none() && cleared().next().is_none() {
                return false;
            }
            push_head(out, "changed", collection, id);
            push_fields(out, changed());
            for (index, (name, _)) in cleared().enumerate() {
                out.push_str(if index == 0 { r#","cleared":["# } else { "," });
                push_string(out, name);
            }
            if cleared().next().is_some() {
                out.push(']');
            }
        }
    }
    out.push('}');
    true
}

/// Writes `addedBefore`: a new document, placed before `next` or at the end.
pub(crate) fn push_added_before(
    out: &mut String,
    collection: &str,
    id: &DocumentId,
    fields: &FieldList<'_>,
    next: Option<&DocumentId>,
) {
    push_head(out, "addedBefore", collection, id);
    push_fields(out, fields.iter().copied());
    push_place(out, next);
}

/// Writes `movedBefore`: a document moves to the place before `next` or to the end.
pub(crate) fn push_moved_before(
    out: &mut String,
    collection: &str,
    id: &DocumentId,
    next: Option<&DocumentId>,
) {
    push_head(out, "movedBefore", collection, id);
    push_place(out, next);
}

fn push_place(out: &mut String, next: Option<&DocumentId>) {
    out.push_str(r#","before":"#);
    match next {
        Some(next) => push_string(out, next.as_str()),
        None => out.push_str("null"),
    }
    out.push('}');
}

/// Whether a list has this field with this value.
fn has(fields: &FieldList<'_>, field: &(&FieldName, &str)) -> bool {
    fields.iter().any(|other| other == field)
}

fn push_head(out: &mut String, msg: &str, collection: &str, id: &DocumentId) {
    out.push_str(r#"{"msg":""#);
    out.push_str(msg);
    out.push_str(r#"","collection":"#);
    push_string(out, collection);
    out.push_str(r#","id":"#);
    push_string(out, id.as_str());
}

/// Writes `fields`, which Meteor omits when it is empty.
fn push_fields<'a>(out: &mut String, fields: impl Iterator<Item = (&'a FieldName, &'a str)>) {
    let mut any = false;
    for (name, value) in fields {
        out.push_str(if any { "," } else { r#","fields":{"# });
        any = true;
        push_string(out, name);
        out.push(':');
        out.push_str(value);
    }
    if any {
        out.push('}');
    }
}
