//! MongoDB's Extended JSON: what `mongoexport` writes, canonical or relaxed, and its version 1.
//!
//! | of version 2 | of version 1 | becomes |
//! |---|---|---|
//! | `{"$date": {"$numberLong": "0"}}`, `{"$date": "1970-01-01T00:00:00Z"}` | `{"$date": "1970-01-01T00:00:00.000+0000"}`, `{"$date": 0}` | a date |
//! | `{"$numberInt": "1"}`, `{"$numberLong": "1"}`, `{"$numberDouble": "1.5"}` | `{"$numberLong": "1"}` | a number |
//! | `{"$binary": {"base64": "AQ==", "subType": "00"}}` | `{"$binary": "AQ==", "$type": "00"}` | bytes |
//! | `{"$regularExpression": {"pattern": "a", "options": "i"}}` | `{"$regex": "a", "$options": "i"}` | a regular expression |
//! | `{"$oid": "…"}`, `{"$numberDecimal": "1.5"}` | the same | Meteor's `ObjectID`, `Decimal` |
//! | `{"$symbol": "a"}`, `{"$undefined": true}` | the same | a text, null |
//!
//! Meteor has its own way to store values of `EJSON.addType`: `{EJSON$type: "a", EJSON$value: …}`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ddp_server::ejson::{Date, Ejson, Object};

use super::losses::{Losses, Why, is_service_id};

/// What Meteor puts in front of names that MongoDB would not store.
const METEORS: &str = "EJSON";

/// Types that clients do not have.
const FOREIGN: [&str; 6] = ["$timestamp", "$minKey", "$maxKey", "$code", "$dbPointer", "$uuid"];

/// From here on numbers of EJSON leave integers out.
const SAFE_MAX: u64 = 1 << 53;

/// What an object with a special key is.
enum Special {
    Value(Ejson),
    /// An integer that numbers of EJSON cannot tell from its neighbours.
    Long(i64),
    /// A type that EJSON does not have, or a value that its type cannot have.
    Foreign,
}

/// The values of a document. What cannot be kept becomes null, and is noted by its path.
pub(super) fn document(members: Object, losses: &mut Losses) -> Object {
    object(members, &mut String::new(), losses)
}

fn value(plain: Ejson, path: &mut String, losses: &mut Losses) -> Ejson {
    match plain {
        Ejson::String(text) if text.contains('\0') => {
            losses.field(path, Why::Nul);
            Ejson::Null
        }
        Ejson::Array(items) => {
            Ejson::Array(items.into_iter().map(|item| value(item, path, losses)).collect())
        }
        Ejson::Object(members) => match special(&members) {
            Some(Special::Value(special)) if has_nul(&special) => {
                losses.field(path, Why::Nul);
                Ejson::Null
            }
            Some(Special::Value(special)) => special,
            Some(Special::Long(digits)) if is_service_id(path) => digits.to_string().into(),
            Some(Special::Long(digits)) => {
                losses.field(path, Why::Rounded);
                Ejson::Number(digits as f64)
            }
            Some(Special::Foreign) => {
                losses.field(path, Why::Type);
                Ejson::Null
            }
            None => custom(object(members, path, losses)),
        },
        // Its digits are lost already, and it may be somebody else's.
        Ejson::Number(number) if is_rounded(number) && is_service_id(path) => {
            losses.field(path, Why::Rounded);
            Ejson::Null
        }
        Ejson::Number(number) if is_rounded(number) => {
            losses.field(path, Why::Rounded);
            Ejson::Number(number)
        }
        other => other,
    }
}

/// Whether it is an integer that MongoDB can have and whose last digits may be lost.
fn is_rounded(number: f64) -> bool {
    number.fract() == 0.0 && (SAFE_MAX as f64..=i64::MAX as f64).contains(&number.abs())
}

fn object(members: Object, path: &mut String, losses: &mut Losses) -> Object {
    let mut values = Object::with_capacity(members.len());
    let length = path.len();
    for (name, member) in members {
        if name.contains('\0') {
            losses.field(path, Why::Nul);
            continue;
        }
        if length > 0 {
            path.push('.');
        }
        path.push_str(&name);
        let member = value(member, path, losses);
        path.truncate(length);
        values.insert(name, member);
    }
    values
}

fn has_nul(special: &Ejson) -> bool {
    match special {
        Ejson::String(text) => text.contains('\0'),
        Ejson::RegExp { source, flags } => source.contains('\0') || flags.contains('\0'),
        Ejson::Custom { value, .. } => has_nul(value),
        _ => false,
    }
}

