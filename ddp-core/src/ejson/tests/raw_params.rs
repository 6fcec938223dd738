use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::*;

/// JSON text with EJSON in it, sound or not: tags with the wrong content, escapes and, perhaps, repeated
/// keys.
fn text(may_repeat: bool) -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        r#""$date""#,
        r#""$regexp""#,
        r#""$flags""#,
        r#""$InfNaN""#,
        r#""$binary""#,
        r#""$escape""#,
        r#""$type""#,
        r#""$value""#,
        r#""a""#,
        r#""list""#,
        r#""\u0024date""#,
    ]);
    let leaf = prop::sample::select(vec![
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "1e400",
        "9007199254740993",
        r#""9007199254740993""#,
        r#""x""#,
        r#""AQI=""#,
        r#""AQI""#,
        r#""A=I=""#,
        r#""i""#,
        r#""One""#,
        r#""\ud800""#,
        "[]",
        "{}",
    ]);
    leaf.prop_map(str::to_owned).prop_recursive(6, 48, 4, move |inner| {
        let member = (key.clone(), inner.clone());
        let object = prop::collection::vec(member, 0..4);
        let array = prop::collection::vec(inner, 0..4);
        prop_oneof![
            array.prop_map(|items| format!("[{}]", items.join(" , "))),
            object.prop_map(move |members: Vec<(&str, String)>| {
                let mut seen = BTreeSet::new();
                let members = members.into_iter();
                let members = members
                    .filter(|(key, _)| seen.insert(key.replace(r"\u0024", "$")) || may_repeat);
                let members: Vec<_> =
                    members.map(|(key, value)| format!("{key}:{value}")).collect();
                format!("{{ {} }}", members.join(","))
            }),
        ]
    })
}

#[derive(Debug, PartialEq, Deserialize)]
enum Variant {
    One,
    #[serde(rename = "a")]
    Newtype(Option<f64>),
    #[serde(rename = "list")]
    Fields {
        a: Ejson,
    },
    #[serde(rename = "$date")]
    Pair(i64, Option<String>),
}

#[derive(Debug, PartialEq, Deserialize)]
struct Fields {
    a: Option<Box<Self>>,
    #[serde(default)]
    list: Vec<Ejson>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Date(Date),
    Number(f64),
    Fields(Fields),
    Any(Ejson),
}

/// What is read from the text is what is read from the values that were parsed from it.
fn same<T: DeserializeOwned + Debug>(text: &str) -> Result<(), TestCaseError> {
    let params = RawParams::from_text(text).unwrap().unwrap();
    let Ok(Ejson::Array(parsed)) = parse(text) else { panic!("no array: {text}") };
    // The invalid date and an infinite number have no form of their own, so the way over values
    // makes others of them.
    let form = Ejson::Array(parsed.clone()).to_text();
    if form.contains(r#"{"$date":null}"#) || text.contains("1e400") {
        return Ok(());
    }
    let (read, expected) = (params.read::<T>(), from_params::<T>(parsed));
    match (read, expected) {
        // In this form NaN equals itself.
        (Ok(read), Ok(expected)) => {
            prop_assert_eq!(format!("{read:?}"), format!("{expected:?}"), "{}", text);
        }
        // What comes first may differ.
        (Err(_), Err(_)) => {}
        (read, expected) => prop_assert!(false, "{text}: {read:?}, {expected:?}"),
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_can_be_parsed_is_sound(text in text(true)) {
        let checked = RawParams::from_text(&text);
        match parse(&text) {
            Ok(value) => {
                let params = checked.unwrap();
                prop_assert_eq!(params.is_some(), value.as_array().is_some(), "{}", text);
            }
            Err(error) => prop_assert!(checked.is_err(), "{text}: {error}"),
        }
    }

    #[test]
    fn almost_json_is_refused_as_by_parse(text in r#"([\[\]{},:"\\ 0-9eE.+-]|\$|\\u[dD][89a-f]00|null|"\$date"|"\$escape"|é){0,40}"#) {
        prop_assert_eq!(RawParams::from_text(&text).is_ok(), parse(&text).is_ok());
    }

    #[test]
    fn base64_of_any_length_is_judged_as_by_parse(
        length in 0_usize..5000,
        junk in prop::option::of((0_usize..5000, prop::sample::select(vec!['=', '-', ' ', 'A']))),
        end in prop::sample::select(vec!["", "=", "==", "A", "A=", "AA=="]),
    ) {
        let mut digits: String = "QUJD".chars().cycle().take(length).collect();
        if let Some((at, junk)) = junk {
            digits.insert(at.min(length), junk);
        }
        let text = format!(r#"[{{"$binary":"{digits}{end}"}}]"#);
        prop_assert_eq!(RawParams::from_text(&text).is_ok(), parse(&text).is_ok(), "{}", text);
    }

    #[test]
    fn reads_what_was_sent(items in prop::collection::vec(text(false), 0..3)) {
        let text = format!(" [{}] ", items.join(","));
        if parse(&text).is_err() {
            return Ok(());
        }
        same::<Vec<Ejson>>(&text)?;
        same::<(Ejson,)>(&text)?;
        same::<(Option<Ejson>, Option<Variant>)>(&text)?;
        same::<(Variant,)>(&text)?;
        same::<Fields>(&text)?;
        same::<(Fields,)>(&text)?;
        same::<Vec<Untagged>>(&text)?;
        same::<(f64, Option<i64>)>(&text)?;
        same::<(String,)>(&text)?;
        same::<(Date, Option<Binary>)>(&text)?;
        same::<Vec<BTreeMap<String, Ejson>>>(&text)?;
        same::<Vec<BTreeMap<String, Vec<u64>>>>(&text)?;
        same::<()>(&text)?;
        same::<Vec<serde_json::Value>>(&text)?;
        same::<(serde_json::Value, Option<bool>)>(&text)?;
    }
}

#[test]
fn what_a_type_does_not_want_is_not_read() {
    // Would fail as too long, were the second read at all.
    let params = RawParams::from_text(r#"[[[],[]], 1]"#).unwrap().unwrap();
    let error = params.read::<(String, String)>().unwrap_err();
    assert_eq!(error.to_string(), "[0]: expected string, got array");
    let custom = RawParams::from_text(r#"[{"$type":"x","$value":[[],[]]}]"#).unwrap().unwrap();
    let error = custom.read::<(Vec<u8>,)>().unwrap_err();
    assert_eq!(error.to_string(), "[0]: expected sequence, got custom type");
}

#[test]
fn where_a_struct_is_wanted_no_key_may_come_twice() {
    let params = RawParams::from_text(r#"[{"a":null,"a":null}]"#).unwrap().unwrap();
    let error = params.read::<(Fields,)>().unwrap_err();
    assert_eq!(error.to_string(), r#"[0]: duplicate key "a""#);
    // A map has the last one, as in JavaScript.
    let params = RawParams::from_text(r#"[{"a":1,"a":2}]"#).unwrap().unwrap();
    let (map,) = params.read::<(BTreeMap<String, u8>,)>().unwrap();
    assert_eq!(map["a"], 2);
}

#[test]
fn parameters_that_no_client_sent() {
    assert_eq!(RawParams::from_serialize(&("a", 1)).unwrap().as_text(), r#"["a",1]"#);
    assert_eq!(RawParams::from_serialize(&()).unwrap(), RawParams::default());
    let error = RawParams::from_serialize("a").unwrap_err().to_string();
    assert_eq!(error, r#"parameters must be a tuple, not "a""#);
    assert_eq!(RawParams::from_text("7"), Ok(None));
}
