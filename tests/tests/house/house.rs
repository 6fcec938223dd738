//! The three crates, held against the rules.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::docs::{examples, markdown};
use crate::graph::Graph;
use crate::names::Target;
use crate::parse::Crates;
use crate::rules::{
    CIRCLES, DEPENDENCIES, Exception, FILE_LINES_MAX, FOREIGN, FUNCTION_LINES_MAX, Foreign, IMPLS,
    LONG_FILES, ROOT_FILES_MAX, RULES, Rule,
};
use crate::tree::{CRATES, Tree, folder, is_test};

/// A tree whose names have been resolved.
pub(crate) struct House<'a> {
    tree: &'a Tree,
    crates: Crates,
    graph: Graph,
}

impl<'a> House<'a> {
    /// # Errors
    /// What is not Rust, or a module without a file.
    pub(crate) fn new(tree: &'a Tree, crates: &[(&str, &str)]) -> Result<Self, String> {
        let crates = Crates::read(tree, crates)?;
        let graph = Graph::new(&crates);
        Ok(Self { tree, crates, graph })
    }

    fn name(&self, file: usize) -> &str {
        self.tree.name(&self.crates.files[file].path)
    }

    fn files(&self) -> impl Iterator<Item = &str> {
        (0..self.crates.files.len()).map(|file| self.name(file))
    }

    pub(crate) fn circles(&self) -> BTreeSet<BTreeSet<&str>> {
        let circles = self.graph.circles().into_iter();
        circles.map(|circle| circle.into_iter().map(|file| self.name(file)).collect()).collect()
    }

    /// Circles that are not allowed, and allowed ones that do not exist.
    pub(crate) fn wrong_circles(&self, allowed: &[(&[&str], &str)]) -> Vec<String> {
        let found = self.circles();
        let allowed = allowed.iter().map(|(files, _)| files.iter().copied().collect());
        let allowed: BTreeSet<BTreeSet<&str>> = allowed.collect();
        let text = |circle: &BTreeSet<&str>| circle.iter().copied().collect::<Vec<_>>().join(", ");
        let unwanted = found.difference(&allowed).map(|circle| {
            let (count, arrows) = (circle.len(), self.arrows_within(circle));
            format!("circle of {count}: {}{arrows}", text(circle))
        });
        let stale = allowed.difference(&found);
        let stale =
            stale.map(|circle| format!("no circle any more, so not to allow: {}", text(circle)));
        unwanted.chain(stale).collect()
    }

    /// Why a small circle is one.
    fn arrows_within(&self, circle: &BTreeSet<&str>) -> String {
        if circle.len() > 8 {
            return String::new();
        }
        let arrows = self.graph.arrows.iter().flat_map(|(from, arrows)| {
            arrows.iter().map(move |(to, items)| (self.name(*from), self.name(*to), items))
        });
        let arrows = arrows.filter(|(from, to, _)| circle.contains(from) && circle.contains(to));
        let text = |items: &BTreeSet<String>| {
            items.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
        };
        arrows
            .map(|(from, to, items)| format!("\n    {from} names {} of {to}", text(items)))
            .collect()
    }

    /// Arrows that break a rule, rooms that do not exist, and exceptions that nothing needs.
    pub(crate) fn wrong_arrows(&self, rule: &Rule) -> Vec<String> {
        let mut wrong = Vec::new();
        for room in rule.from.iter().chain(rule.to) {
            if !self.files().any(|file| is_in(file, room)) {
                wrong.push(format!("{}: there is no {room}", rule.because));
            }
        }
        let mut needed = vec![false; rule.except.len()];
        for (from, arrows) in &self.graph.arrows {
            let from = self.name(*from);
            if !rule.from.iter().any(|room| is_in(from, room)) {
                continue;
            }
            for (to, items) in arrows {
                let to = self.name(*to);
                if !rule.to.iter().any(|room| is_in(to, room)) {
                    continue;
                }
                let applies =
                    |exception: &Exception| is_in(from, exception.0) && is_in(to, exception.1);
                match rule.except.iter().position(applies) {
                    Some(exception) => needed[exception] = true,
                    None => {
                        let items: Vec<_> = items.iter().map(String::as_str).collect();
                        let items = items.join(", ");
                        wrong.push(format!("{}: {from} names {items} of {to}", rule.because));
                    }
                }
            }
        }
        for (exception, is_needed) in rule.except.iter().zip(needed) {
            if !is_needed {
                let Exception(from, to, why) = exception;
                wrong.push(format!(
                    "{}: nothing goes from {from} to {to} any more ({why})",
                    rule.because
                ));
            }
        }
        wrong
    }

