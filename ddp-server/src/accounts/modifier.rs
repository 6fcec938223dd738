//! MongoDB's update operators, as far as clients may use them: `$set`, `$unset`, `$inc`, `$push`,
//! `$addToSet` and `$pull`, on fields and on paths through objects and arrays.

use crate::ejson::{Ejson, Object};
use crate::error::Error;

/// The most values of `$each`: each one of `$addToSet` is compared with all that is there.
const EACH_MAX: usize = 1000;

/// The most names in a path.
const PATH_NAMES_MAX: usize = 32;

const NO_REPLACE: &str = "Access denied. In a restricted collection you can only update documents, \
    not replace them. Use a Mongo update operator, such as '$set'.";

/// One change: an operator, a path and what belongs to it.
#[derive(Debug)]
pub(super) struct Change {
    operator: Operator,
    path: Vec<String>,
    value: Ejson,
}

#[derive(Clone, Copy, Debug)]
enum Operator {
    Set,
    Unset,
    Inc,
    Push,
    AddToSet,
    Pull,
}

impl Operator {
    fn find(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "$set" => Self::Set,
            "$unset" => Self::Unset,
            "$inc" => Self::Inc,
            "$push" => Self::Push,
            "$addToSet" => Self::AddToSet,
            "$pull" => Self::Pull,
            _ if name.starts_with('$') => {
                let why = format!(
                    "Access denied. Operator {name} not allowed in a restricted collection."
                );
                return Err(Error::client(403, why));
            }
            _ => return Err(Error::client(403, NO_REPLACE)),
        })
    }
}

impl Change {
    /// The changes that a modifier asks for: at least one.
    pub(super) fn read(modifier: Ejson) -> Result<Vec<Self>, Error> {
        let Ejson::Object(modifier) = modifier else { return Err(Error::client(403, NO_REPLACE)) };
        let mut changes = Vec::new();
        for (name, fields) in modifier {
            let operator = Operator::find(&name)?;
            let Ejson::Object(fields) = fields else {
                return Err(refused(&format!("{name} needs an object")));
            };
            for (path, value) in fields {
                let path: Vec<String> = path.split('.').map(str::to_owned).collect();
                if path.len() > PATH_NAMES_MAX {
                    return Err(refused("a path is too long"));
                }
                if path.iter().any(|name| name.is_empty() || name.starts_with('$')) {
                    return Err(refused("a field has no name, or one that begins with $"));
                }
                changes.push(Self { operator, path, value });
            }
        }
        if changes.is_empty() {
            return Err(Error::client(403, NO_REPLACE));
        }
        Ok(changes)
    }

    /// The field that it changes, or changes something in.
    pub(super) fn field(&self) -> &str {
        &self.path[0]
    }

    /// Makes the change.
    pub(super) fn apply(&self, document: &mut Object) -> Result<(), Error> {
        let (last, parents) = self.path.split_last().expect("a path has a name");
        let mut at = Place::Object(document);
        for name in parents {
            match at.step(name, matches!(self.operator, Operator::Unset | Operator::Pull))? {
                Some(next) => at = next,
                // There is nothing to be taken away.
                None => return Ok(()),
            }
        }
        match self.operator {
            Operator::Unset => {
                at.unset(last);
                Ok(())
            }
            Operator::Pull if at.get(last).is_none() => Ok(()),
            _ => self.change(at.entry(last)?, last),
        }
    }

    fn change(&self, place: &mut Ejson, name: &str) -> Result<(), Error> {
        match (self.operator, &mut *place) {
            (Operator::Set, _) => *place = self.value.clone(),
            (Operator::Inc, old) => {
                let old = if old.is_null() { Some(0.0) } else { old.as_f64() };
                let (Some(old), Some(amount)) = (old, self.value.as_f64()) else {
                    return Err(refused(&format!(
                        "$inc: '{name}' or its increment is not a number"
                    )));
                };
                *place = (old + amount).into();
            }
            (Operator::Push | Operator::AddToSet, Ejson::Null) => {
                *place = Ejson::Array(Vec::new());
                return self.change(place, name);
            }
            (Operator::Push, Ejson::Array(elements)) => elements.extend(self.each()?.cloned()),
            (Operator::AddToSet, Ejson::Array(elements)) => {
                for element in self.each()? {
                    if !elements.contains(element) {
                        elements.push(element.clone());
                    }
                }
            }
            (Operator::Pull, Ejson::Array(elements)) => {
                if has_operators(&self.value) {
                    return Err(refused("$pull takes a value here, no condition"));
                }
                elements.retain(|element| *element != self.value);
            }
            _ => return Err(refused(&format!("'{name}' is no array"))),
        }
        Ok(())
    }

    /// The values to be added: one, or those of `$each`.
    fn each(&self) -> Result<impl Iterator<Item = &Ejson>, Error> {
        let values = match self.value.as_object() {
            Some(object) if has_operators(&self.value) => {
                let each = object.get("$each").filter(|_| object.len() == 1);
                each.and_then(Ejson::as_array).ok_or_else(|| refused("only $each is known here"))?
            }
            _ => std::slice::from_ref(&self.value),
        };
        if values.len() > EACH_MAX {
            return Err(refused("$each has at most 1,000 values"));
        }
        Ok(values.iter())
    }
}

fn has_operators(value: &Ejson) -> bool {
    value.as_object().is_some_and(|object| object.keys().any(|key| key.starts_with('$')))
}

fn refused(why: &str) -> Error {
    Error::client(409, format!("This update is not possible: {why}"))
}

