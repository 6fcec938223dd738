use ddp_server::query::{Condition, Predicate, Truth, Value, field};

use super::*;

pub(crate) const C: Collation =
    Collation { is_bytewise: true, lower: Lower::AsciiOnly, is_utf8: true };
const ENGLISH: Collation = Collation { is_bytewise: false, lower: Lower::AsciiToo, is_utf8: true };
const TURKISH: Collation = Collation { is_bytewise: false, lower: Lower::Unknown, is_utf8: true };
const JSONB: Comparable = Comparable::Json(Json { is_binary: true, is_utf8: true });

fn array(comparable: Comparable, length: i32) -> Comparable {
    Comparable::Array(Box::new(Element { comparable, length }))
}

fn test_of(predicate: Predicate) -> Condition {
    let Predicate::Condition(test) = predicate else { panic!("{predicate:?}") };
    test
}

fn answer(comparable: &Comparable, predicate: Predicate, json: &str) -> Truth {
    comparable.answer(&comparable.convert(&test_of(predicate)).unwrap(), json)
}

#[test]
fn values_and_constants_take_the_same_form() {
    for (comparable, json, constant) in [
        (Comparable::Boolean, "true", Value::Bool(true)),
        (Comparable::Integer, "9007199254740993", Value::Int(9_007_199_254_740_993)),
        (Comparable::Integer, "5", Value::Float(5.0)),
        (Comparable::Integer, "9007199254740994", Value::Float(9_007_199_254_740_994.0)),
        (Comparable::Double, "5", Value::Int(5)),
        (Comparable::Double, "5", Value::Float(5.0)),
        (Comparable::Double, "\"NaN\"", Value::Float(f64::NAN)),
        (Comparable::Double, "\"-Infinity\"", Value::Float(f64::NEG_INFINITY)),
        (Comparable::Double, "1e+20", Value::Float(1e20)),
        (Comparable::Real, "0.1", Value::Float(f64::from(0.1_f32))),
        (Comparable::Numeric, "1.50", Value::Float(1.5)),
        (Comparable::Numeric, "\"NaN\"", Value::Float(f64::NAN)),
        (Comparable::Numeric, "12345678901234567890.5", Value::from("12345678901234567890.50")),
        (Comparable::Text(C), "\"a\\u0001\"", Value::from("a\u{1}")),
        (Comparable::Uuid, "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"", {
            Value::from("A0EEBC999C0B4EF8BB6D6BB9BD380A11")
        }),
        (Comparable::TimestampTz, "\"1970-01-01T01:00:00.000001+01:00\"", Value::Time(1)),
        (Comparable::Timestamp, "\"1969-12-31T23:59:59.999999\"", Value::Time(-1)),
        (Comparable::Timestamp, "\"infinity\"", Value::Time(i64::MAX)),
        (Comparable::Timestamp, "\"-infinity\"", Value::Time(-9_000_000_000_000_000_000)),
        (Comparable::Date, "\"2024-02-29\"", Value::from("2024-02-29")),
        (Comparable::Date, "\"2024-02-29\"", Value::Time(19_782 * 86_400_000_000)),
        (Comparable::Date, "\"0044-03-15 BC\"", Value::from("0044-03-15 BC")),
        (Comparable::Date, "\"5874897-12-31\"", Value::from("5874897-12-31")),
        (Comparable::Date, "\"infinity\"", Value::from("infinity")),
        (Comparable::Time, "\"12:30:00\"", Value::from("12:30")),
        (Comparable::Time, "\"24:00:00\"", Value::from("24:00:00")),
        (Comparable::Binary, "\"AP8=\"", Value::from(&b"\0\xff"[..])),
        (Comparable::Binary, "\"\\\\x00ff\"", Value::from(&b"\0\xff"[..])),
        (JSONB, "5.0", Value::Int(5)),
        (JSONB, "\"5\"", Value::from("5")),
        (Comparable::Text(C), "null", Value::Null),
    ] {
        let constant = comparable.constant(&constant).unwrap();
        assert_eq!(comparable.value_or_null(None, json), constant, "{json}");
    }
    let padded = Comparable::Padded(ENGLISH);
    assert_eq!(padded.constant(&Value::from("ab ")), Some(Value::from("ab")));
    assert_eq!(padded.value_or_null(None, "\"ab  \""), Value::from("ab"));
}