/// What an object is that begins with one of the keys of Extended JSON. `None` if it is an object.
fn special(members: &Object) -> Option<Special> {
    let (name, first) = members.first()?;
    let second = members.get_index(1).map(|(name, second)| (name.as_str(), second));
    let long = first.as_str().and_then(|digits| digits.parse::<i64>().ok());
    if let Some(long) = long.filter(|long| long.unsigned_abs() > SAFE_MAX)
        && (name.as_str(), members.len()) == ("$numberLong", 1)
    {
        return Some(Special::Long(long));
    }
    let found = match (name.as_str(), second, members.len()) {
        ("$date", _, 1) => date(first).map(Ejson::Date),
        ("$oid", _, 1) => object_id(first),
        ("$numberInt" | "$numberLong" | "$numberDouble", _, 1) => number(first).map(Ejson::Number),
        ("$numberDecimal", _, 1) => first.as_str().map(|text| Ejson::custom("Decimal", text)),
        ("$binary", _, 1) => first.get("base64").and_then(binary),
        ("$binary", Some(("$type", _)), 2) => binary(first),
        ("$regularExpression", _, 1) => {
            first.get("pattern").and_then(|pattern| regexp(pattern, first.get("options")))
        }
        ("$regex", Some(("$options", options)), 2) => regexp(first, Some(options)),
        ("$symbol", _, 1) => first.as_str().map(Ejson::from),
        ("$undefined", _, 1) => Some(Ejson::Null),
        (name, _, 1 | 2) if FOREIGN.contains(&name) => None,
        _ => return None,
    };
    Some(found.map_or(Special::Foreign, Special::Value))
}

fn date(value: &Ejson) -> Option<Date> {
    let date = match value {
        Ejson::String(text) => iso(text)?,
        Ejson::Number(millis) => Date::from_millis_f64(*millis),
        Ejson::Object(_) => Date::from_millis(value.get("$numberLong")?.as_str()?.parse().ok()?),
        _ => return None,
    };
    Some(date).filter(|date| date.is_valid())
}

/// Version 1 has the zone as `+0000`.
fn iso(text: &str) -> Option<Date> {
    Date::from_iso(text).or_else(|| {
        let (time, zone) = text.split_at_checked(text.len().checked_sub(4)?)?;
        let is_zone = time.ends_with(['+', '-']) && zone.is_ascii();
        let (hours, minutes) = zone.split_at_checked(2).filter(|_| is_zone)?;
        Date::from_iso(&format!("{time}{hours}:{minutes}"))
    })
}

fn number(value: &Ejson) -> Option<f64> {
    match value {
        Ejson::String(text) => text.parse().ok(),
        other => other.as_f64(),
    }
}

fn object_id(value: &Ejson) -> Option<Ejson> {
    let is_hex =
        |text: &&str| text.len() == 24 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    value.as_str().filter(is_hex).map(|hex| Ejson::custom("oid", hex.to_ascii_lowercase()))
}

fn binary(value: &Ejson) -> Option<Ejson> {
    STANDARD.decode(value.as_str()?).ok().map(Ejson::Binary)
}

fn regexp(source: &Ejson, flags: Option<&Ejson>) -> Option<Ejson> {
    let source = source.as_str()?.to_owned();
    let flags = flags.and_then(Ejson::as_str).unwrap_or_default().to_owned();
    Some(Ejson::RegExp { source, flags })
}

/// A value of a type that the application has added, or the object that it is otherwise.
fn custom(mut members: Object) -> Ejson {
    let is_custom = members.len() == 2 && members.contains_key("EJSON$value");
    if let Some(Ejson::String(type_name)) = members.get("EJSON$type").filter(|_| is_custom) {
        let type_name = type_name.clone();
        let value = members.swap_remove("EJSON$value").unwrap_or_default();
        return Ejson::Custom { type_name, value: Box::new(renamed(value)) };
    }
    Ejson::Object(members)
}

