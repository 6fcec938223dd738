use super::*;

mod bridge;
mod properties;
mod raw_params;

/// The reference's results for texts, a JSON array per line: the text and, unless it throws,
/// `EJSON.stringify` of `EJSON.parse(text)`, the same with `canonical`, and with `indent: true`.
///
/// Printed under Node 20 with TZ=UTC by npm's ejson 2.2.3, after `addType` of each type used, with
/// a `toJSONValue` that returns what the factory got. The package `ejson` of Meteor 3 printed the
/// same.
const REFERENCE: &str = include_str!("reference.jsonl");

#[test]
fn agrees_with_the_reference() {
    let mut count = 0;
    for line in REFERENCE.lines() {
        let row: Vec<String> = from_text(line).unwrap();
        let parsed = parse(&row[0]);
        if row.len() == 1 {
            assert!(parsed.is_err(), "{}", row[0]);
        } else {
            let value = parsed.unwrap();
            assert_eq!(value.to_text(), row[1], "{}", row[0]);
            assert_eq!(stringify(&value, true, ""), row[2], "{}", row[0]);
            assert_eq!(stringify(&value, false, "  "), row[3], "{}", row[0]);
            assert_eq!(stringify(&value, false, ""), row[1], "{}", row[0]);
        }
        count += 1;
    }
    assert_eq!(count, 163);
}

/// The bits of a double, and `JSON.stringify` of it in Node 20.
const NUMBERS: [(u64, &str); 44] = [
    (0x0000000000000000, "0"),
    (0x8000000000000000, "0"),
    (0x3ff0000000000000, "1"),
    (0xbff0000000000000, "-1"),
    (0x3ff8000000000000, "1.5"),
    (0x3fb999999999999a, "0.1"),
    (0x3fc999999999999a, "0.2"),
    (0x3fd3333333333334, "0.30000000000000004"),
    (0x4059000000000000, "100"),
    (0x430c6bf526340000, "1000000000000000"),
    (0x42dc12218377de40, "123456789012345"),
    (0x4341c37937e08000, "10000000000000000"),
    (0x4376345785d8a000, "100000000000000000"),
    (0x4415af1d78b58c40, "100000000000000000000"),
    (0x444b1ae4d6e2ef50, "1e+21"),
    (0x4454542ba12a337c, "1.5e+21"),
    (0xc44b1ae4d6e2ef50, "-1e+21"),
    (0x441ac53a7e04bcda, "123456789012345680000"),
    (0x3ee4f8b588e368f1, "0.00001"),
    (0x3eb0c6f7a0b5ed8d, "0.000001"),
    (0x3e7ad7f29abcaf48, "1e-7"),
    (0x3e8421f5f40d8376, "1.5e-7"),
    (0xbe8421f5f40d8376, "-1.5e-7"),
    (0x0000000000000001, "5e-324"),
    (0x0010000000000000, "2.2250738585072014e-308"),
    (0x7fefffffffffffff, "1.7976931348623157e+308"),
    (0x433fffffffffffff, "9007199254740991"),
    (0x4340000000000000, "9007199254740992"),
    (0x4340000000000001, "9007199254740994"),
    (0xc33fffffffffffff, "-9007199254740991"),
    (0x4011666666666666, "4.35"),
    (0x3f201f31f46ed246, "0.000123"),
    (0x54b249ad2594c37d, "1e+100"),
    (0x3ff3c0ca428c59fb, "1.2345678901234567"),
    (0x4330000000000000, "4503599627370496"),
    (0x41e0000000000000, "2147483648"),
    (0x41f0000000000000, "4294967296"),
    (0x4340000000000001, "9007199254740994"),
    (0x3fd5555555555555, "0.3333333333333333"),
    (0x3fe5555555555555, "0.6666666666666666"),
    (0x7e6ddd4baa009303, "1e+301"),
    (0x41124c41d4fdf3b6, "299792.458"),
    (0x44dfe185ca57c517, "6.02214076e+23"),
    (0x390b860bde023111, "6.62607015e-34"),
];

#[test]
fn numbers_as_javascript_prints_them() {
    for (bits, text) in NUMBERS {
        let number = f64::from_bits(bits);
        assert_eq!(Ejson::Number(number).to_text(), text);
        assert_eq!(to_text(&number).unwrap(), text);
        let read = parse(text).unwrap().as_f64().unwrap();
        assert_eq!(read, number, "{text}");
    }
    assert_eq!(parse("-0").unwrap().as_f64().map(f64::to_bits), Some((-0.0_f64).to_bits()));
}