    /// Files that name forbidden items of foreign crates.
    pub(crate) fn wrong_foreigners(&self, rule: &Foreign) -> Vec<String> {
        let mut wrong = Vec::new();
        for (file, paths) in &self.graph.foreign {
            let file = self.name(*file);
            let is_free = rule.except.iter().any(|room| is_in(file, room));
            if !is_in(file, rule.folder) || is_free {
                continue;
            }
            let begins = |path: &str, prefix: &str| {
                path.strip_prefix(prefix)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
            };
            let forbidden = |path: &&String| rule.paths.iter().any(|prefix| begins(path, prefix));
            wrong.extend(
                paths
                    .iter()
                    .filter(forbidden)
                    .map(|path| format!("{}: {file} names {path}", rule.because)),
            );
        }
        wrong
    }

    /// Paths within the crates that lead nowhere, so that arrows may be missed.
    pub(crate) fn unresolved(&self) -> Vec<String> {
        let is_own = |path: &&String| {
            let first = path.split("::").next().unwrap_or_default();
            path.contains("::") && matches!(first, "crate" | "super" | "self")
        };
        let all = self.graph.foreign.iter();
        all.flat_map(|(file, paths)| {
            paths.iter().filter(is_own).map(|path| format!("{} in {}", path, self.name(*file)))
        })
        .collect()
    }

    /// Sources that belong to no module, and so were not checked.
    pub(crate) fn unread(&self, folders: &[(&str, &str)]) -> Vec<String> {
        let sources = folders.iter().flat_map(|(_, folder)| self.tree.of(folder));
        let sources = sources.map(|(path, _)| path).filter(|path| path.ends_with(".rs"));
        let is_read = |path: &str| self.crates.files.iter().any(|file| file.path == path);
        let is_left_out = |path: &str| {
            is_test(path)
                || self.crates.tests.iter().any(|module| {
                    path.strip_prefix(module).is_some_and(|rest| rest.starts_with(['.', '/']))
                })
        };
        sources.filter(|path| !is_left_out(path) && !is_read(path)).map(str::to_owned).collect()
    }

    /// `impl` blocks outside their type's room, and exceptions that nothing needs.
    pub(crate) fn wrong_impls(&self, except: &[(&str, &str, &str)]) -> Vec<String> {
        let mut found = BTreeSet::new();
        for (id, module) in self.crates.modules.iter().enumerate() {
            let here = self.name(module.file);
            for block in &module.impls {
                let Target::Item { file, name } = self.crates.resolve(id, &block.of) else {
                    continue;
                };
                let mut rooms = vec![self.name(file)];
                for path in &block.traits {
                    if let Target::Item { file, .. } = self.crates.resolve(id, path) {
                        rooms.push(self.name(file));
                    }
                }
                if !rooms.iter().any(|file| self.room(file) == self.room(here)) {
                    found.insert((here, name, rooms[0]));
                }
            }
        }
        let allowed = |file: &str, name: &str| {
            except.iter().any(|(other, of, _)| *other == file && *of == name)
        };
        let wrong = found.iter().filter(|(here, name, _)| !allowed(here, name));
        let wrong = wrong.map(|(here, name, home)| format!("impl of {name} ({home}) in {here}"));
        let stale = except.iter().filter(|(file, of, _)| {
            !found.iter().any(|(here, name, _)| here == file && name == of)
        });
        let stale = stale.map(|(file, of, _)| format!("no impl of {of} in {file} any more"));
        wrong.chain(stale).collect()
    }

    /// Files and functions that are too long, and exceptions that nothing needs.
    pub(crate) fn too_long(&self, except: &[(&str, &str)]) -> Vec<String> {
        let mut wrong = Vec::new();
        for (index, file) in self.crates.files.iter().enumerate() {
            let name = self.name(index);
            let is_excepted = except.iter().any(|(other, _)| *other == name);
            if (file.code > FILE_LINES_MAX) != is_excepted {
                wrong.push(format!("{name}: {} lines of code", file.code));
            }
            let long = file.functions.iter().filter(|function| function.lines > FUNCTION_LINES_MAX);
            wrong.extend(long.map(|of| format!("{name}: {} has {} lines", of.name, of.lines)));
        }
        wrong
    }

