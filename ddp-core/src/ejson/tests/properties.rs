use proptest::prelude::*;

use super::*;

/// Keys, many of them with a special meaning.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "$date", "$regexp", "$flags", "$InfNaN", "$binary", "$escape", "$type", "$value", "$x",
        ])
        .prop_map(str::to_owned),
        ".{0,3}",
    ]
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f64>(), any::<i32>().prop_map(f64::from), any::<i64>().prop_map(|n| n as f64)]
}

/// Values that are plain JSON.
fn json() -> impl Strategy<Value = Ejson> {
    let finite = number().prop_filter("finite", |number| number.is_finite());
    let leaf = prop_oneof![
        Just(Ejson::Null),
        any::<bool>().prop_map(Ejson::Bool),
        finite.prop_map(Ejson::Number),
        any::<String>().prop_map(Ejson::String),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Ejson::Array),
            prop::collection::vec((key(), inner), 0..4).prop_map(Ejson::object),
        ]
    })
}

fn ejson() -> impl Strategy<Value = Ejson> {
    let flags = prop::sample::subsequence(vec!['g', 'i', 'm', 'u', 'y'], 0..=5);
    let leaf = prop_oneof![
        json(),
        number().prop_map(Ejson::Number),
        (-9_000_000_000_000_000..9_000_000_000_000_000_i64)
            .prop_map(Date::from_millis)
            .prop_filter("valid", |date| date.is_valid())
            .prop_map(Ejson::Date),
        prop::collection::vec(any::<u8>(), 0..20).prop_map(Ejson::Binary),
        (any::<String>(), flags)
            .prop_map(|(source, flags)| Ejson::RegExp { source, flags: String::from_iter(flags) }),
        (any::<String>(), json()).prop_map(|(name, value)| Ejson::custom(name, value)),
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Ejson::Array),
            prop::collection::vec((key(), inner), 0..4).prop_map(Ejson::object),
        ]
    })
}

/// The same value for serde_json. Its numbers are compared as doubles.
fn to_serde_json(value: &Ejson) -> serde_json::Value {
    serde_json::to_value(value.clone()).unwrap()
}

proptest! {
    #[test]
    fn round_trip_is_lossless(value in ejson()) {
        let text = value.to_text();
        let read = parse(&text).unwrap();
        prop_assert_eq!(&read, &value);
        prop_assert_eq!(read.to_text(), text);
    }

    #[test]
    fn json_value_is_plain_and_comes_back(value in ejson()) {
        let plain = value.clone().into_json_value();
        prop_assert_eq!(&Ejson::from_json_value(plain).unwrap(), &value);
    }

    #[test]
    fn serde_passes_values_through(value in ejson()) {
        prop_assert_eq!(to_text(&value).unwrap(), value.to_text());
        prop_assert_eq!(&to_value(&value).unwrap(), &value);
        prop_assert_eq!(&from_value::<Ejson>(value.clone()).unwrap(), &value);
    }

    #[test]
    fn other_formats_see_the_wire_form(value in ejson()) {
        let through: Ejson = serde_json::from_value(to_serde_json(&value)).unwrap();
        prop_assert_eq!(&through, &value);
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(parse(&text).unwrap(), value);
    }

    #[test]
    fn canonical_is_idempotent(value in ejson(), indent in prop::sample::select(vec!["", "  "])) {
        let text = stringify(&value, true, indent);
        let read = parse(&text).unwrap();
        prop_assert_eq!(stringify(&read, true, indent), text);
        prop_assert_eq!(read, value);
    }

    #[test]
    fn escaped_json_reads_back_the_same(value in json()) {
        let raw = stringify_plain(&value);
        let mut out = String::new();
        escape_json(&raw, &mut out).unwrap();
        prop_assert_eq!(parse(&out).unwrap(), value);
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".*") {
        let _ = parse(&text);
        let _ = escape_json(&text, &mut String::new());
    }

    #[test]
    fn almost_json_never_panics(text in r#"([\[\]{},:"\\ 0-9eE.+-]|\$|\\u[dD][89a-f]00|null|"\$date"|"\$escape"|é){0,40}"#) {
        let _ = parse(&text);
    }

    /// serde_json differs from us only in lone surrogates and huge numbers, and this alphabet can write
    /// neither.
    #[test]
    fn takes_what_serde_json_takes(text in r#"([\[\]{},:"\\ nu0-9.-]|e1|true|null|"a":|\n){0,12}"#) {
        let ours = json::parse(&text).map(|(value, _)| value);
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{:?} {:?}", ours, theirs);
    }

    #[test]
    fn any_string_is_written_as_serde_json_writes_it(string in any::<String>()) {
        let text = Ejson::from(&*string).to_text();
        prop_assert_eq!(&text, &serde_json::to_string(&string).unwrap());
        prop_assert_eq!(parse(&text).unwrap(), Ejson::String(string));
    }

    #[test]
    fn integers_pass_exactly(number in any::<i64>(), unsigned in any::<u64>()) {
        prop_assert_eq!(from_text::<i64>(&to_text(&number).unwrap()).unwrap(), number);
        prop_assert_eq!(from_text::<u64>(&to_text(&unsigned).unwrap()).unwrap(), unsigned);
    }
}

/// The text of plain JSON, with nothing escaped.
fn stringify_plain(value: &Ejson) -> String {
    let custom = Ejson::custom("", value.clone()).to_text();
    custom[r#"{"$type":"","$value":"#.len()..custom.len() - 1].to_owned()
}
