//! Whether what came is what a transcript says.

use serde_json::Value;

use crate::transcript::{Order, Received};

/// Compares what came over one connection with what should have come.
pub(crate) fn agree(expected: &[&Received], came: &[String]) -> bool {
    let mut came: Vec<&str> = came.iter().map(String::as_str).collect();
    if expected.len() != came.len() {
        return false;
    }
    let of_order = |floating: bool| {
        expected.iter().filter(move |one| (one.order == Order::Floating) == floating)
    };
    for one in of_order(true) {
        let Some(index) = came.iter().position(|text| matches(&one.text, text)) else {
            return false;
        };
        came.remove(index);
    }
    let fixed: Vec<_> = of_order(false).collect();
    let groups = fixed.chunk_by(|a, b| a.order == Order::Group && b.order == Order::Group);
    let mut rest = came.as_slice();
    for group in groups {
        let (these, others) = rest.split_at(group.len());
        rest = others;
        let mut these = these.to_vec();
        for one in group {
            let Some(index) = these.iter().position(|text| matches(&one.text, text)) else {
                return false;
            };
            these.remove(index);
        }
    }
    true
}

/// Whether a message is the expected one, in which placeholders stand for what varies.
fn matches(expected: &str, text: &str) -> bool {
    match (serde_json::from_str(expected), serde_json::from_str(text)) {
        (Ok(expected), Ok(value)) => value_matches(&expected, &value),
        _ => expected == text,
    }
}

fn value_matches(expected: &Value, value: &Value) -> bool {
    match (expected, value) {
        (Value::String(expected), value) if expected == "<number>" => value.is_number(),
        (Value::String(expected), Value::String(text)) => text_matches(expected, text),
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| value_matches(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let has =
                |(name, a): (&String, &Value)| b.get(name).is_some_and(|b| value_matches(a, b));
            a.len() == b.len() && a.iter().all(has)
        }
        _ => expected == value,
    }
}

fn text_matches(expected: &str, text: &str) -> bool {
    match expected {
        "<id>" | "<session>" => {
            text.len() == 17 && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
        }
        _ => match expected.split_once("<seconds>") {
            Some((start, end)) => {
                let seconds = text.strip_prefix(start).and_then(|text| text.strip_suffix(end));
                seconds.is_some_and(|seconds| seconds.parse::<u32>().is_ok())
            }
            None => expected == text,
        },
    }
}

#[test]
fn only_equal_messages_agree_and_in_order() {
    let agree = |expected: &str, came: &str| {
        let expected: Vec<_> =
            expected.lines().map(|line| Received::parse(line).unwrap()).collect();
        let came: Vec<_> = came.lines().map(str::to_owned).collect();
        agree(&expected.iter().collect::<Vec<_>>(), &came)
    };
    assert!(agree("< 1\n< 2", "1\n2"));
    assert!(!agree("< 1\n< 2", "2\n1"));
    assert!(!agree("< 1", "1\n2") && !agree("< 1\n< 2", "1"));
    assert!(agree("< 0\n<* 1\n<* 2\n< 3", "0\n2\n1\n3"));
    assert!(!agree("< 0\n<* 1\n<* 2\n< 3", "2\n0\n1\n3"));
    assert!(!agree("<* 1\n<* 1\n", "1\n2"));
    assert!(agree("< 1\n<~ 2\n< 3", "2\n1\n3") && agree("< 1\n<~ 2\n< 3", "1\n3\n2"));
    assert!(!agree("< 1\n<~ 2\n< 3", "3\n1\n2"));
    assert!(agree(r#"< {"a":1.0,"b":[null]}"#, r#"{"b":[null],"a":1}"#));
    assert!(!agree(r#"< {"a":1}"#, r#"{"a":1,"b":1}"#));
    assert!(!agree(r#"< {"a":1,"b":1}"#, r#"{"a":1,"c":1}"#));
    assert!(!agree(r#"< {"a":null}"#, r"{}"));
    assert!(agree(r#"< ["<id>","<number>"]"#, r#"["abcdefghijklmnopq",5]"#));
    assert!(!agree(r#"< ["<id>"]"#, r#"["abcdefghijklmnop"]"#));
    assert!(agree(r#"< ["a <seconds> b"]"#, r#"["a 10 b"]"#));
    assert!(!agree(r#"< ["a <seconds> b"]"#, r#"["a x b"]"#));
    assert!(agree("< closed 1000", "closed 1000") && !agree("< closed 1000", "closed 3000"));
}