#[test]
fn lone_surrogates_become_replacement_characters() {
    for (text, string) in [
        (r#""a\ud800""#, "a\u{fffd}"),
        (r#""\udc00b""#, "\u{fffd}b"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
        (r#""\ud83dA""#, "\u{fffd}A"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
    ] {
        assert_eq!(parse(text).unwrap(), Ejson::from(string), "{text}");
    }
    assert!(parse(r#""\ud83d\u00""#).is_err());
}

#[test]
fn nesting_is_limited() {
    let arrays = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth| format!("{}1{}", r#"{"$escape":"#.repeat(depth), "}".repeat(depth));
    assert_eq!(parse(&arrays(NESTING_MAX)).unwrap().to_text(), arrays(NESTING_MAX));
    assert!(parse(&arrays(NESTING_MAX + 1)).is_err());
    assert!(parse(&objects(NESTING_MAX + 1)).is_err());
    assert!(parse(&"[".repeat(1_000_000)).is_err());
    let nested = format!("[{}]", vec!["[]"; 1000].join(","));
    assert_eq!(parse(&nested).unwrap().to_text(), nested);
}

#[test]
fn errors_tell_where() {
    for (text, message) in [
        ("[1 2]", "expected `,` or `]` at byte 3"),
        (r#"{"a":}"#, "expected a value at byte 5"),
        (r#"{"a":[0,{"$binary":"!"}]}"#, "a[1]: $binary is not base64"),
        (r#"{"a b":{"$binary":5}}"#, r#"["a b"].$binary: expected string, got number"#),
        (r#"{"$escape":5}"#, "$escape: expected object, got number"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn equality_ignores_key_order_and_knows_nan() {
    assert_eq!(parse(r#"{"a":1,"b":2}"#), parse(r#"{"b":2,"a":1}"#));
    assert_eq!(Ejson::Number(f64::NAN), Ejson::Number(f64::NAN));
    assert_ne!(Ejson::Number(0.0), Ejson::Null);
    assert_ne!(Ejson::object([("$date", 0)]), Ejson::Date(Date::from_millis(0)));
}

#[test]
fn escape_json_leaves_plain_text_alone() {
    for (raw, escaped) in [
        (r#"{"a": 1.0, "b": [1e400]}"#, r#"{"a": 1.0, "b": [1e400]}"#),
        (r#"{"price": "5$"}"#, r#"{"price": "5$"}"#),
        (r#"{"price": "$5"}"#, r#"{"price":"$5"}"#),
        (r#"{"$date": 5}"#, r#"{"$escape":{"$date":5}}"#),
        (r#"{"\u0024date": 5}"#, r#"{"$escape":{"$date":5}}"#),
        (r#"[{"$date": 5, "a": 1}]"#, r#"[{"$date":5,"a":1}]"#),
        (r#"{"$escape": {"$date": 5}}"#, r#"{"$escape":{"$escape":{"$escape":{"$date":5}}}}"#),
    ] {
        let mut out = String::from(">");
        escape_json(raw, &mut out).unwrap();
        assert_eq!(out[1..], *escaped);
    }
    assert!(escape_json(r#"{"$date":"#, &mut String::new()).is_err());
}

#[test]
fn unknown_types_are_found() {
    let types = Types::new().with("Distance");
    for (text, unknown) in [
        (r#"[1,{"a":{"$type":"oid","$value":"x"}},{"$type":"Decimal","$value":"1"}]"#, None),
        (r#"{"$type":"Distance","$value":1}"#, None),
        (r#"{"a":[{"$type":"Speed","$value":1}]}"#, Some("Speed")),
        (r#"{"$escape":{"$type":"Speed","$value":1}}"#, None),
    ] {
        let found = types.check(&parse(text).unwrap()).err().map(|unknown| unknown.0);
        assert_eq!(found.as_deref(), unknown, "{text}");
    }
}

#[test]
fn ready_types_check_their_text() {
    let id: ObjectId = "0123456789ABCDEF01234567".parse().unwrap();
    assert_eq!(id.to_string(), "0123456789abcdef01234567");
    assert_eq!(ObjectId::from_bytes(id.bytes()), id);
    assert_eq!(Ejson::from(id), Ejson::custom("oid", "0123456789abcdef01234567"));
    for text in
        ["", "0123456789abcdef0123456", "0123456789abcdef0123456g", "é123456789abcdef012345"]
    {
        assert!(text.parse::<ObjectId>().is_err(), "{text}");
    }
    for text in ["0", "-1.50", "1e5", "1E+10", "2.5e-7", "NaN", "Infinity", "-Infinity"] {
        assert_eq!(text.parse::<Decimal>().unwrap().as_str(), text);
    }
    for text in ["", "-", "1.", ".5", "1e", "1e+", "--1", "+1", "-NaN", "1 ", "0x1", "1e5e5"] {
        assert!(text.parse::<Decimal>().is_err(), "{text}");
    }
}
