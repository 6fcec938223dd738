//! Whatever the guides and READMEs refer to exists: files, headings, and the tests that back their
//! claims.

use std::path::{Path, PathBuf};

/// Where the crates' guides are.
const GUIDES: [&str; 2] = ["ddp-server/docs", "ddp-postgres/docs"];
const READMES: [&str; 8] = [
    "README.md",
    "ddp-core/README.md",
    "ddp-postgres/README.md",
    "ddp-server/README.md",
    "examples/README.md",
    "tests/README.md",
    "tests/benches/README.md",
    "tests/fuzz/README.md",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files_in(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry of a folder").path());
    let mut files: Vec<PathBuf> = Vec::new();
    for path in paths {
        if path.is_dir() {
            files.extend(files_in(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn guides() -> Vec<PathBuf> {
    GUIDES.iter().flat_map(|folder| files_in(&root().join(folder), "md")).collect()
}

fn pages() -> impl Iterator<Item = PathBuf> {
    READMES.iter().map(|path| root().join(path)).chain(guides())
}

/// The text outside code blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// A heading's anchor, the same here as in rustdoc.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The targets of links to files: `](target)`, and `[name]: target` at the beginning of a line.
fn targets(text: &str) -> Vec<String> {
    let inline = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let defined = text.lines().filter_map(|line| line.strip_prefix('[')?.split_once("]: "));
    let all = inline.chain(defined.map(|(_, target)| target));
    let relative = all.filter(|target| !target.contains("://"));
    relative.map(|target| target.trim().to_owned()).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut count = 0;
    for page in pages() {
        for target in targets(&prose(&read(&page))) {
            let (file, heading) = target.split_once('#').unwrap_or((&target, ""));
            let folder = page.parent().expect("a file is in a folder");
            let path = if file.is_empty() { page.clone() } else { folder.join(file) };
            assert!(path.exists(), "{} links to {target}", page.display());
            if !heading.is_empty() {
                let text = read(&path);
                let mut headings = text.lines().filter(|line| line.starts_with('#'));
                let is_there = headings.any(|line| anchor(line) == heading);
                assert!(is_there, "{} links to {target}", page.display());
            }
            count += 1;
        }
    }
    assert!(count > 50, "{count} links were found");
}

/// Whether this is the name of a test in Rust: at least four words.
fn is_test(code: &str) -> bool {
    code.split('_').count() > 3 && code.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

/// Whether a file has this test: a function in Rust, a text in JavaScript.
fn has_test(file: &Path, name: &str) -> bool {
    let text = read(file);
    if is_test(name) {
        return text.contains(&format!("fn {name}("));
    }
    ['\'', '"', '`'].iter().any(|quote| text.contains(&format!("{quote}{name}{quote}")))
}

/// The tests that a paragraph names, each with the file or folder given for it.
fn tests_of(paragraph: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut names: Vec<String> = Vec::new();
    let (mut before, mut last) = ("", "");
    for (index, part) in paragraph.split('`').enumerate() {
        if index % 2 == 0 {
            before = part;
            continue;
        }
        if before.trim_end().ends_with(" in") && part.contains("tests/") {
            // A test in JavaScript is any text, so only what stands right before its file is one.
            if part.ends_with(".mjs") && before == " in " {
                names.push(last.to_owned());
            }
            found.extend(names.drain(..).map(|name| (name, part.to_owned())));
        } else if is_test(part) && !before.ends_with('[') {
            // Links go to what the crates export.
            names.push(part.to_owned());
        }
        last = part;
    }
    assert!(names.is_empty(), "no file is given for {names:?}");
    found
}

#[test]
fn tests_that_pages_name_exist() {
    let mut count = 0;
    for page in pages() {
        let text = prose(&read(&page)).replace("\n|", "\n\n|");
        for paragraph in text.split("\n\n") {
            for (name, place) in tests_of(&paragraph.replace('\n', " ")) {
                let path = root().join(&place);
                let files = if path.is_dir() { files_in(&path, "rs") } else { vec![path] };
                let is_there = files.iter().any(|file| has_test(file, &name));
                assert!(is_there, "{}: there is no {name} in {place}", page.display());
                count += 1;
            }
        }
    }
    assert!(count > 40, "{count} tests were found");
}

#[test]
fn the_readme_is_short() {
    let lines = read(&root().join("README.md")).lines().count();
    assert!(lines <= 200, "README.md has {lines} lines; the rest belongs in the guides");
}

#[test]
fn what_is_wrong_is_found() {
    let paragraph = "shown by `a_b_c_d` and `e_f_g_h` in `tests/x.rs`; `Table::new` in `tests/y`, \
                     `sees nothing` in `tests/z.mjs`; `npm ci` in `tests/y`";
    let pairs =
        [("a_b_c_d", "tests/x.rs"), ("e_f_g_h", "tests/x.rs"), ("sees nothing", "tests/z.mjs")];
    let pairs = pairs.map(|(name, place)| (name.to_owned(), place.to_owned()));
    assert_eq!(tests_of(paragraph), pairs);
    assert_eq!(targets("[a](b.md#c) [d]\n[d]: e.md\n<https://x.y>"), ["b.md#c", "e.md"]);
    assert_eq!(anchor("# Logins of a web application"), "logins-of-a-web-application");
}
