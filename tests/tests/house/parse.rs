//! From a crate's text to its modules, and to the paths that each of them names.

use std::collections::{BTreeSet, HashMap};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

use crate::lines::{Function, Lines};
use crate::tree::{Tree, is_test};

/// Segments, such as `crate`, `session`, `Session`.
pub(crate) type Path = Vec<String>;

/// A module: a file or an inline one.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// Its index in [`Crates::files`].
    pub(crate) file: usize,
    pub(crate) parent: Option<usize>,
    pub(crate) children: HashMap<String, usize>,
    /// Definitions in this module.
    pub(crate) items: BTreeSet<String>,
    /// Names brought into scope by `use`, re-exported or not.
    pub(crate) uses: HashMap<String, Path>,
    /// Modules and enums whose contents are all brought into scope.
    pub(crate) globs: Vec<Path>,
    /// Names in the code and in private `use` lines.
    pub(crate) named: Vec<Path>,
    pub(crate) impls: Vec<Impl>,
}

/// An `impl` block.
#[derive(Debug)]
pub(crate) struct Impl {
    pub(crate) of: Path,
    /// The trait, with the types that are its parameters.
    pub(crate) traits: Vec<Path>,
}

/// A file that has been parsed.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) path: String,
    /// Lines that are neither blank nor comments nor in a test.
    pub(crate) code: usize,
    pub(crate) docs: usize,
    pub(crate) functions: Vec<Function>,
}

/// All crates.
#[derive(Debug, Default)]
pub(crate) struct Crates {
    pub(crate) files: Vec<File>,
    pub(crate) modules: Vec<Module>,
    /// The files and folders, without extension, of modules that exist only for tests.
    pub(crate) tests: Vec<String>,
    /// The outermost module of each crate.
    pub(crate) roots: HashMap<String, usize>,
}

impl Crates {
    /// Parses the crates with these names and folders.
    ///
    /// # Errors
    /// What is not Rust, or a module without a file.
    pub(crate) fn read(tree: &Tree, crates: &[(&str, &str)]) -> Result<Self, String> {
        let mut all = Self::default();
        for (name, folder) in crates {
            let path = format!("{folder}/src/lib.rs");
            let root = all.read_file(tree, &path, None)?;
            all.roots.insert((*name).to_owned(), root);
        }
        Ok(all)
    }

    fn read_file(
        &mut self,
        tree: &Tree,
        path: &str,
        parent: Option<usize>,
    ) -> Result<usize, String> {
        let text = tree.get(path).ok_or_else(|| format!("there is no {path}"))?;
        let parsed = syn::parse_file(text).map_err(|error| format!("{path}: {error}"))?;
        let file = self.files.len();
        self.files.push(File { path: path.to_owned(), ..File::default() });
        let module = self.add(Module { file, parent, ..Module::default() });
        let mut lines = Lines::new(text);
        let inner = match path.strip_suffix("/mod.rs").or_else(|| path.strip_suffix("/lib.rs")) {
            Some(folder) => folder.to_owned(),
            None => path.trim_end_matches(".rs").to_owned(),
        };
        let mut reader = Reader { crates: self, tree, module, inner, lines: &mut lines };
        reader.items(parsed.items)?;
        let file = &mut self.files[file];
        file.docs = lines.docs();
        file.code = lines.code();
        file.functions = lines.functions;
        Ok(module)
    }

    fn add(&mut self, module: Module) -> usize {
        self.modules.push(module);
        self.modules.len() - 1
    }
}

/// Parses the items of one module.
struct Reader<'a> {
    crates: &'a mut Crates,
    tree: &'a Tree,
    module: usize,
    /// The folder of the module's children.
    inner: String,
    lines: &'a mut Lines,
}

impl Reader<'_> {
    fn items(&mut self, items: Vec<Item>) -> Result<(), String> {
        for item in items {
            if is_for_tests(attributes(&item)) {
                self.lines.leave_out(&item);
                if let Item::Mod(item) = &item {
                    self.crates.tests.push(format!("{}/{}", self.inner, item.ident));
                }
                continue;
            }
            match item {
                Item::Mod(item) => self.child(item)?,
                Item::Use(item) => self.uses(&item),
                item => {
                    let module = &mut self.crates.modules[self.module];
                    module.items.extend(name(&item));
                    match &item {
                        Item::Impl(item) => module.impls.extend(implementation(item)),
                        Item::Macro(item) => made(item.mac.tokens.clone(), &mut module.items),
                        _ => {}
                    }
                    let mut names = Names { named: &mut module.named, lines: self.lines };
                    names.visit_item(&item);
                }
            }
        }
        Ok(())
    }

    fn child(&mut self, item: syn::ItemMod) -> Result<(), String> {
        let name = item.ident.to_string();
        let inner = format!("{}/{name}", self.inner);
        if let Some((_, items)) = item.content {
            let file = self.crates.modules[self.module].file;
            let parent = Some(self.module);
            let child = self.crates.add(Module { file, parent, ..Module::default() });
            self.crates.modules[self.module].children.insert(name, child);
            let (crates, tree) = (&mut *self.crates, self.tree);
            return Reader { crates, tree, module: child, inner, lines: self.lines }.items(items);
        }
        let usual = [format!("{inner}.rs"), format!("{inner}/mod.rs")];
        let usual = usual.into_iter().find(|path| self.tree.get(path).is_some());
        let other = other_path(&item.attrs).map(|other| format!("{}/{other}", self.inner));
        if usual.is_none() && other.is_none() {
            return Err(format!("there is neither {inner}.rs nor {inner}/mod.rs"));
        }
        // Both exist if a feature decides which of them is the module; the first provides the
        // names.
        for path in usual.into_iter().chain(other).filter(|path| !is_test(path)) {
            let child = self.crates.read_file(self.tree, &path, Some(self.module))?;
            self.crates.modules[self.module].children.entry(name.clone()).or_insert(child);
        }
        Ok(())
    }

    fn uses(&mut self, item: &syn::ItemUse) {
        let module = &mut self.crates.modules[self.module];
        let is_import = matches!(item.vis, Visibility::Inherited);
        for leaf in leaves(&item.tree) {
            if is_import {
                module.named.push(leaf.path.clone());
            }
            match leaf.name {
                Some(name) => drop(module.uses.insert(name, leaf.path)),
                None => module.globs.push(leaf.path),
            }
        }
    }
}

