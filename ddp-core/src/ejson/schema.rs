//! The JSON Schemas of EJSON's types in their wire form.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Binary, Custom, CustomType, Date, Decimal, Ejson, ObjectId, wire};

/// Anything.
impl JsonSchema for Ejson {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "EJSON".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        true.into()
    }
}

impl JsonSchema for Date {
    fn schema_name() -> Cow<'static, str> {
        "Date".into()
    }

    fn schema_id() -> Cow<'static, str> {
        "ddp_core::ejson::Date".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Milliseconds since 1970-01-01; null for an invalid date.",
            "type": "object",
            "properties": {wire::DATE: {"type": ["integer", "null"]}},
            "required": [wire::DATE],
            "additionalProperties": false,
        })
    }
}

impl JsonSchema for Binary {
    fn schema_name() -> Cow<'static, str> {
        "Binary".into()
    }

    fn schema_id() -> Cow<'static, str> {
        "ddp_core::ejson::Binary".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "properties": {wire::BINARY: {"type": "string", "contentEncoding": "base64"}},
            "required": [wire::BINARY],
            "additionalProperties": false,
        })
    }
}

impl JsonSchema for ObjectId {
    fn schema_name() -> Cow<'static, str> {
        "ObjectID".into()
    }

    fn schema_id() -> Cow<'static, str> {
        "ddp_core::ejson::ObjectId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        custom(Self::NAME, json_schema!({"type": "string", "pattern": "^[0-9a-fA-F]{24}$"}))
    }
}

impl JsonSchema for Decimal {
    fn schema_name() -> Cow<'static, str> {
        "Decimal".into()
    }

    fn schema_id() -> Cow<'static, str> {
        "ddp_core::ejson::Decimal".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        custom(Self::NAME, json_schema!({"type": "string"}))
    }
}

/// Its value may be anything.
impl<T: CustomType> JsonSchema for Custom<T> {
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn schema_id() -> Cow<'static, str> {
        format!("ddp_core::ejson::Custom<{}>", T::NAME).into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        custom(T::NAME, true.into())
    }
}

fn custom(name: &str, value: Schema) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {wire::TYPE: {"const": name}, wire::VALUE: value},
        "required": [wire::TYPE, wire::VALUE],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::ejson::to_text;

    /// Whether a value has the keys and types that its schema demands.
    fn fits(schema: &Schema, value: &str) -> bool {
        let Value::Object(value) = serde_json::from_str(value).unwrap() else { return false };
        let properties = schema.get("properties").unwrap().as_object().unwrap();
        let required = schema.get("required").unwrap().as_array().unwrap();
        let is_of_type = |schema: &Value, value: &Value| match schema["type"].as_str() {
            Some("string") => value.is_string(),
            Some(_) => false,
            None => schema.get("const").is_none_or(|expected| expected == value),
        };
        required.len() == value.len()
            && required.iter().all(|name| value.contains_key(name.as_str().unwrap()))
            && value.iter().all(|(name, value)| is_of_type(&properties[name], value))
    }

    #[test]
    fn schemas_are_those_of_what_is_written() {
        struct Distance;
        impl CustomType for Distance {
            const NAME: &'static str = "Distance";

            fn to_value(&self) -> Ejson {
                Ejson::Number(5.0)
            }

            fn from_value(_: &Ejson) -> Option<Self> {
                Some(Self)
            }
        }
        fn check<T: JsonSchema + serde::Serialize>(value: &T) {
            let schema = SchemaGenerator::default().into_root_schema_for::<T>();
            let text = to_text(value).unwrap();
            assert!(fits(&schema, &text), "{text} is not {}", schema.as_value());
        }
        check(&Date::from_millis(5));
        check(&Binary(vec![1, 2]));
        check(&ObjectId::from_bytes([7; 12]));
        check(&"0.10".parse::<Decimal>().unwrap());
        check(&Custom(Distance));
        let anything = SchemaGenerator::default().subschema_for::<Ejson>();
        assert_eq!(anything.as_bool(), Some(true));
    }
}
