//! Any text as EJSON: round trips, serde's traits, and serde_json as the judge of what is JSON.

#![no_main]

use std::collections::BTreeMap;

use ddp_core::ejson::{
    self, Binary, Date, Decimal, DecodeError, Ejson, NESTING_MAX, ObjectId, escape_json,
};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::Value;

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = str::from_utf8(data) else { return Corpus::Reject };
    let parsed = ejson::parse(text);
    check_validity(text, &parsed);
    check_plain_json(text, &parsed);
    check_escaping(text);
    check_scalars(text);
    if let Ok(value) = parsed {
        check_round_trip(&value);
        check_stringify(&value);
        check_serde(&value);
        check_types(text, &value);
    }
    Corpus::Keep
});

/// Whether the text itself is at fault, rather than the contents of a tagged object.
fn is_syntax(error: &DecodeError) -> bool {
    error.message().contains(" at byte ")
}

/// JSON is accepted unless it is nested too deeply. serde_json only validates here, without limits
/// of its own.
fn check_validity(text: &str, parsed: &Result<Ejson, DecodeError>) {
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    let taken = !parsed.as_ref().is_err_and(is_syntax);
    let expected = is_json && nesting(text) <= NESTING_MAX;
    assert_eq!(taken, expected, "{text:?} is {parsed:?}");
}

/// How deeply arrays and objects are nested in JSON text.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest, mut in_string) = (0_usize, 0, false);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if in_string => {
                bytes.next();
            }
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// If nothing has a special meaning, the value is the one that serde_json parses.
fn check_plain_json(text: &str, parsed: &Result<Ejson, DecodeError>) {
    if let Ok(theirs) = serde_json::from_str::<Value>(text)
        && !text.contains('$')
        && !text.contains("\\u0024")
        && let Ok(ours) = parsed
    {
        assert!(is_same(ours, &theirs), "{text:?} is {ours:?}, not {theirs:?}");
    }
}

fn is_same(ours: &Ejson, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Ejson::Null, Value::Null) => true,
        (Ejson::Bool(ours), Value::Bool(theirs)) => ours == theirs,
        // serde_json may be off by a bit.
        (Ejson::Number(ours), Value::Number(theirs)) => {
            theirs.as_f64().is_some_and(|theirs| (ours - theirs).abs() <= ours.abs() * 1e-15)
        }
        (Ejson::String(ours), Value::String(theirs)) => ours == theirs,
        (Ejson::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| is_same(a, b))
        }
        (Ejson::Object(ours), Value::Object(theirs)) => {
            ours.len() == theirs.len()
                && ours
                    .iter()
                    .zip(theirs)
                    .all(|((a, ours), (b, theirs))| a == b && is_same(ours, theirs))
        }
        _ => false,
    }
}

