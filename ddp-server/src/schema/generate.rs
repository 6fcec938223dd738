//! Makes schemas of types, and takes them apart by arguments.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::signature::Param;

/// Where references lead.
const DEFINITIONS: &str = "#/$defs/";

/// The schema of what is sent to clients; `None` if it may be anything.
pub(super) fn output<T: JsonSchema>() -> Option<Value> {
    let document = Document::of::<T>(SchemaSettings::draft2020_12().for_serialize());
    document.alone(&document.schema)
}

/// Adds the schemas of the arguments that are read as a `T`.
pub(super) fn add_params<T: JsonSchema>(params: &mut [Param]) {
    let document = Document::of::<T>(SchemaSettings::draft2020_12().for_deserialize());
    let whole = document.resolve(&document.schema);
    if let Some(Value::Array(items)) = whole.get("prefixItems") {
        for (param, item) in params.iter_mut().zip(items) {
            param.schema = document.alone(item);
        }
    } else if let Some(Value::Object(properties)) = whole.get("properties") {
        // With aliases serde does not say which names belong together; the schema has the main ones.
        if params.len() == properties.len() && params.iter().all(|param| param.name.is_none()) {
            let names = properties.keys().map(|name| Some(name.clone()));
            params.iter_mut().zip(names).for_each(|(param, name)| param.name = name);
        }
        for param in params {
            let property = param.name.as_ref().and_then(|name| properties.get(name));
            param.schema = property.and_then(|property| document.alone(property));
        }
    }
}

/// A schema with the definitions that it refers to.
struct Document {
    schema: Value,
    definitions: Map<String, Value>,
}

impl Document {
    fn of<T: JsonSchema>(settings: SchemaSettings) -> Self {
        let mut generator = settings.into_generator();
        let schema = generator.subschema_for::<T>().to_value();
        Self { schema, definitions: generator.take_definitions(true) }
    }

    /// What a schema is that only refers to another one.
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let mut schema = schema;
        // A chain of references is no longer than there are definitions.
        for _ in 0..self.definitions.len() {
            let Some(name) = schema.get("$ref").and_then(definition) else { break };
            let Some(next) = self.definitions.get(name) else { break };
            schema = next;
        }
        schema
    }

    /// A part of the document with those definitions that it needs; `None` if it may be anything.
    fn alone(&self, part: &Value) -> Option<Value> {
        if *part == Value::Bool(true) {
            return None;
        }
        let mut needed = Vec::new();
        self.note_needed(part, &mut needed);
        let mut part = part.clone();
        if let (Value::Object(schema), false) = (&mut part, needed.is_empty()) {
            let definitions = self.definitions.iter();
            let definitions = definitions.filter(|(name, _)| needed.contains(&name.as_str()));
            let definitions: Map<String, Value> =
                definitions.map(|(name, schema)| (name.clone(), schema.clone())).collect();
            schema.insert("$defs".to_owned(), definitions.into());
        }
        Some(part)
    }

    /// Notes the names of all definitions that a part refers to, by others as well.
    fn note_needed<'a>(&'a self, part: &'a Value, needed: &mut Vec<&'a str>) {
        match part {
            Value::Object(object) => {
                if let Some(name) = object.get("$ref").and_then(definition) {
                    match self.definitions.get_key_value(name) {
                        Some((name, _)) if needed.contains(&name.as_str()) => {}
                        Some((name, schema)) => {
                            needed.push(name);
                            self.note_needed(schema, needed);
                        }
                        // A name with escapes. It is there, under whichever name.
                        None => needed.extend(self.definitions.keys().map(String::as_str)),
                    }
                }
                object.values().for_each(|value| self.note_needed(value, needed));
            }
            Value::Array(array) => array.iter().for_each(|value| self.note_needed(value, needed)),
            _ => {}
        }
    }
}

/// The name of the definition that a reference leads to. That of a type hardly ever needs escapes.
fn definition(reference: &Value) -> Option<&str> {
    reference.as_str()?.strip_prefix(DEFINITIONS)
}
