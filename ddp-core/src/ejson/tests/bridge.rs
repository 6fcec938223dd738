use std::collections::{BTreeMap, HashMap};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Task {
    list_id: String,
    done: bool,
    due: Option<Date>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    picture: Binary,
    owner: ObjectId,
    price: Decimal,
    any: Ejson,
}

fn task() -> Task {
    Task {
        list_id: "a".into(),
        done: false,
        due: Some(Date::from_millis(5)),
        note: None,
        picture: Binary(vec![0, 1, 2]),
        owner: ObjectId::from_bytes([0xab; 12]),
        price: "0.10".parse().unwrap(),
        any: Ejson::object([("$date", Ejson::Date(Date::from_millis(7)))]),
    }
}

const TASK: &str = concat!(
    r#"{"listId":"a","done":false,"due":{"$date":5},"picture":{"$binary":"AAEC"},"#,
    r#""owner":{"$type":"oid","$value":"abababababababababababab"},"#,
    r#""price":{"$type":"Decimal","$value":"0.10"},"any":{"$escape":{"$date":{"$date":7}}}}"#
);

#[test]
fn documents_both_ways() {
    assert_eq!(to_text(&task()).unwrap(), TASK);
    assert_eq!(from_text::<Task>(TASK).unwrap(), task());
    assert_eq!(to_value(&task()).unwrap(), parse(TASK).unwrap());
    assert_eq!(serde_json::to_string(&task()).unwrap(), TASK);
    assert_eq!(serde_json::from_str::<Task>(TASK).unwrap(), task());
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Distance {
    meters: f64,
    measured: Date,
}

impl CustomType for Distance {
    const NAME: &'static str = "Distance";

    fn to_value(&self) -> Ejson {
        to_value(self).unwrap_or_default()
    }

    fn from_value(value: &Ejson) -> Option<Self> {
        super::from_value(Ejson::from_json_value(value.clone()).ok()?).ok()
    }
}

#[test]
fn own_custom_types() {
    let distance = || Custom(Distance { meters: 1.5, measured: Date::from_millis(3) });
    let text = r#"[{"$type":"Distance","$value":{"meters":1.5,"measured":{"$date":3}}}]"#;
    assert_eq!(to_text(&[distance()]).unwrap(), text);
    assert_eq!(serde_json::to_string(&[distance()]).unwrap(), text);
    assert_eq!(from_text::<Vec<Custom<Distance>>>(text).unwrap(), [distance()]);
    assert_eq!(serde_json::from_str::<Vec<Custom<Distance>>>(text).unwrap(), [distance()]);
    fails::<Vec<Custom<Distance>>>("[5]", "[0]: expected Distance, got number");
    fails::<Custom<Distance>>(
        r#"{"$type":"Speed","$value":1}"#,
        "expected Distance, got another custom type",
    );
    fails::<Custom<Distance>>(
        r#"{"$type":"Distance","$value":1}"#,
        "expected Distance, got a malformed one",
    );
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Shape {
    Unit,
    Newtype(f64),
    Tuple(f64, Option<Date>),
    Struct {
        #[serde(rename = "$date")]
        date: f64,
    },
    #[serde(rename = "$binary")]
    Tagged(String),
    #[serde(rename = "$escape")]
    TaggedStruct {
        #[serde(rename = "$InfNaN")]
        number: f64,
    },
    #[serde(rename = "$date")]
    TaggedTuple(f64, f64),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unit;

fn both<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T, text: &str) {
    assert_eq!(to_text(&value).unwrap(), text);
    assert_eq!(from_text::<T>(text).unwrap(), value);
    assert_eq!(from_value::<T>(to_value(&value).unwrap()).unwrap(), value);
}

#[test]
fn forms_of_rust_types() {
    both(Unit, "null");
    both((), "null");
    both(Shape::Unit, r#""Unit""#);
    both(Shape::Newtype(1.5), r#"{"Newtype":1.5}"#);
    both(Shape::Tuple(1.0, None), r#"{"Tuple":[1,null]}"#);
    both(Shape::Tuple(1.0, Some(Date::from_millis(0))), r#"{"Tuple":[1,{"$date":0}]}"#);
    both(Shape::Struct { date: 5.0 }, r#"{"Struct":{"$escape":{"$date":5}}}"#);
    both(Shape::Tagged("a".into()), r#"{"$escape":{"$binary":"a"}}"#);
    both(
        Shape::TaggedStruct { number: 5.0 },
        r#"{"$escape":{"$escape":{"$escape":{"$InfNaN":5}}}}"#,
    );
    both(Shape::TaggedTuple(1.0, 2.0), r#"{"$escape":{"$date":[1,2]}}"#);
    both(Some(Some(5_u8)), "5");
    both(None::<u8>, "null");
    both('é', r#""é""#);
    both(vec![1_u8, 2], "[1,2]");
    both([1.5_f32, 0.1], "[1.5,0.1]");
    both([f64::INFINITY, f64::NEG_INFINITY], r#"[{"$InfNaN":1},{"$InfNaN":-1}]"#);
    both(BTreeMap::from([(1, true), (2, false)]), r#"{"1":true,"2":false}"#);
    both(BTreeMap::from([(false, 1)]), r#"{"false":1}"#);
    both(BTreeMap::from([('a', [(); 1])]), r#"{"a":[null]}"#);
    assert_eq!(to_text(&[f64::NAN]).unwrap(), r#"[{"$InfNaN":0}]"#);
    assert!(to_text(&HashMap::from([((1, 2), 3)])).is_err());
}

#[test]
fn maps_that_look_like_ejson_are_escaped() {
    type Map = BTreeMap<String, Ejson>;
    let map = |keys: &[&str]| -> Map {
        keys.iter().map(|key| ((*key).to_owned(), Ejson::Number(1.0))).collect()
    };
    both(map(&["$date"]), r#"{"$escape":{"$date":1}}"#);
    both(map(&["$date", "a"]), r#"{"$date":1,"a":1}"#);
    both(map(&["$regexp", "$flags"]), r#"{"$escape":{"$flags":1,"$regexp":1}}"#);
    both(map(&["$type", "$value"]), r#"{"$escape":{"$type":1,"$value":1}}"#);
    both(map(&["$type"]), r#"{"$type":1}"#);
    both(map(&["\"$date\""]), r#"{"\"$date\"":1}"#);
    both(vec![map(&["$escape"])], r#"[{"$escape":{"$escape":1}}]"#);
}

#[test]
fn large_integers_are_strings() {
    both(9_007_199_254_740_991_i64, "9007199254740991");
    both(-9_007_199_254_740_991_i64, "-9007199254740991");
    both(9_007_199_254_740_992_i64, r#""9007199254740992""#);
    both(i64::MIN, r#""-9223372036854775808""#);
    both(u64::MAX, r#""18446744073709551615""#);
    both(i128::MIN, r#""-170141183460469231731687303715884105728""#);
    both(u128::MAX, r#""340282366920938463463374607431768211455""#);
    fails::<i64>(r#""5""#, "expected i64, got string");
    fails::<i64>(r#""9223372036854775808""#, "expected i64, got 9223372036854775808");
    fails::<u64>(r#""09007199254740992""#, "expected u64, got string");
    assert_eq!(from_text::<i64>("1e18").unwrap(), 1_000_000_000_000_000_000);
    assert_eq!(from_text::<u64>("1e19").unwrap(), 10_000_000_000_000_000_000);
    fails::<u64>("1e20", "expected u64, got number");
}

fn fails<T: DeserializeOwned>(text: &str, message: &str) {
    match from_text::<T>(text) {
        Ok(_) => panic!("{text} was taken"),
        Err(error) => assert_eq!(error.to_string(), message),
    }
}

#[test]
fn errors_tell_where_in_the_value() {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only decoding is tested")]
    struct Params {
        list_id: String,
        counts: Vec<u8>,
    }
    fails::<(Params,)>(r#"[{"listId":5,"counts":[]}]"#, "[0].listId: expected string, got number");
    fails::<(Params,)>(
        r#"[{"listId":"a","counts":[1,256]}]"#,
        "[0].counts[1]: expected u8, got 256",
    );
    fails::<Params>(r#"{"listId":"a","counts":[1.5]}"#, "counts[0]: expected u8, got 1.5");
    fails::<Params>(r#"{"counts":[]}"#, r#"missing key "listId""#);
    fails::<(Params,)>(r#"[{"x":1}]"#, r#"[0].x: unknown key "x""#);
    fails::<Params>("[]", "expected struct Params, got array");
    fails::<Vec<Shape>>(r#"[{"Newtype":"a"}]"#, "[0].Newtype: expected f64, got string");
    fails::<Vec<Date>>(r#"[{"$date":0},"now"]"#, "[1]: expected date, got string");
    fails::<Binary>("[1]", "expected binary, got array");
    fails::<String>(r#"{"$date":0}"#, "expected string, got date");
    fails::<bool>("1", "expected boolean, got number");
    fails::<u8>("-1", "expected u8, got -1");
    fails::<i64>(r#"{"$InfNaN":0}"#, "expected i64, got NaN");
}

#[test]
fn tuples_may_lack_trailing_options() {
    type Params = (String, Option<bool>, Option<Date>);
    assert_eq!(from_text::<Params>(r#"["a"]"#).unwrap(), ("a".into(), None, None));
    assert_eq!(from_text::<Params>(r#"["a",true]"#).unwrap(), ("a".into(), Some(true), None));
    assert_eq!(from_text::<(Ejson,)>("[]").unwrap(), (Ejson::Null,));
    from_text::<()>("[]").unwrap();
    fails::<Params>("[]", "[0]: expected string, got nothing");
    fails::<(String, u8)>(r#"["a"]"#, "[1]: expected u8, got nothing");
    fails::<(u8,)>("[1,2]", "expected 1 elements, got 2");
    fails::<()>("[1]", "expected unit, got array");
    fails::<(Date,)>("[]", "[0]: expected date, got null");
}

#[test]
fn survives_buffering_by_serde() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Flat {
        name: String,
        #[serde(flatten)]
        rest: BTreeMap<String, Ejson>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Date(Date),
        Number(u32),
        Binary(Binary),
        Text(String),
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Event {
        Done { at: Date, by: ObjectId },
    }
    both(
        Flat { name: "a".into(), rest: [("due".into(), Ejson::Date(Date::from_millis(1)))].into() },
        r#"{"name":"a","due":{"$date":1}}"#,
    );
    both(
        vec![
            Either::Date(Date::from_millis(1)),
            Either::Number(2),
            Either::Binary(Binary(vec![0])),
            Either::Text("t".into()),
        ],
        r#"[{"$date":1},2,{"$binary":"AA=="},"t"]"#,
    );
    both(
        Event::Done { at: Date::from_millis(1), by: ObjectId::from_bytes([0; 12]) },
        r#"{"kind":"Done","at":{"$date":1},"by":{"$type":"oid","$value":"000000000000000000000000"}}"#,
    );
    let look_alike = Ejson::object([("$date", Ejson::Date(Date::from_millis(1)))]);
    both(
        Flat { name: "a".into(), rest: [("x".into(), Ejson::array([look_alike]))].into() },
        r#"{"name":"a","x":[{"$escape":{"$date":{"$date":1}}}]}"#,
    );
    let json: serde_json::Value = from_text(r#"{"a":[1,1.5,{"$date":2}]}"#).unwrap();
    assert_eq!(json.to_string(), r#"{"a":[1,1.5,{"$date":2}]}"#);
    let text = r#"{"$escape":{"$date":[{"$escape":{"$binary":1}}]}}"#;
    assert_eq!(from_text::<serde_json::Value>(text).unwrap().to_string(), text);
}

#[test]
fn parameters_are_the_fields_of_a_struct_in_their_order() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Add {
        list_id: String,
        place: Place,
        #[serde(alias = "remark")]
        note: Option<String>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    struct Wrapped(Add);
    #[derive(Debug, PartialEq, Deserialize)]
    struct Place {
        row: u32,
    }

    let params = |text: &str| from_text::<Vec<Ejson>>(text).unwrap();
    let add = |note: Option<&str>| Add {
        list_id: "a".into(),
        place: Place { row: 1 },
        note: note.map(Into::into),
    };
    let whole = r#"["a", {"row": 1}, "b"]"#;
    assert_eq!(from_params(params(whole)), Ok(add(Some("b"))));
    assert_eq!(from_params(params(whole)), Ok(Wrapped(add(Some("b")))));
    assert_eq!(from_params(params(r#"["a", {"row": 1}]"#)), Ok(add(None)));
    assert_eq!(from_params::<(String,)>(params(r#"["a"]"#)), Ok(("a".to_owned(),)));
    let error = |text: &str| from_params::<Add>(params(text)).unwrap_err().to_string();
    assert_eq!(error(r#"["a", {"row": 1}, "b", 2]"#), "expected 3 elements, got 4");
    assert_eq!(error(r#"[1, {"row": 1}]"#), "[0]: expected string, got number");
    // Only parameters are: a struct within them is an object.
    assert!(error(r#"["a", [1]]"#).starts_with("[1]: expected "));
    assert!(from_text::<Place>("[1]").is_err());
}