/// What a name of a path is looked up in.
enum Place<'a> {
    Object(&'a mut Object),
    Array(&'a mut Vec<Ejson>),
}

impl<'a> Place<'a> {
    fn get(&self, name: &str) -> Option<&Ejson> {
        match self {
            Self::Object(object) => object.get(name),
            Self::Array(array) => array.get(name.parse::<usize>().ok()?),
        }
    }

    /// What has this name; `null` if there was nothing. An array grows by its next element only.
    fn entry(self, name: &str) -> Result<&'a mut Ejson, Error> {
        match self {
            Self::Object(object) => Ok(object.entry(name.to_owned()).or_insert(Ejson::Null)),
            Self::Array(array) => {
                let index = name.parse::<usize>().ok().filter(|index| *index <= array.len());
                let Some(index) = index else {
                    return Err(refused(&format!("'{name}' is no place of an array")));
                };
                if index == array.len() {
                    array.push(Ejson::Null);
                }
                Ok(&mut array[index])
            }
        }
    }

    /// Takes away what has this name. In an array `null` remains, as in MongoDB.
    fn unset(self, name: &str) {
        match self {
            Self::Object(object) => {
                object.shift_remove(name);
            }
            Self::Array(array) => {
                let index = name.parse::<usize>().ok();
                if let Some(place) = index.and_then(|index| array.get_mut(index)) {
                    *place = Ejson::Null;
                }
            }
        }
    }

    /// What is in this name, which becomes an object if it is not there. `None` if that is of no use.
    fn step(self, name: &str, only_if_there: bool) -> Result<Option<Self>, Error> {
        if only_if_there && self.get(name).is_none() {
            return Ok(None);
        }
        let inner = self.entry(name)?;
        if inner.is_null() && !only_if_there {
            *inner = Ejson::Object(Object::new());
        }
        match inner {
            Ejson::Object(object) => Ok(Some(Place::Object(object))),
            Ejson::Array(array) => Ok(Some(Place::Array(array))),
            _ if only_if_there => Ok(None),
            _ => Err(refused(&format!("'{name}' is no object"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ejson::to_value;

    fn change(document: &Value, modifier: &Value) -> Result<Value, String> {
        let Ejson::Object(mut document) = to_value(document).unwrap() else { unreachable!() };
        let changes =
            Change::read(to_value(modifier).unwrap()).map_err(|error| error.to_string())?;
        for change in &changes {
            change.apply(&mut document).map_err(|error| error.to_string())?;
        }
        Ok(serde_json::from_str(&Ejson::Object(document).to_text()).unwrap())
    }

    #[test]
    fn operators_do_what_mongodb_does() {
        let document = json!({"a": {"n": 1, "list": [1, 2, 2]}});
        for (modifier, expected) in [
            (json!({"$set": {"a.n": 2}}), json!({"a": {"n": 2, "list": [1, 2, 2]}})),
            (json!({"$set": {"b.c": 1}}), json!({"a": document["a"], "b": {"c": 1}})),
            (json!({"$set": {"a.list.1": 5}}), json!({"a": {"n": 1, "list": [1, 5, 2]}})),
            (json!({"$unset": {"a.n": ""}}), json!({"a": {"list": [1, 2, 2]}})),
            (json!({"$unset": {"x.y": ""}}), document.clone()),
            (json!({"$unset": {"a.list.0": ""}}), json!({"a": {"n": 1, "list": [null, 2, 2]}})),
            (
                json!({"$inc": {"a.n": 2, "a.m": 1}}),
                json!({"a": {"n": 3, "list": [1, 2, 2], "m": 1}}),
            ),
            (json!({"$push": {"a.list": 3}}), json!({"a": {"n": 1, "list": [1, 2, 2, 3]}})),
            (
                json!({"$push": {"a.new": {"$each": [1, 1]}}}),
                json!({"a": {"n": 1, "list": [1, 2, 2], "new": [1, 1]}}),
            ),
            (
                json!({"$addToSet": {"a.list": {"$each": [2, 3]}}}),
                json!({"a": {"n": 1, "list": [1, 2, 2, 3]}}),
            ),
            (json!({"$pull": {"a.list": 2}}), json!({"a": {"n": 1, "list": [1]}})),
            (json!({"$pull": {"a.none": 2}}), document.clone()),
        ] {
            assert_eq!(change(&document, &modifier), Ok(expected), "{modifier}");
        }
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let document = json!({"a": {"n": "text", "list": []}});
        let long = vec!["a"; PATH_NAMES_MAX + 1].join(".");
        for (modifier, expected) in [
            (json!({}), "[403]"),
            (json!({"$set": {}}), "[403]"),
            (json!({"name": "x"}), "[403]"),
            (json!([]), "[403]"),
            (json!({"$rename": {"a": "b"}}), "[403]"),
            (json!({"$set": 1}), "[409]"),
            (json!({"$set": {"": 1}}), "[409]"),
            (json!({"$set": {"a..b": 1}}), "[409]"),
            (json!({"$set": {"a.$where": 1}}), "[409]"),
            (json!({"$set": {(long): 1}}), "[409]"),
            (json!({"$set": {"a.n.x": 1}}), "[409]"),
            (json!({"$set": {"a.list.7": 1}}), "[409]"),
            (json!({"$inc": {"a.n": 1}}), "[409]"),
            (json!({"$push": {"a.n": 1}}), "[409]"),
            (json!({"$push": {"a.list": {"$each": [1], "$slice": 1}}}), "[409]"),
            (json!({"$pull": {"a.list": {"$gt": 1}}}), "[409]"),
        ] {
            let error = change(&document, &modifier).expect_err("it is refused");
            assert!(error.ends_with(expected), "{modifier}: {error}");
        }
    }
}
