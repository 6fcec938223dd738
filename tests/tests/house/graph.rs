//! Which file uses what is defined in which other file.

use std::collections::{BTreeMap, BTreeSet};

use crate::names::Target;
use crate::parse::Crates;

/// The arrows between files.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// From each file to those whose items it names, with these items.
    pub(crate) arrows: BTreeMap<usize, BTreeMap<usize, BTreeSet<String>>>,
    /// What each file names from foreign crates, such as `std::fs::read`.
    pub(crate) foreign: BTreeMap<usize, BTreeSet<String>>,
}

impl Graph {
    pub(crate) fn new(crates: &Crates) -> Self {
        let mut graph = Self::default();
        for (id, module) in crates.modules.iter().enumerate() {
            for path in &module.named {
                match crates.resolve(id, path) {
                    Target::Item { file, name } if file != module.file => {
                        let arrows = graph.arrows.entry(module.file).or_default();
                        arrows.entry(file).or_default().insert(name);
                    }
                    Target::Item { .. } | Target::Module(_) => {}
                    Target::Foreign(path) => {
                        graph.foreign.entry(module.file).or_default().insert(path.join("::"));
                    }
                }
            }
        }
        graph
    }

    fn from(&self, file: usize) -> impl Iterator<Item = usize> {
        self.arrows.get(&file).into_iter().flat_map(BTreeMap::keys).copied()
    }

    fn reachable(&self, start: usize) -> BTreeSet<usize> {
        let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
        while let Some(file) = next.pop() {
            next.extend(self.from(file).filter(|other| seen.insert(*other)));
        }
        seen
    }

    /// The circles: sets of files in which each leads to all others.
    pub(crate) fn circles(&self) -> BTreeSet<BTreeSet<usize>> {
        let reachable: BTreeMap<usize, BTreeSet<usize>> =
            self.arrows.keys().map(|file| (*file, self.reachable(*file))).collect();
        let mut circles = BTreeSet::new();
        for (file, others) in &reachable {
            let leads_back =
                |other: &usize| reachable.get(other).is_some_and(|of| of.contains(file));
            if others.contains(file) {
                circles.insert(others.iter().copied().filter(leads_back).collect());
            }
        }
        circles
    }
}
