//! Compares what arrived with a transcript.

use crate::transcript::{Order, Received};

/// Compares what arrived on one connection with the expected messages.
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

/// Whether a message is the expected one, byte for byte except for placeholders.
fn matches(expected: &str, text: &str) -> bool {
    let placeholder = PLACEHOLDERS
        .iter()
        .filter_map(|(name, take)| Some((expected.find(name)?, *name, *take)))
        .min_by_key(|(at, ..)| *at);
    let Some((at, name, take)) = placeholder else {
        return expected == text;
    };
    let (start, end) = (&expected[..at], &expected[at + name.len()..]);
    let rest = text.strip_prefix(start).and_then(take);
    rest.is_some_and(|rest| matches(end, rest))
}

/// Removes what a placeholder stands for from the front of a text.
type Take = for<'a> fn(&'a str) -> Option<&'a str>;

const PLACEHOLDERS: [(&str, Take); 4] = [
    ("\"<session>\"", take_id),
    ("\"<id>\"", take_id),
    ("\"<number>\"", take_number),
    ("<seconds>", take_number),
];

fn take_id(text: &str) -> Option<&str> {
    let (id, rest) = text.strip_prefix('"')?.split_once('"')?;
    let is_id = id.len() == 17 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_id.then_some(rest)
}

fn take_number(text: &str) -> Option<&str> {
    let rest = text.trim_start_matches(|char: char| char.is_ascii_digit());
    (rest.len() < text.len()).then_some(rest)
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
    assert!(!agree(r#"< {"a":1,"b":1}"#, r#"{"b":1,"a":1}"#));
    assert!(agree(
        r#"< ["<id>","<number>","<id>"]"#,
        r#"["abcdefghijklmnopq",50,"bbcdefghijklmnopq"]"#
    ));
    assert!(!agree(r#"< ["<id>"]"#, r#"["abcdefghijklmnop"]"#));
    assert!(!agree(r#"< ["<number>"]"#, r#"["5"]"#) && !agree(r#"< ["<number>"]"#, "[]"));
    assert!(agree(r#"< ["a <seconds> b"]"#, r#"["a 10 b"]"#));
    assert!(!agree(r#"< ["a <seconds> b"]"#, r#"["a x b"]"#));
    assert!(agree("< closed 1000", "closed 1000") && !agree("< closed 1000", "closed 3000"));
}
