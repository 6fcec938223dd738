//! The files of the three crates, from disk or from memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// The crates, by the name that programs use and by their folder.
pub(crate) const CRATES: [(&str, &str); 3] =
    [("ddp_core", "ddp-core"), ("ddp_server", "ddp-server"), ("ddp_postgres", "ddp-postgres")];

/// The files' texts by path from the root, such as `ddp-core/src/id.rs`.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
    /// Names under which files are judged instead of their own.
    names: BTreeMap<String, String>,
}

impl Tree {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned()));
        Self { files: files.collect(), names: BTreeMap::new() }
    }

    /// The tree in `HOUSE_ROOT`, or otherwise this repository's.
    pub(crate) fn from_environment() -> io::Result<Self> {
        let root = root();
        let mut tree = Self::default();
        for (_, folder) in CRATES {
            let manifest = format!("{folder}/Cargo.toml");
            tree.files.insert(manifest.clone(), read(&root.join(&manifest))?);
            tree.add(&root, &root.join(folder).join("src"))?;
            let docs = root.join(folder).join("docs");
            if docs.is_dir() {
                tree.add(&root, &docs)?;
            }
        }
        if let Some(moves) = env::var_os("HOUSE_MOVES") {
            let moves = read(Path::new(&moves))?;
            let pairs = moves.lines().filter_map(|line| line.split_once(' '));
            tree.names = pairs.map(|(old, new)| (old.to_owned(), new.trim().to_owned())).collect();
        }
        Ok(tree)
    }

    /// Whatever somebody has written in the whole repository: sources, pages, scripts, settings.
    pub(crate) fn everything() -> io::Result<Self> {
        let root = root();
        let mut tree = Self::default();
        tree.add_if(&root, &root, &is_written)?;
        Ok(tree)
    }

    fn add(&mut self, root: &Path, folder: &Path) -> io::Result<()> {
        let is_source =
            |path: &Path| path.extension().is_some_and(|end| end == "rs" || end == "md");
        self.add_if(root, folder, &|path| path.is_dir() || is_source(path))
    }

    /// Adds the files that are wanted, in folders that are wanted.
    fn add_if(
        &mut self,
        root: &Path,
        folder: &Path,
        is_wanted: &dyn Fn(&Path) -> bool,
    ) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if !is_wanted(&path) {
                continue;
            }
            if path.is_dir() {
                self.add_if(root, &path, is_wanted)?;
            } else {
                let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
                self.files.insert(name, read(&path)?);
            }
        }
        Ok(())
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// A crate's sources, and the Markdown that is part of its documentation.
    pub(crate) fn of(&self, folder: &str) -> impl Iterator<Item = (&str, &str)> {
        let prefix = format!("{folder}/");
        let own = self.files.iter().filter(move |(path, _)| path.starts_with(&prefix));
        let own = own.map(|(path, text)| (path.as_str(), text.as_str())).collect::<Vec<_>>();
        let sources: Vec<_> =
            own.iter().filter(|(path, _)| path.ends_with(".rs")).copied().collect();
        let is_included = |path: &str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            path.ends_with(".md")
                && sources.iter().any(|(_, text)| {
                    text.lines().any(|line| line.contains("include_str!") && line.contains(name))
                })
        };
        let included: Vec<_> = own.into_iter().filter(|(path, _)| is_included(path)).collect();
        sources.into_iter().chain(included)
    }

    /// Where a file would be if all moves had been made.
    pub(crate) fn name<'a>(&'a self, path: &'a str) -> &'a str {
        self.names.get(path).map_or(path, String::as_str)
    }
}

fn root() -> PathBuf {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    env::var_os("HOUSE_ROOT").map_or_else(|| PathBuf::from(own), PathBuf::from)
}

/// No recordings and pictures, and nothing that is made or fetched. Scripts have no extension.
fn is_written(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
    let ends = ["", "conf", "html", "js", "md", "mjs", "py", "rs", "sh", "sql", "toml"];
    ![".cache", ".git", "node_modules", "target"].contains(&name)
        && (path.is_dir() || ends.contains(&end))
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The folder that contains a file.
pub(crate) fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Whether a file contains only tests.
pub(crate) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}