    /// The folder that a file is about: that of its own children, or the one that contains it.
    fn room<'b>(&self, file: &'b str) -> &'b str {
        let own = file.trim_end_matches(".rs");
        let is_child =
            |other: &str| other.strip_prefix(own).is_some_and(|rest| rest.starts_with('/'));
        if self.files().any(is_child) { own } else { folder(file) }
    }

    /// How many files are at the root of a crate.
    pub(crate) fn at_root(&self, crate_folder: &str) -> usize {
        let root = format!("{crate_folder}/src");
        // Where files are now, not where they will be.
        let files = self.crates.files.iter().map(|file| &file.path);
        files.filter(|file| folder(file) == root && !is_test(file)).count()
    }

    /// Everything that is wrong, by heading.
    pub(crate) fn wrong(&self) -> Vec<(&'static str, Vec<String>)> {
        let crowded = ROOT_FILES_MAX.iter().filter_map(|(crate_folder, max)| {
            let count = self.at_root(crate_folder);
            (count > *max).then(|| format!("{crate_folder}/src: {count} files, at most {max}"))
        });
        vec![
            (
                "arrows that break a rule",
                RULES.iter().flat_map(|rule| self.wrong_arrows(rule)).collect(),
            ),
            ("paths that lead nowhere", self.unresolved()),
            ("files that no module has", self.unread(&CRATES)),
            ("circles", self.wrong_circles(CIRCLES)),
            (
                "foreign crates",
                FOREIGN.iter().flat_map(|rule| self.wrong_foreigners(rule)).collect(),
            ),
            ("dependencies", wrong_dependencies(self.tree)),
            ("impls outside of their room", self.wrong_impls(IMPLS)),
            ("files at the root", crowded.collect()),
            ("length", self.too_long(LONG_FILES)),
        ]
    }

    /// Some figures for each crate, and everything that is wrong.
    pub(crate) fn report(&self) -> String {
        let mut text = String::new();
        let circles = self.circles();
        for (_, crate_folder) in CRATES {
            let source = format!("{crate_folder}/src/");
            let own = (0..self.crates.files.len()).filter(|file| is_in(self.name(*file), &source));
            let own: Vec<_> = own.map(|file| &self.crates.files[file]).collect();
            let code: usize = own.iter().map(|file| file.code).sum();
            let docs: usize = own.iter().map(|file| file.docs).sum();
            let inside =
                circles.iter().filter(|circle| circle.iter().any(|file| is_in(file, &source)));
            let sizes: Vec<_> = inside.map(|circle| circle.len().to_string()).collect();
            let (run, compiled) = examples(self.tree, crate_folder);
            // Writing to memory cannot fail.
            let _ = writeln!(
                text,
                "{crate_folder}: {} files, {} at the root; {} circles (of {} files); {code} lines of code, \
                 doc ratio {:.2} and {} lines of Markdown; {run} examples that run, {compiled} only \
                 compiled",
                own.len(),
                self.at_root(crate_folder),
                sizes.len(),
                if sizes.is_empty() { "0".to_owned() } else { sizes.join(" + ") },
                docs as f64 / code.max(1) as f64,
                markdown(self.tree, crate_folder),
            );
        }
        for (heading, wrong) in self.wrong() {
            let _ = writeln!(text, "\n{heading}: {}", wrong.len());
            for line in wrong {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }
}

/// Whether a file is this one, or in this folder.
fn is_in(file: &str, room: &str) -> bool {
    if room.ends_with('/') { file.starts_with(room) } else { file == room }
}

/// Forbidden dependencies in the crates' manifests.
pub(crate) fn wrong_dependencies(tree: &Tree) -> Vec<String> {
    let mut wrong = Vec::new();
    for (crate_folder, forbidden) in DEPENDENCIES {
        let manifest = tree.get(&format!("{crate_folder}/Cargo.toml")).unwrap_or_default();
        let mut is_dependencies = false;
        for line in manifest.lines() {
            if let Some(section) = line.trim().strip_prefix('[') {
                is_dependencies = section.starts_with("dependencies");
                let name =
                    section.strip_prefix("dependencies.").map(|rest| rest.trim_end_matches(']'));
                wrong.extend(
                    name.filter(|name| forbidden.contains(name))
                        .map(|name| format!("{crate_folder} depends on {name}")),
                );
            } else if is_dependencies {
                let name = line.split(['.', '=', ' ']).next().unwrap_or_default();
                if forbidden.contains(&name) {
                    wrong.push(format!("{crate_folder} depends on {name}"));
                }
            }
        }
    }
    wrong
}
