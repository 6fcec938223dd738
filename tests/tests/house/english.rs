//! Phrases that come from another language, kept out of pages, comments and the texts of errors.

use crate::tree::Tree;

/// Word by word, so that this file has none of them.
const PHRASES: [&[&str]; 3] = [&["that", "is", "none"], &["of", "which"], &["who", "asks"]];

/// Whether it is between words, such as what a comment, a cell or a string begins with.
fn is_between(c: char) -> bool {
    c.is_whitespace() || "/!#*>|-\"'()[]{}".contains(c)
}

/// Where a text has one of the phrases, which may begin on one line and end on the next.
fn found(path: &str, text: &str) -> Vec<String> {
    let words: Vec<(usize, String)> = (1..)
        .zip(text.lines())
        .flat_map(|(number, line)| {
            let words = line.split(is_between).filter(|word| !word.is_empty());
            words.map(move |word| (number, word.to_lowercase()))
        })
        .collect();
    let mut found = Vec::new();
    for phrase in PHRASES {
        for here in words.windows(phrase.len()) {
            let text = here.iter().map(|(_, word)| word.as_str()).collect::<Vec<_>>().join(" ");
            // Commas and full stops may follow a phrase, but not be within.
            if text.trim_end_matches(|c: char| !c.is_alphanumeric()) == phrase.join(" ") {
                found.push(format!("{path}:{}: {text}", here[0].0));
            }
        }
    }
    found
}

#[test]
fn the_english_is_english() {
    let tree = Tree::everything().expect("the repository's files");
    let found: Vec<String> = tree.files().flat_map(|(path, text)| found(path, text)).collect();
    assert!(found.is_empty(), "say it as one would say it in English:\n{}", found.join("\n"));
    for path in ["README.md", "ddp-postgres/docs/limits.md", "tests/tests/house/main.rs"] {
        assert!(tree.get(path).is_some(), "{path} was not looked at");
    }
}

#[test]
fn phrases_are_found_in_comments_and_pages() {
    let [none, which, asks] = PHRASES.map(|phrase| phrase.join(" "));
    let lines = |text: &str| {
        let found = found("a.rs", text).into_iter();
        found.map(|line| line.split(':').nth(1).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(lines(&format!("fn a() {{}}\n/// Rows, {which} each is a list.")), ["2"]);
    assert_eq!(lines(&format!("// One {}\n    // is none.", &none[..4])), ["1"]);
    assert_eq!(lines(&format!("return Err(\"({asks})\")\n//! {which}")), ["2", "1"]);
    // Code, other words, and two sentences.
    assert!(lines("an `Option` that is `None` publishes nothing").is_empty());
    assert!(lines("the values of whichever came; that is nonetheless so").is_empty());
    assert!(lines("what it is made of. Which one it is").is_empty());
}
