//! Whether an argument may be left out.

use serde_json::Value;

/// Whether a schema allows `null`, which is what an argument that is left out counts as.
pub(super) fn is_nullable(schema: &Value) -> bool {
    allows(schema, schema, DEPTH_MAX)
}

/// Deeper references are those of a schema that names itself.
const DEPTH_MAX: usize = 32;

/// `root` has the definitions.
fn allows(schema: &Value, root: &Value, depth: usize) -> bool {
    let Some(object) = schema.as_object() else { return schema == &Value::Bool(true) };
    let Some(depth) = depth.checked_sub(1) else { return false };
    let allow = |schema: &Value| allows(schema, root, depth);
    object.iter().all(|(keyword, value)| match (keyword.as_str(), value) {
        ("type", Value::Array(types)) => types.iter().any(|one| one == "null"),
        ("type", one) => one == "null",
        ("const", one) => one.is_null(),
        ("enum", Value::Array(values)) => values.contains(&Value::Null),
        ("anyOf" | "oneOf", Value::Array(schemas)) => schemas.iter().any(allow),
        ("allOf", Value::Array(schemas)) => schemas.iter().all(allow),
        ("not", schema) => !allow(schema),
        ("$ref", Value::String(reference)) => {
            let definition = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
            definition.is_some_and(allow)
        }
        // What else there is describes the schema, or values of one type.
        _ => true,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn null_is_allowed_where_nothing_forbids_it() {
        for (schema, expected) in [
            (json!(true), true),
            (json!(false), false),
            (json!({"description": "anything"}), true),
            (json!({"type": "string"}), false),
            (json!({"type": ["string", "null"], "maxLength": 3}), true),
            (json!({"const": "a"}), false),
            (json!({"enum": ["a", null]}), true),
            (json!({"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}], "$defs": {}}), true),
            (json!({"oneOf": [{"const": 1}, {"const": 2}]}), false),
            (json!({"allOf": [{"type": "null"}, {"type": "string"}]}), false),
            (json!({"not": {"type": "null"}}), false),
            (json!({"$ref": "#/$defs/A", "$defs": {"A": {"type": ["null", "integer"]}}}), true),
            (json!({"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}}), false),
            (json!({"$ref": "#/$defs/B"}), false),
        ] {
            assert_eq!(is_nullable(&schema), expected, "{schema}");
        }
    }
}