#[test]
fn constants_that_the_type_cannot_hold_equal_nothing() {
    for (comparable, text) in [
        (Comparable::Uuid, "a0eebc99"),
        (Comparable::Uuid, ""),
        (Comparable::Numeric, "one"),
        (Comparable::Numeric, "1e200000"),
        (Comparable::Text(C), "a\0b"),
        (Comparable::Enum, "a\0b"),
        (JSONB, "a\0b"),
        (Comparable::Date, "2023-02-29"),
        (Comparable::Date, "2024-2-9"),
        (Comparable::Date, "2024-01-01T00:00:00"),
        (Comparable::Time, "24:00:01"),
        (Comparable::Time, "12:60"),
        (Comparable::Time, "12:30:00.1234567"),
    ] {
        assert_eq!(comparable.constant(&Value::from(text)), Some(Value::Null), "{text}");
    }
    assert_eq!(JSONB.constant(&Value::Float(f64::NAN)), Some(Value::Null));
    let numbers = array(Comparable::Integer, 2);
    for predicate in [
        field("a").contains(32_768),
        field("a").contains_all([Value::Int(1), Value::Int(32_768)]),
        field("a").overlaps([1.5]),
    ] {
        assert_eq!(answer(&numbers, predicate.clone(), "[1, 2]"), Truth::False, "{predicate:?}");
    }
}

#[test]
fn what_never_compares_is_refused() {
    for (comparable, value) in [
        (Comparable::Integer, Value::from("1")),
        (Comparable::Text(C), Value::Int(1)),
        (Comparable::TimestampTz, Value::from("2024-01-01")),
        (Comparable::Boolean, Value::Int(1)),
        (JSONB, Value::Time(0)),
    ] {
        assert_eq!(comparable.constant(&value), None, "{comparable:?} {value:?}");
    }
}

#[test]
fn questions_that_do_not_fit_the_column_are_refused() {
    let numbers = || array(Comparable::Integer, 2);
    for (comparable, predicate) in [
        (Comparable::Integer, field("a").like("1%")),
        (Comparable::Other, field("a").starts_with("1")),
        (Comparable::Text(C), field("a").like("1\\")),
        (Comparable::Text(C), field("a").ilike("1\0")),
        (Comparable::Text(C), field("a").contains("1")),
        (Comparable::Text(C), field("a.b").eq("1")),
        (numbers(), field("a").eq(1)),
        (numbers(), field("a").is_in([1])),
        (numbers(), field("a").contains("1")),
        (numbers(), field("a.0").eq(1)),
    ] {
        let test = test_of(predicate);
        assert!(comparable.convert(&test).is_err(), "{comparable:?} {test:?}");
    }
    assert!(numbers().convert(&test_of(field("a").contains(-32_768))).is_ok());
}

#[test]
fn what_is_not_certain_is_left_undecided() {
    use Truth::{False, True, Undecided, Unknown};
    let english = Comparable::Text(ENGLISH);
    for (comparable, predicate, json, truth) in [
        (&english, field("a").lt("b"), "\"a\"", Undecided),
        (&english, field("a").lt("b"), "null", Unknown),
        (&english, field("a").lt(None::<&str>), "\"a\"", Unknown),
        (&Comparable::Text(C), field("a").lt("b"), "\"a\"", True),
        (&english, field("a").like("%Ä_"), "\"xÄx\"", True),
        (&english, field("a").ilike("A%"), "\"ab\"", True),
        (&english, field("a").ilike("Ä%"), "\"ab\"", Undecided),
        (&english, field("a").ilike("A%"), "\"aä\"", Undecided),
        (&Comparable::Text(TURKISH), field("a").ilike("I"), "\"i\"", Undecided),
        (&Comparable::Text(C), field("a").ilike("ä"), "\"Ä\"", False),
        (&Comparable::Enum, field("a").eq("x"), "\"y\"", False),
        (&Comparable::Enum, field("a").gt("x"), "\"y\"", Undecided),
        (&Comparable::Other, field("a").eq("x"), "\"x\"", Undecided),
        (&Comparable::Other, field("a").eq("x"), "null", Unknown),
        (&Comparable::Other, field("a").is_null(), "\"x\"", False),
        (&Comparable::CiText, field("a").like("x"), "\"X\"", Undecided),
        (&Comparable::Padded(ENGLISH), field("a").eq("ab"), "\"ab  \"", True),
        (&Comparable::Padded(ENGLISH), field("a").like("ab"), "\"ab  \"", False),
        (&Comparable::Padded(ENGLISH), field("a").starts_with("ab "), "\"ab  \"", False),
    ] {
        assert_eq!(answer(comparable, predicate.clone(), json), truth, "{predicate:?} {json}");
    }
}