/// Takes away what Meteor has put in front of names.
fn renamed(value: Ejson) -> Ejson {
    match value {
        Ejson::Array(items) => Ejson::Array(items.into_iter().map(renamed).collect()),
        Ejson::Object(members) => {
            let name = |name: String| match name.strip_prefix(METEORS) {
                Some(rest) if rest.starts_with('$') => rest.to_owned(),
                _ => name,
            };
            let members = members.into_iter().map(|(key, value)| (name(key), renamed(value)));
            Ejson::Object(members.collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use ddp_server::ejson;

    use super::*;

    /// What becomes of `{"a": …}`, and what is lost.
    fn read(text: &str) -> (String, Vec<String>) {
        let plain = ejson::parse_json(&format!("{{\"a\":{text}}}")).unwrap();
        let mut losses = Losses::default();
        let Ejson::Object(members) = plain else { panic!("it is an object") };
        let document = Ejson::Object(document(members, &mut losses));
        let value = document.get("a").unwrap().to_text();
        (value, losses.fields.into_iter().map(|(name, why)| format!("{name} {why:?}")).collect())
    }

    #[test]
    fn both_versions_give_the_same_values() {
        for (texts, value) in [
            (
                &[
                    r#"{"$date":{"$numberLong":"1704067200123"}}"#,
                    r#"{"$date":"2024-01-01T00:00:00.123Z"}"#,
                    r#"{"$date":"2024-01-01T00:00:00.123+0000"}"#,
                    r#"{"$date":"2024-01-01T01:00:00.123+0100"}"#,
                    r#"{"$date":1704067200123}"#,
                ][..],
                r#"{"$date":1704067200123}"#,
            ),
            (&[r#"{"$date":{"$numberLong":"-1"}}"#], r#"{"$date":-1}"#),
            (
                &[r#"{"$numberInt":"3"}"#, r#"{"$numberLong":"3"}"#, r#"{"$numberLong":3}"#, "3"],
                "3",
            ),
            (&[r#"{"$numberDouble":"-0.5"}"#, "-0.5"], "-0.5"),
            (&[r#"{"$numberDouble":"Infinity"}"#], r#"{"$InfNaN":1}"#),
            (&[r#"{"$numberDouble":"NaN"}"#], r#"{"$InfNaN":0}"#),
            (
                &[
                    r#"{"$binary":{"base64":"AQID","subType":"00"}}"#,
                    r#"{"$binary":"AQID","$type":"00"}"#,
                ],
                r#"{"$binary":"AQID"}"#,
            ),
            (
                &[
                    r#"{"$regularExpression":{"pattern":"^a","options":"i"}}"#,
                    r#"{"$regex":"^a","$options":"i"}"#,
                ],
                r#"{"$regexp":"^a","$flags":"i"}"#,
            ),
            (
                &[r#"{"$oid":"507F1F77bcf86cd799439011"}"#],
                r#"{"$type":"oid","$value":"507f1f77bcf86cd799439011"}"#,
            ),
            (&[r#"{"$numberDecimal":"1.50"}"#], r#"{"$type":"Decimal","$value":"1.50"}"#),
            (&[r#"{"$symbol":"b"}"#, r#""b""#], r#""b""#),
            (&[r#"{"$undefined":true}"#, "null"], "null"),
            (
                &[r#"[{"b":{"$numberInt":"1"}},[true]]"#, r#"[{"b":1},[true]]"#],
                r#"[{"b":1},[true]]"#,
            ),
        ] {
            for text in texts {
                assert_eq!(read(text), (value.to_owned(), Vec::new()), "{text}");
            }
        }
    }

    #[test]
    fn types_of_the_application_are_read_as_meteor_reads_them() {
        let stored = r#"{"EJSON$type":"Money","EJSON$value":{"amount":{"$numberInt":"5"},"at":{"EJSON$date":0}}}"#;
        let value = r#"{"$type":"Money","$value":{"amount":5,"at":{"$date":0}}}"#;
        assert_eq!(read(stored).0, value);
        for plain in [r#"{"EJSON$type":"Money"}"#, r#"{"EJSON$type":1,"EJSON$value":1}"#] {
            assert_eq!(read(plain).0, plain);
        }
    }

    #[test]
    fn objects_with_other_keys_are_objects() {
        for text in [
            r#"{"$date":0,"b":1}"#,
            r#"{"$ref":"a","$id":"b"}"#,
            r#"{"b":0,"$oid":"507f1f77bcf86cd799439011"}"#,
            "{}",
        ] {
            assert_eq!(read(text), (text.to_owned(), Vec::new()));
        }
    }

    #[test]
    fn what_cannot_be_kept_is_noted_by_its_path() {
        for text in [
            r#"{"$timestamp":{"t":1,"i":2}}"#,
            r#"{"$minKey":1}"#,
            r#"{"$code":"f()","$scope":{}}"#,
            r#"{"$date":"yesterday"}"#,
            r#"{"$date":"é000"}"#,
            r#"{"$date":{"$numberLong":"x"}}"#,
            r#"{"$oid":"507f"}"#,
            r#"{"$binary":"?","$type":"00"}"#,
            r#"{"$numberInt":"one"}"#,
        ] {
            assert_eq!(read(text), ("null".to_owned(), vec!["a Type".to_owned()]), "{text}");
        }
        let (value, lost) = read(r#"[{"b":{"c":"\u0000","d":{"$maxKey":1}},"e\u0000":1,"f":2}]"#);
        assert_eq!(value, r#"[{"b":{"c":null,"d":null},"f":2}]"#);
        assert_eq!(lost, ["a Nul", "a.b.c Nul", "a.b.d Type"]);
        assert_eq!(read(r#"{"$symbol":"\u0000"}"#).1, ["a Nul"]);
    }
    #[test]
    fn integers_that_numbers_cannot_tell_apart_are_noted() {
        for (text, value) in [
            (r#"{"$numberLong":"9007199254740993"}"#, "9007199254740992"),
            (r#"{"$numberLong":"-9007199254740993"}"#, "-9007199254740992"),
            ("9007199254740993", "9007199254740992"),
        ] {
            assert_eq!(read(text), (value.to_owned(), vec!["a Rounded".to_owned()]), "{text}");
        }
        for text in ["9007199254740991", "0.5", "1e300"] {
            assert_eq!(read(text).1, Vec::<String>::new(), "{text}");
        }
        assert_eq!(read(r#"{"$numberLong":"9007199254740992"}"#).1, Vec::<String>::new());
    }
}