/// One name brought into scope by a `use`; `None` if it brings all.
struct Leaf {
    name: Option<String>,
    path: Path,
}

fn leaves(tree: &UseTree) -> Vec<Leaf> {
    let under = |first: String, leaves: Vec<Leaf>| {
        leaves.into_iter().map(move |leaf| {
            // `a::{self}` names `a`.
            let itself = leaf.path == ["self"];
            let name = leaf.name.map(|name| if name == "self" { first.clone() } else { name });
            let rest = if itself { Path::new() } else { leaf.path };
            Leaf { name, path: [first.clone()].into_iter().chain(rest).collect() }
        })
    };
    match tree {
        UseTree::Path(path) => under(path.ident.to_string(), leaves(&path.tree)).collect(),
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            vec![Leaf { path: vec![name.clone()], name: Some(name) }]
        }
        UseTree::Rename(rename) => {
            let name = Some(rename.rename.to_string());
            vec![Leaf { name, path: vec![rename.ident.to_string()] }]
        }
        UseTree::Glob(_) => vec![Leaf { name: None, path: Path::new() }],
        UseTree::Group(group) => group.items.iter().flat_map(leaves).collect(),
    }
}

/// Finds the names in code.
struct Names<'a> {
    named: &'a mut Vec<Path>,
    lines: &'a mut Lines,
}

impl Names<'_> {
    /// Paths in a macro's arguments, which need not be Rust.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Path::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 && !path.is_empty() {
                        self.named.push(std::mem::take(&mut path));
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    if !path.is_empty() {
                        self.named.push(std::mem::take(&mut path));
                    }
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        if !path.is_empty() {
            self.named.push(path);
        }
    }
}

impl<'a> Visit<'a> for Names<'_> {
    fn visit_path(&mut self, path: &'a syn::Path) {
        self.named.push(segments(path));
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, macros: &'a syn::Macro) {
        self.named.push(segments(&macros.path));
        self.tokens(macros.tokens.clone());
    }

    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.named.extend(leaves(&item.tree).into_iter().map(|leaf| leaf.path));
    }

    fn visit_attribute(&mut self, _: &'a Attribute) {}

    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.lines.function(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        if is_for_tests(&function.attrs) {
            return self.lines.leave_out(function);
        }
        self.lines.function(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'a syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.lines.function(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

fn segments(path: &syn::Path) -> Path {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

fn implementation(item: &syn::ItemImpl) -> Option<Impl> {
    let mut of = &*item.self_ty;
    while let syn::Type::Reference(reference) = of {
        of = &reference.elem;
    }
    let syn::Type::Path(of) = of else { return None };
    let mut traits = Vec::new();
    if let Some((path, _)) = &item.trait_ {
        traits.push(segments(path));
        let mut lines = Lines::new("");
        Names { named: &mut traits, lines: &mut lines }.visit_path(path);
    }
    Some(Impl { of: segments(&of.path), traits })
}

/// Whether the item exists only for tests.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else {
            return attribute.path().is_ident("test");
        };
        let tokens = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg") && (tokens == "test" || tokens.starts_with("all(test,"))
    })
}

/// The file that a `path` attribute names, possibly under a condition.
fn other_path(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
            _ => None,
        },
        syn::Meta::List(list) if list.path.is_ident("cfg_attr") => {
            let tokens: Vec<String> =
                list.tokens.clone().into_iter().map(|token| token.to_string()).collect();
            let at = tokens.windows(2).position(|pair| pair == ["path", "="])?;
            Some(tokens.get(at + 2)?.trim_matches('"').to_owned())
        }
        _ => None,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Possible definitions in a macro: whatever follows a defining keyword.
fn made(tokens: TokenStream, items: &mut BTreeSet<String>) {
    let mut is_next = false;
    for token in tokens {
        match token {
            TokenTree::Ident(ident) if is_next => {
                items.insert(ident.to_string());
                is_next = false;
            }
            TokenTree::Ident(ident) => is_next = ident == "struct" || ident == "enum",
            TokenTree::Group(group) => made(group.stream(), items),
            _ => is_next = false,
        }
    }
}

/// The definitions of an item.
fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}
