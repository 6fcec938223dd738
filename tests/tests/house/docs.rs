//! Counts examples in the documentation that are run.

use crate::tree::Tree;

/// How many examples of a crate `cargo test --doc` runs, and how many it only compiles.
pub(crate) fn examples(tree: &Tree, folder: &str) -> (usize, usize) {
    let (mut run, mut compiled) = (0, 0);
    for (path, text) in tree.of(folder) {
        let is_markdown = path.ends_with(".md");
        let mut is_open = false;
        for line in text.lines().map(str::trim) {
            let line = if is_markdown {
                line
            } else if let Some(doc) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))
            {
                doc.trim_start()
            } else {
                is_open = false;
                continue;
            };
            let Some(tags) = line.strip_prefix("```") else { continue };
            is_open = !is_open;
            if is_open {
                match kind(tags) {
                    Some(true) => run += 1,
                    Some(false) => compiled += 1,
                    None => {}
                }
            }
        }
    }
    (run, compiled)
}

/// Whether an example with these tags is run; `None` if it is not even compiled.
fn kind(tags: &str) -> Option<bool> {
    let mut runs = true;
    for tag in tags.split([',', ' ']).filter(|tag| !tag.is_empty()) {
        match tag {
            "rust" | "should_panic" => {}
            "no_run" | "compile_fail" => runs = false,
            edition if edition.starts_with("edition") => {}
            _ => return None,
        }
    }
    Some(runs)
}

/// How many lines of Markdown belong to a crate's documentation.
pub(crate) fn markdown(tree: &Tree, folder: &str) -> usize {
    let pages = tree.of(folder).filter(|(path, _)| path.ends_with(".md"));
    pages.map(|(_, text)| text.lines().filter(|line| !line.trim().is_empty()).count()).sum()
}

#[test]
fn many_examples_run() {
    let tree = Tree::from_environment().expect("the crates' sources");
    let run: usize = crate::tree::CRATES.iter().map(|(_, folder)| examples(&tree, folder).0).sum();
    assert!(run >= 100, "{run} examples run");
}

#[test]
fn examples_are_told_from_other_blocks() {
    let text = "//! ```\n//! let a = 1;\n//! ```\n\n/// ```text\n/// a\n/// ```\n/// ```no_run\n\
                /// b\n/// ```\n#[doc = include_str!(\"../docs/a.md\")]\nfn a() {}";
    let (page, other) = ("```rust\nc\n```\n\n```sql\n```\n", "```\nd\n```\n");
    let tree = Tree::new(&[("a/src/lib.rs", text), ("a/docs/a.md", page), ("a/README.md", other)]);
    assert_eq!(examples(&tree, "a"), (2, 1));
    assert_eq!(markdown(&tree, "a"), 5);
}