/// Escaped JSON is read back as the same JSON.
fn check_escaping(text: &str) {
    let mut escaped = String::new();
    // Text without a `$` is copied unchecked.
    if escape_json(text, &mut escaped).is_err() || serde_json::from_str::<Value>(text).is_err() {
        return;
    }
    let custom = |text: &str| ejson::parse(&format!(r#"{{"$type":"","$value":{text}}}"#));
    let (Ok(plain), Ok(read)) = (custom(text), ejson::parse(&escaped)) else {
        // One more level may be too many.
        return assert!(nesting(&escaped).max(nesting(text)) >= NESTING_MAX, "{escaped}");
    };
    assert_eq!(plain, Ejson::custom("", read), "{text:?} became {escaped:?}");
}

fn check_scalars(text: &str) {
    let date = Date::from_iso(text);
    assert!(date.is_none_or(Date::is_valid));
    let millis = ejson::parse(&format!("{{\"$date\":{}}}", Value::from(text)));
    assert_eq!(millis, Ok(Ejson::Date(date.unwrap_or(Date::INVALID))));
    if let Ok(decimal) = text.parse::<Decimal>() {
        assert_eq!(ejson::from_text(&ejson::to_text(&decimal).unwrap()), Ok(decimal));
    }
    if let Ok(id) = text.parse::<ObjectId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
}

/// Whether text represents all of the value. The invalid date is written as something read as 1970,
/// and a custom type should contain plain JSON, which an infinite number is not.
fn is_faithful(value: &Ejson) -> bool {
    match value {
        Ejson::Array(items) => items.iter().all(is_faithful),
        Ejson::Object(object) => object.values().all(is_faithful),
        Ejson::Date(date) => date.is_valid(),
        Ejson::Custom { value, .. } => is_finite(value),
        _ => true,
    }
}

fn is_finite(value: &Ejson) -> bool {
    match value {
        Ejson::Array(items) => items.iter().all(is_finite),
        Ejson::Object(object) => object.values().all(is_finite),
        Ejson::Number(number) => number.is_finite(),
        _ => true,
    }
}

fn check_round_trip(value: &Ejson) {
    let text = value.to_text();
    assert!(serde_json::from_str::<IgnoredAny>(&text).is_ok(), "{text} is not JSON");
    match ejson::parse(&text) {
        Ok(read) => {
            if is_faithful(value) {
                assert_eq!((&read, &read.to_text()), (value, &text));
            }
        }
        // Infinity is a number in a client's text, and an object in ours.
        Err(error) => assert!(nesting(&text) > NESTING_MAX, "{text} is not read: {error}"),
    }
    let plain = value.clone().into_json_value();
    if is_faithful(value) {
        assert_eq!(Ejson::from_json_value(plain).as_ref(), Ok(value));
    }
}

fn check_stringify(value: &Ejson) {
    if !is_faithful(value) || nesting(&value.to_text()) > NESTING_MAX {
        return;
    }
    for (canonical, indent) in [(false, ""), (true, ""), (true, " ")] {
        let text = ejson::stringify(value, canonical, indent);
        let read = ejson::parse(&text).expect("what was written is read");
        assert_eq!(&read, value);
        assert_eq!(ejson::stringify(&read, canonical, indent), text);
    }
    assert_eq!(ejson::stringify(value, false, ""), value.to_text());
}

fn check_serde(value: &Ejson) {
    let text = value.to_text();
    assert_eq!(ejson::to_text(value).as_ref(), Ok(&text));
    if !is_faithful(value) {
        return;
    }
    assert_eq!(ejson::from_value::<Ejson>(value.clone()).as_ref(), Ok(value));
    // serde_json's own limit is one level lower.
    if nesting(&text) < NESTING_MAX {
        assert_eq!(ejson::to_value(value).as_ref(), Ok(value));
        let theirs = serde_json::to_string(value).expect("a value is JSON");
        assert_eq!(ejson::parse(&theirs).as_ref(), Ok(value), "{theirs}");
        let read: Ejson = serde_json::from_value(serde_json::to_value(value).unwrap()).unwrap();
        assert_eq!(&read, value);
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    done: Option<bool>,
    due: Option<Date>,
    picture: Option<Binary>,
    owner: Option<ObjectId>,
    price: Option<Decimal>,
    count: Option<i64>,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, Ejson>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Either {
    Date(Date),
    Binary(Binary),
    Number(u32),
    Text(String),
    Many(Vec<Either>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(f64),
    Tuple(f64, Option<Date>),
    Struct {
        #[serde(rename = "$date")]
        date: Option<f64>,
    },
    #[serde(rename = "$binary")]
    Tagged(String),
}

/// What is read as a type is written as something that is read as the same again.
fn check_types(text: &str, value: &Ejson) {
    let any = ejson::from_text::<Ejson>(text).expect("any value is a value");
    if is_faithful(value) {
        assert_eq!(any.to_text(), value.to_text());
        check_type::<Task>(text);
        check_type::<Either>(text);
        check_type::<Shape>(text);
        check_type::<(u8, Option<i64>, Option<Shape>)>(text);
        check_type::<BTreeMap<String, u64>>(text);
        check_type::<Vec<f32>>(text);
        check_type::<Option<char>>(text);
    }
}

fn check_type<T>(text: &str)
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Ok(value) = ejson::from_text::<T>(text) else { return };
    let written = ejson::to_text(&value).expect("what was read is written");
    match ejson::from_text::<T>(&written) {
        Ok(read) => assert!(read == value || written.contains("$InfNaN"), "{text} {written}"),
        Err(error) => assert!(nesting(&written) > NESTING_MAX, "{written} is not read: {error}"),
    }
}