#[test]
fn json_is_asked_by_paths() {
    use Truth::{False, True, Unknown};
    let json = r#"{"n": 1e2, "s": "B", "z": null, "o": {}, "l": ["a", 1, null, [2]], "t": true}"#;
    for (predicate, truth) in [
        (field("d.n").eq(100), True),
        (field("d.n").gt(99.5), True),
        (field("d.n").eq("100"), False),
        (field("d.n").ne("100"), True),
        (field("d.n").lt("100"), Unknown),
        (field("d.s").lt("a"), True),
        (field("d.s").ilike("b"), True),
        (field("d.s").is_in(["x", "B"]), True),
        (field("d.z").is_null(), True),
        (field("d.z.a").is_null(), True),
        (field("d.z").ne(1), Unknown),
        (field("d.o").is_null(), False),
        (field("d.o").like("%"), Unknown),
        (field("d.l").contains_all(["a"]), True),
        (field("d.l").contains(1.0), True),
        (field("d.l").contains(2), False),
        (field("d.l").overlaps(["b", "a"]), True),
        (field("d.o").contains("a"), False),
        (field("d.l.1").lte(1), True),
        (field("d.t").gt(false), True),
        (field("d").is_null(), False),
        (field("d").eq("x"), False),
    ] {
        assert_eq!(answer(&JSONB, predicate.clone(), json), truth, "{predicate:?}");
    }
    assert_eq!(answer(&JSONB, field("d").is_null(), "null"), True);
    assert_eq!(answer(&JSONB, field("d").eq("x"), "\"x\""), True);
}

#[test]
fn arrays_of_any_dimensions_contain_their_elements() {
    use Truth::{False, True, Undecided, Unknown};
    let numbers = array(Comparable::Integer, 4);
    let json = "[[1,2],[3,null]]";
    assert_eq!(answer(&numbers, field("a").contains_all([3, 1]), json), True);
    assert_eq!(answer(&numbers, field("a").contains(None::<i64>), json), False);
    assert_eq!(answer(&numbers, field("a").overlaps([4, 5]), json), False);
    assert_eq!(answer(&numbers, field("a").contains(1), "null"), Unknown);
    assert_eq!(answer(&numbers, field("a").contains_all(Vec::<i64>::new()), "[]"), True);
    let opaque = array(Comparable::Other, -1);
    assert_eq!(answer(&opaque, field("a").contains("1"), "[\"1\"]"), Undecided);
    let single = array(Comparable::Real, 4);
    assert_eq!(answer(&single, field("a").contains(0.1), "[0.1]"), True);
    let padded = array(Comparable::Padded(ENGLISH), -1);
    assert_eq!(answer(&padded, field("a").contains("a"), "[\"a  \"]"), True);
}

/// Keys that are not ordered by value are compared by their JSON text, which never equals a
/// constant.
#[test]
fn nothing_is_routed_by_the_json_text_of_a_key() {
    for comparable in [JSONB, Comparable::Enum] {
        assert!(comparable.is_routable(None, false));
        assert!(!comparable.is_routable(None, true), "{comparable:?}");
    }
}

#[test]
fn the_largest_integers_equal_a_double_but_no_list_has_it() {
    let largest = "9223372036854775807";
    let beyond = Value::Float(9_223_372_036_854_775_808.0);
    assert_eq!(answer(&Comparable::Integer, field("a").eq(beyond.clone()), largest), Truth::True);
    assert_eq!(answer(&Comparable::Integer, field("a").is_in([beyond]), largest), Truth::False);
}
