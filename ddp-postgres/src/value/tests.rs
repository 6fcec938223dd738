use super::*;

fn encoded(kind: &ValueKind, raw: &str) -> String {
    let mut out = String::new();
    encode(kind, raw, &mut out).unwrap_or_else(|error| panic!("{error}"));
    out
}

fn array_of(kind: ValueKind) -> ValueKind {
    ValueKind::Array(Box::new(kind))
}

#[test]
fn numbers() {
    for (kind, raw, ejson) in [
        (ValueKind::Integer, "-2147483648", "-2147483648"),
        (ValueKind::BigInteger, "9007199254740991", "9007199254740991"),
        (ValueKind::BigInteger, "-9007199254740992", r#""-9007199254740992""#),
        (ValueKind::BigInteger, "-9223372036854775808", r#""-9223372036854775808""#),
        (ValueKind::Id, "-9223372036854775808", r#""-9223372036854775808""#),
        (ValueKind::Float, "1e+20", "100000000000000000000"),
        (ValueKind::Float, "1e+21", "1e+21"),
        (ValueKind::Float, "1e-07", "1e-7"),
        (ValueKind::Float, "-0", "0"),
        (ValueKind::Float, "0.1", "0.1"),
        (ValueKind::Float, "5e-324", "5e-324"),
        (ValueKind::Float, r#""NaN""#, r#"{"$InfNaN":0}"#),
        (ValueKind::Float, r#""-Infinity""#, r#"{"$InfNaN":-1}"#),
        (ValueKind::Numeric, "1.50", "1.5"),
        (ValueKind::Numeric, "0.00", "0"),
        (ValueKind::Numeric, "-0.000001", "-0.000001"),
        (ValueKind::Numeric, "123456789012345", "123456789012345"),
        (ValueKind::Numeric, "123456789012345.6", r#""123456789012345.6""#),
        (ValueKind::Numeric, "0.1234567890123450", "0.123456789012345"),
        (ValueKind::Numeric, "1000000000000000000000", "1e+21"),
        (ValueKind::Numeric, "1000000000000000000001.00", r#""1000000000000000000001.00""#),
        (ValueKind::Numeric, r#""Infinity""#, r#"{"$InfNaN":1}"#),
    ] {
        assert_eq!(encoded(&kind, raw), ejson, "{kind:?} {raw}");
    }
    let long = format!("1{}", "0".repeat(400));
    assert_eq!(encoded(&ValueKind::Numeric, &long), format!("{long:?}"));
}

#[test]
fn instants() {
    for (raw, ejson) in [
        ("1970-01-01T00:00:00", "0"),
        ("2024-02-29T12:30:00.123999", "1709209800123"),
        ("2024-02-29T12:30:00.1", "1709209800100"),
        ("1969-12-31T23:59:59.9999", "-1"),
        ("1969-12-31T23:59:59.000001", "-1000"),
        ("2024-02-29T18:15:00+05:45", "1709209800000"),
        ("1900-01-01T00:00:00+05:41:16", "-2209009276000"),
        ("2024-02-29T07:30:00-05", "1709209800000"),
        ("0001-01-01T00:00:00", "-62135596800000"),
        ("0001-12-31T00:00:00 BC", "-62135683200000"),
        ("4714-11-24T00:00:00+00:00 BC", "-210866803200000"),
        ("10000-01-01T00:00:00", "253402300800000"),
        ("275760-09-13T00:00:00", "8640000000000000"),
        ("2024-02-29", "1709164800000"),
    ] {
        let raw = format!("{raw:?}");
        assert_eq!(
            encoded(&ValueKind::Timestamp, &raw),
            format!(r#"{{"$date":{ejson}}}"#),
            "{raw}"
        );
    }
    let beyond = r#""294276-12-31T23:59:59.999999""#;
    assert_eq!(encoded(&ValueKind::Timestamp, beyond), beyond);
    assert_eq!(encoded(&ValueKind::Timestamp, r#""-infinity""#), r#"{"$InfNaN":-1}"#);
    assert_eq!(encoded(&ValueKind::DateAsDate, r#""infinity""#), r#"{"$InfNaN":1}"#);
    assert_eq!(encoded(&ValueKind::Date, r#""2024-02-29""#), r#""2024-02-29""#);
}

#[test]
fn text_json_and_binary() {
    for (kind, raw, ejson) in [
        (ValueKind::Text, r#""a\n\u0001é$""#, r#""a\n\u0001é$""#),
        (ValueKind::Text, r#"{"a": "$"}"#, r#"{"a":"$"}"#),
        (ValueKind::Json, r#"{"a": 1.00}"#, r#"{"a": 1.00}"#),
        (ValueKind::Json, r#"{"$date": 0}"#, r#"{"$escape":{"$date":0}}"#),
        (ValueKind::Json, r#"[{"\u0024date": 0}]"#, r#"[{"$escape":{"$date":0}}]"#),
        (ValueKind::Json, r#"{"$date": 0, "a": 1}"#, r#"{"$date":0,"a":1}"#),
        (
            ValueKind::Json,
            r#"{"$escape": {"$type": "a", "$value": {"$InfNaN": 0}}}"#,
            r#"{"$escape":{"$escape":{"$escape":{"$type":"a","$value":{"$escape":{"$InfNaN":0}}}}}}"#,
        ),
        (ValueKind::Ejson, r#"{"$date": 0}"#, r#"{"$date": 0}"#),
        (ValueKind::Binary, r#""aGk=""#, r#"{"$binary":"aGk="}"#),
        (ValueKind::Binary, r#""""#, r#"{"$binary":""}"#),
        (ValueKind::BinaryHex, r#""\\x6869""#, r#"{"$binary":"aGk="}"#),
    ] {
        assert_eq!(encoded(&kind, raw), ejson, "{kind:?} {raw}");
    }
}

#[test]
fn arrays() {
    for (kind, raw, ejson) in [
        (ValueKind::Integer, "[]", "[]"),
        (ValueKind::Integer, "[1,null,3]", "[1,null,3]"),
        (ValueKind::Numeric, "[[1.50,2],[3,4]]", "[[1.5,2],[3,4]]"),
        (ValueKind::BinaryHex, r#"["\\xff",null]"#, r#"[{"$binary":"/w=="},null]"#),
        (ValueKind::Timestamp, r#"["1970-01-01T00:00:00"]"#, r#"[{"$date":0}]"#),
        (ValueKind::Json, r#"[{"$date": 0},[1]]"#, r#"[{"$escape":{"$date":0}},[1]]"#),
        (ValueKind::Integer, "null", "null"),
    ] {
        assert_eq!(encoded(&array_of(kind), raw), ejson, "{raw}");
    }
}

#[test]
fn texts_that_postgresql_does_not_write_are_errors() {
    for (kind, raw) in [
        (ValueKind::Boolean, "1"),
        (ValueKind::Integer, "1.5"),
        (ValueKind::Integer, "-"),
        (ValueKind::BigInteger, "9223372036854775808"),
        (ValueKind::Float, "1e999"),
        (ValueKind::Float, r#""nan""#),
        (ValueKind::Numeric, "."),
        (ValueKind::Numeric, "1e5"),
        (ValueKind::Interval, "1"),
        (ValueKind::Date, "1"),
        (ValueKind::Binary, r#""a b""#),
        (ValueKind::BinaryHex, r#""\\x6""#),
        (ValueKind::BinaryHex, r#""\\xé""#),
        (ValueKind::Timestamp, r#""2024-13-01""#),
        (ValueKind::Timestamp, r#""2024-01-01T""#),
        (ValueKind::Timestamp, r#""2024-01-01T10:00:00.""#),
        (ValueKind::Timestamp, "\""),
        (ValueKind::Timestamp, "0"),
        (array_of(ValueKind::Integer), r#"["a"]"#),
        (array_of(ValueKind::Integer), "["),
    ] {
        let outcome = encode(&kind, raw, &mut String::new());
        assert!(outcome.is_err(), "{kind:?} {raw}");
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(encode(&array_of(ValueKind::Integer), &deep, &mut String::new()).is_err());
    let _ = encode(&ValueKind::Json, &deep.replacen('[', "[\"$\",", 1), &mut String::new());
}
