//! Mongo's update operators, as far as the suite uses them: `$set`, `$unset`, `$inc` and `$push`,
//! on fields and on paths through objects.

use ddp_core::ejson::{Ejson, Object};
use ddp_server::Error;

fn refused(reason: String) -> Error {
    Error::client(409, reason)
}

/// Changes a document's fields.
pub(crate) fn apply(fields: &mut Object, modifier: &Ejson) -> Result<(), Error> {
    for (operator, changes) in modifier.as_object().into_iter().flatten() {
        for (path, value) in changes.as_object().into_iter().flatten() {
            change(fields, operator, path, value)?;
        }
    }
    Ok(())
}

fn change(fields: &mut Object, operator: &str, path: &str, value: &Ejson) -> Result<(), Error> {
    if let Some((first, rest)) = path.split_once('.') {
        if operator == "$unset" && !fields.contains_key(first) {
            return Ok(());
        }
        let inner = fields.entry(first.to_owned()).or_insert_with(|| Object::new().into());
        let Ejson::Object(inner) = inner else {
            return Err(refused(format!("'{first}' is no object")));
        };
        return change(inner, operator, rest, value);
    }
    match operator {
        "$set" => {
            fields.insert(path.to_owned(), value.clone());
        }
        "$unset" => {
            fields.shift_remove(path);
        }
        "$inc" => {
            let old = fields.get(path).map_or(Some(0.0), Ejson::as_f64);
            let (Some(old), Some(amount)) = (old, value.as_f64()) else {
                return Err(refused(format!("'{path}' or its increment is not a number")));
            };
            fields.insert(path.to_owned(), (old + amount).into());
        }
        "$push" => match fields.entry(path.to_owned()).or_insert_with(|| Ejson::Array(vec![])) {
            Ejson::Array(elements) => elements.push(value.clone()),
            _ => return Err(refused(format!("'{path}' is no array"))),
        },
        _ => return Err(Error::internal(format!("{operator} is not implemented here"))),
    }
    Ok(())
}
