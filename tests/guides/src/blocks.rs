use std::path::Path;

/// The folder of the guides about the database.
const GUIDES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ddp-postgres/docs");

/// A block below a heading of a guide: the first in its language, or the one after so many of them.
/// Lines that only rustdoc sees are left out.
///
/// # Panics
/// If there is none: then the guide has changed, and what uses the block must follow.
#[must_use]
pub fn block(guide: &str, heading: &str, language: &str, skipped: usize) -> String {
    let path = Path::new(GUIDES).join(guide);
    let text = std::fs::read_to_string(&path);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let found = blocks(&text, heading, language).nth(skipped);
    found.unwrap_or_else(|| panic!("{guide} lacks a block in {language} below {heading:?}"))
}

fn blocks(text: &str, heading: &str, language: &str) -> impl Iterator<Item = String> {
    let mut is_below = false;
    // Prose and blocks take turns. A block begins with its tags.
    let parts = text.split("\n```").enumerate().filter_map(move |(index, part)| {
        if index % 2 == 1 {
            return Some(part).filter(|_| is_below);
        }
        for line in part.lines().filter(|line| line.starts_with('#')) {
            is_below = line.trim_start_matches('#').trim() == heading;
        }
        None
    });
    parts.filter_map(move |part| {
        let (tags, code) = part.split_once('\n')?;
        let is_seen = |line: &&str| language != "rust" || (*line != "#" && !line.starts_with("# "));
        let lines = code.lines().filter(is_seen).map(|line| format!("{line}\n"));
        (tags.split(',').next() == Some(language)).then(|| lines.collect())
    })
}

/// A block in which something that cannot stay, such as a port, is another thing.
///
/// # Panics
/// If it is not there exactly once: then the guide has changed, and what replaces it must follow.
#[must_use]
pub fn replaced(block: &str, from: &str, to: &str) -> String {
    assert_eq!(block.matches(from).count(), 1, "{from:?} is not there once:\n{block}");
    block.replace(from, to)
}

#[test]
fn blocks_are_found_by_heading_and_language() {
    let text = "# A\n\n```sh\n# one\n```\n\n# B\n\n```sh\ntwo\n```\nand\n```rust,no_run\n# use a;\nb();\n\
                ```\n\n```sh\nthree\n\n```\n";
    let found = |heading, language| blocks(text, heading, language).collect::<Vec<_>>();
    assert_eq!(found("A", "sh"), ["# one\n"]);
    assert_eq!(found("B", "sh"), ["two\n", "three\n"]);
    assert_eq!(found("B", "rust"), ["b();\n"]);
    assert!(found("one", "sh").is_empty());
}
