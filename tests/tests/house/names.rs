//! The meaning of a path: re-exports are followed to the definition.

use std::collections::HashSet;

use crate::parse::{Crates, Path};

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Module(usize),
    /// Something defined in this file.
    Item {
        file: usize,
        name: String,
    },
    /// From another crate, or a name that only the compiler knows.
    Foreign(Path),
}

/// The names being looked up, so that one that leads to itself does not loop; and whether each is
/// the last of its path.
type Visited = HashSet<(usize, String, bool)>;

impl Crates {
    /// What a path means in a module.
    pub(crate) fn resolve(&self, module: usize, path: &[String]) -> Target {
        self.resolve_once(module, path, &mut Visited::new())
    }

    fn resolve_once(&self, module: usize, path: &[String], visited: &mut Visited) -> Target {
        let foreign = || Target::Foreign(path.to_vec());
        let Some((first, rest)) = path.split_first() else { return Target::Module(module) };
        let mut target = match first.as_str() {
            "crate" => Target::Module(self.root_of(module)),
            "self" => Target::Module(module),
            "super" => self.modules[module].parent.map_or_else(foreign, Target::Module),
            name => {
                match (self.lookup(module, name, rest.is_empty(), visited), self.roots.get(name)) {
                    (Some(target), _) => target,
                    (None, Some(root)) => Target::Module(*root),
                    (None, None) => return foreign(),
                }
            }
        };
        for (index, name) in rest.iter().enumerate() {
            let is_last = index + 1 == rest.len();
            target = match target {
                Target::Module(module) if name == "super" => {
                    self.modules[module].parent.map_or_else(foreign, Target::Module)
                }
                Target::Module(module) => match self.lookup(module, name, is_last, visited) {
                    Some(target) => target,
                    None => return foreign(),
                },
                // A variant, a method, or a constant of a type.
                Target::Item { .. } => return target,
                Target::Foreign(mut path) => {
                    path.push(name.clone());
                    Target::Foreign(path)
                }
            };
        }
        target
    }

    /// A module may share its name with something else, such as a function; only the last name of a
    /// path can mean that.
    fn lookup(
        &self,
        module: usize,
        name: &str,
        is_last: bool,
        visited: &mut Visited,
    ) -> Option<Target> {
        if !visited.insert((module, name.to_owned(), is_last)) {
            return None;
        }
        let scope = &self.modules[module];
        let item = || {
            let is_here = scope.items.contains(name);
            is_here.then(|| Target::Item { file: scope.file, name: name.to_owned() })
        };
        let child = || scope.children.get(name).map(|child| Target::Module(*child));
        let mut used = || Some(self.resolve_once(module, scope.uses.get(name)?, visited));
        let found = if is_last {
            item().or_else(used).or_else(child)
        } else {
            let used = used();
            let is_module = matches!(used, Some(Target::Module(_)));
            child().or_else(|| if is_module { used } else { item().or(used) })
        };
        let found = found.or_else(|| {
            scope.globs.iter().find_map(|path| match self.resolve_once(module, path, visited) {
                Target::Module(other) => self.lookup(other, name, is_last, visited),
                Target::Item { .. } | Target::Foreign(_) => None,
            })
        });
        visited.remove(&(module, name.to_owned(), is_last));
        found
    }

    fn root_of(&self, mut module: usize) -> usize {
        while let Some(parent) = self.modules[module].parent {
            module = parent;
        }
        module
    }
}
