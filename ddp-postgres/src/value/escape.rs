//! JSON as EJSON that decodes to the same JSON.

use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Deeper JSON is passed on as it is: nothing that a client reads from there is a special object
/// by accident.
const DEPTH_MAX: usize = 100;

/// Appends JSON text so that a reader of EJSON gets exactly this JSON: an object that EJSON would
/// take for something else, such as `{"$date": 0}`, is wrapped in `$escape`.
pub(crate) fn escape_json(raw: &str, out: &mut String) {
    escape(raw, DEPTH_MAX, out);
}

fn escape(raw: &str, depth_left: usize, out: &mut String) {
    // The dollar sign may be written as a Unicode escape.
    if depth_left == 0 || !(raw.contains('$') || raw.contains("\\u0024")) {
        out.push_str(raw);
    } else if raw.starts_with('{')
        && let Some(members) = members(raw)
    {
        let special = is_special(&members);
        out.push_str(if special { r#"{"$escape":{"# } else { "{" });
        for (index, (name, value)) in members.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            push_string(name, out);
            out.push(':');
            escape(value.get(), depth_left - 1, out);
        }
        out.push_str(if special { "}}" } else { "}" });
    } else if raw.starts_with('[')
        && let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw)
    {
        out.push('[');
        for (index, element) in elements.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            escape(element.get(), depth_left - 1, out);
        }
        out.push(']');
    } else {
        out.push_str(raw);
    }
}

/// Whether EJSON has a meaning of its own for an object with these members.
fn is_special(members: &[(String, &RawValue)]) -> bool {
    let has = |name| members.iter().any(|(member, _)| member == name);
    match members.len() {
        1 => ["$date", "$InfNaN", "$binary", "$escape"].into_iter().any(has),
        2 => (has("$type") && has("$value")) || (has("$regexp") && has("$flags")),
        _ => false,
    }
}

fn push_string(text: &str, out: &mut String) {
    // A string has nothing in it that JSON cannot write.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

fn members(raw: &str) -> Option<Vec<(String, &RawValue)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    serde_json::Deserializer::from_str(raw).deserialize_map(Members).ok()
}
