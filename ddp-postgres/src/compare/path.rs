//! Paths into JSON.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Splits a dotted name into the field and the path into it.
pub(crate) fn split(name: &str) -> (&str, Option<&str>) {
    name.split_once('.').map_or((name, None), |(field, path)| (field, Some(path)))
}

/// The JSON at a path, or nothing if the path leads nowhere. `None` if the text is not JSON.
pub(super) fn find<'a>(json: &'a str, path: &str) -> Option<Option<&'a str>> {
    let mut found = json.trim();
    for step in path.split('.') {
        let value = match found.as_bytes().first()? {
            b'{' => read(found, Key(step))?,
            b'[' => match index(step) {
                Some(number) => at(found, number)?,
                None => None,
            },
            _ => None,
        };
        let Some(value) = value else { return Some(None) };
        found = value.trim();
    }
    Some(Some(found))
}

fn at(array: &str, number: i32) -> Option<Option<&str>> {
    if let Ok(index) = usize::try_from(number) {
        return read(array, Index(index));
    }
    let elements: Vec<&RawValue> = serde_json::from_str(array).ok()?;
    let from_end = usize::try_from(number.unsigned_abs()).ok()?;
    Some(elements.len().checked_sub(from_end).map(|index| elements[index].get()))
}

/// The index of an element, parsed as by C's `strtol`.
fn index(step: &str) -> Option<i32> {
    let step = step.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let digits = step.strip_prefix(['+', '-']).unwrap_or(step);
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    // No array is long enough for `-2147483648`.
    is_number.then(|| step.parse().ok()).flatten().filter(|number| *number != i32::MIN)
}

fn read<'a, S>(json: &'a str, seed: S) -> Option<Option<&'a str>>
where
    S: DeserializeSeed<'a, Value = Option<&'a RawValue>>,
{
    let mut deserializer = serde_json::Deserializer::from_str(json);
    seed.deserialize(&mut deserializer).ok().map(|value| value.map(RawValue::get))
}

/// The last value of this key: `json` may contain it several times.
struct Key<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_key) = map.next_key_seed(Operator(self.0))? {
            if is_key {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct Operator<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Operator<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Operator<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

struct Index(usize);

impl<'de> DeserializeSeed<'de> for Index {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Index {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        for _ in 0..self.0 {
            if elements.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = elements.next_element()?;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_into_objects_and_arrays() {
        let json =
            r#" {"a": {"b": [1, {"c": "x"}, 3]}, "": {"": 5}, "a.b": 6, "d": null, "d": true} "#;
        for (path, found) in [
            ("a.b.0", Some("1")),
            ("a.b.1.c", Some("\"x\"")),
            ("a.b.-1", Some("3")),
            ("a.b. +2", Some("3")),
            ("a.b.3", None),
            ("a.b.-4", None),
            ("a.b.1 ", None),
            ("a.b.0x1", None),
            ("a.b.99999999999", None),
            ("a.0", None),
            ("a.b.0.c", None),
            (".", Some("5")),
            ("d", Some("true")),
            ("e", None),
        ] {
            assert_eq!(find(json, path), Some(found), "{path}");
        }
        assert_eq!(find("{\"a\":", "a"), None);
        assert_eq!(find("7", "a"), Some(None));
        assert_eq!(split("a.b.c"), ("a", Some("b.c")));
    }
}
