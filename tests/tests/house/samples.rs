//! Small trees with something wrong in them.

use crate::house::House;
use crate::rules::{Exception, Foreign, Rule};
use crate::tree::Tree;

/// A crate with these files below `a/src`, in addition to its `lib.rs`.
fn tree(lib: &str, files: &[(&str, &str)]) -> Tree {
    let paths: Vec<String> = files.iter().map(|(path, _)| format!("a/src/{path}")).collect();
    let files = paths.iter().zip(files).map(|(path, (_, text))| (path.as_str(), *text));
    Tree::new(&[("a/src/lib.rs", lib)].into_iter().chain(files).collect::<Vec<_>>())
}

fn house(tree: &Tree) -> House<'_> {
    House::new(tree, &[("a", "a")]).unwrap()
}

fn circles(lib: &str, files: &[(&str, &str)]) -> Vec<String> {
    let tree = tree(lib, files);
    let found = house(&tree).wrong_circles(&[]);
    found.iter().filter_map(|circle| circle.lines().next()).map(str::to_owned).collect()
}

#[test]
fn a_circle_by_use_and_by_path_is_found() {
    let one = "use crate::two::Two; pub struct One(Two);";
    let two = "pub struct Two; fn two() { crate::one::One; }";
    let found = circles("mod one; mod two;", &[("one.rs", one), ("two.rs", two)]);
    assert_eq!(found, ["circle of 2: a/src/one.rs, a/src/two.rs"]);
    let alone = "pub struct Two;";
    assert_eq!(circles("mod one; mod two;", &[("one.rs", one), ("two.rs", alone)]), [""; 0]);
}

#[test]
fn re_exports_lead_to_where_a_thing_is_defined() {
    // `room` re-exports Two by name and One by a glob; `one` and `two` meet through it.
    let lib = "mod room; pub use room::*;";
    let room = "mod one; mod two; pub use one::*; pub use two::Two as Second;";
    let one = "use crate::Second; pub struct One(Second);";
    let two = "pub struct Two; pub fn two(_: super::One) {}";
    let files = [("room/mod.rs", room), ("room/one.rs", one), ("room/two.rs", two)];
    let found = circles(lib, &files);
    assert_eq!(found, ["circle of 2: a/src/room/one.rs, a/src/room/two.rs"]);
}

#[test]
fn a_re_export_that_is_used_as_well_is_an_import() {
    let child = "use super::Room; pub struct Child; fn child(_: Room) {}";
    let re_exports = "mod child; pub use child::Child; pub struct Room;";
    let found = circles("mod room;", &[("room/mod.rs", re_exports), ("room/child.rs", child)]);
    assert_eq!(found, [""; 0]);
    let uses = "mod child; pub use child::Child; pub struct Room(Child);";
    let found = circles("mod room;", &[("room/mod.rs", uses), ("room/child.rs", child)]);
    assert_eq!(found, ["circle of 2: a/src/room/child.rs, a/src/room/mod.rs"]);
}

#[test]
fn a_function_may_have_the_name_of_a_module() {
    let lib = "mod one; mod two;";
    let one = "use crate::two::same; pub struct One; fn one() { same(); }";
    let same = "pub fn same(_: crate::one::One) {}";
    let re_exported = [("one.rs", one), ("two/mod.rs", "mod same; pub use same::same;")];
    let found = circles(lib, &[re_exported[0], re_exported[1], ("two/same.rs", same)]);
    assert_eq!(found, ["circle of 2: a/src/one.rs, a/src/two/same.rs"]);

    let one = "use crate::two; pub fn two() { two::ask(); }";
    let two = "pub fn ask() { crate::one::two(); }";
    let found = circles(lib, &[("one.rs", one), ("two.rs", two)]);
    assert_eq!(found, ["circle of 2: a/src/one.rs, a/src/two.rs"]);
}

#[test]
fn what_a_macro_is_given_and_what_a_function_imports_counts() {
    for two in [
        "pub struct Two; fn two() { assert!(matches!(1, crate::one::ONE)); }",
        "pub struct Two; fn two() { use super::one::ONE; }",
        "use crate::one; pub struct Two; fn two() -> u8 { one::ONE }",
    ] {
        let one = "use crate::two::Two; pub const ONE: u8 = 1; fn one(_: Two) {}";
        let found = circles("mod one; mod two;", &[("one.rs", one), ("two.rs", two)]);
        assert_eq!(found, ["circle of 2: a/src/one.rs, a/src/two.rs"], "{two}");
    }
}

#[test]
fn what_a_macro_makes_is_found_and_what_leads_nowhere_is_told() {
    let lib = "mod one; mod two;";
    let one =
        "macro_rules! make { () => { pub struct Made; } } make!(); fn one(_: crate::two::Two) {}";
    let two = "pub struct Two(crate::one::Made);";
    assert_eq!(circles(lib, &[("one.rs", one), ("two.rs", two)]).len(), 1);
    let tree = tree(lib, &[("one.rs", "fn one() { super::gone::Gone; }"), ("two.rs", "")]);
    assert_eq!(house(&tree).unresolved(), ["super::gone::Gone in a/src/one.rs"]);
}

#[test]
fn a_module_may_have_two_files() {
    let lib = "#[cfg_attr(not(feature = \"x\"), path = \"without.rs\")] mod two; mod one;";
    let one = "use crate::two::Two; pub struct One(Two);";
    let without = "use crate::one::One; pub struct Two(One);";
    let files = [("one.rs", one), ("two.rs", "pub struct Two;"), ("without.rs", without)];
    let lib = format!("{lib} #[cfg(test)] mod fixture;");
    let others = [("lost.rs", ""), ("fixture.rs", "")];
    let tree = tree(&lib, &[&files[..], &others[..]].concat());
    let house = house(&tree);
    let arrows: Vec<_> = house.wrong_arrows(&Rule {
        because: "no",
        from: &["a/src/without.rs"],
        to: &["a/src/one.rs"],
        except: &[],
    });
    assert_eq!(arrows, ["no: a/src/without.rs names One of a/src/one.rs"]);
    assert_eq!(house.unread(&[("a", "a")]), ["a/src/lost.rs"]);
}

#[test]
fn tests_are_left_out() {
    let one = "use crate::two::Two; pub struct One(Two);";
    let two =
        "pub struct Two; #[cfg(test)] mod tests; #[cfg(test)] mod more { use crate::one::One; }";
    let tests = "use crate::one::One;";
    let files = [("one.rs", one), ("two.rs", two), ("two/tests.rs", tests)];
    assert_eq!(circles("mod one; mod two;", &files), [""; 0]);
}

#[test]
fn allowed_circles_must_be_there() {
    let one = "use crate::two::Two; pub struct One(Two);";
    let two = "use crate::one::One; pub struct Two(One);";
    let allowed: &[(&[&str], &str)] = &[(&["a/src/one.rs", "a/src/two.rs"], "natural")];
    let round = tree("mod one; mod two;", &[("one.rs", one), ("two.rs", two)]);
    assert_eq!(house(&round).wrong_circles(allowed), [""; 0]);
    let straight = tree("mod one; mod two;", &[("one.rs", one), ("two.rs", "pub struct Two;")]);
    let wrong = house(&straight).wrong_circles(allowed);
    assert_eq!(wrong, ["no circle any more, so not to allow: a/src/one.rs, a/src/two.rs"]);
}

#[test]
fn an_arrow_up_is_found_though_it_goes_by_the_root() {
    let lib = "mod low; mod high; pub use high::High;";
    let files =
        [("low/mod.rs", "use crate::High; fn low(_: High) {}"), ("high.rs", "pub struct High;")];
    let tree = tree(lib, &files);
    let rule = |from, to, except| Rule { because: "low is low", from, to, except };
    let (low, high): (&[&str], &[&str]) = (&["a/src/low/"], &["a/src/high.rs"]);
    let wrong = house(&tree).wrong_arrows(&rule(low, high, &[]));
    assert_eq!(wrong, ["low is low: a/src/low/mod.rs names High of a/src/high.rs"]);
    assert_eq!(house(&tree).wrong_arrows(&rule(high, low, &[])), [""; 0]);

    let except: &[Exception] = &[Exception("a/src/low/mod.rs", "a/src/high.rs", "for a reason")];
    assert_eq!(house(&tree).wrong_arrows(&rule(low, high, except)), [""; 0]);
    let wrong = house(&tree).wrong_arrows(&rule(high, low, except));
    assert_eq!(
        wrong,
        ["low is low: nothing goes from a/src/low/mod.rs to a/src/high.rs any more (for a reason)"]
    );
    let wrong = house(&tree).wrong_arrows(&rule(&["a/src/gone/"], high, &[]));
    assert_eq!(wrong, ["low is low: there is no a/src/gone/"]);
}

#[test]
fn foreign_crates_are_found_under_other_names() {
    let lib = "mod json; mod clock;";
    let json = "use serde_json as other; fn json() { other::from_str::<u8>(\"1\"); }";
    let clock = "use std::time::Instant; fn clock() -> Instant { Instant::now() }";
    let tree = tree(lib, &[("json.rs", json), ("clock.rs", clock)]);
    let rule = |paths, except| Foreign { because: "no", folder: "a/src/", paths, except };
    let wrong = house(&tree).wrong_foreigners(&rule(&["serde_json"], &[]));
    assert_eq!(
        wrong,
        ["no: a/src/json.rs names serde_json", "no: a/src/json.rs names serde_json::from_str"]
    );
    let wrong = house(&tree).wrong_foreigners(&rule(&["std::time::Instant::now"], &[]));
    assert_eq!(wrong, ["no: a/src/clock.rs names std::time::Instant::now"]);
    assert_eq!(house(&tree).wrong_foreigners(&rule(&["serde_json"], &["a/src/json.rs"])), [""; 0]);
}

#[test]
fn an_impl_stands_with_its_type_or_with_its_trait() {
    let lib = "mod home; mod other;";
    let home = "mod more; pub struct Home; pub struct Guest;";
    let more = "use super::Home; impl Home { fn more() {} }";
    let other = "pub trait Other {} use crate::home::{Guest, Home}; impl Other for Home {} \
                 impl From<Mine> for Home { fn from(_: Mine) -> Self { Home } } pub struct Mine; \
                 impl Guest { fn new() -> Self { Guest } }";
    let files = [("home/mod.rs", home), ("home/more.rs", more), ("other.rs", other)];
    let tree = tree(lib, &files);
    let wrong = house(&tree).wrong_impls(&[]);
    assert_eq!(wrong, ["impl of Guest (a/src/home/mod.rs) in a/src/other.rs"]);
    let except = [("a/src/other.rs", "Guest", "a guest")];
    assert_eq!(house(&tree).wrong_impls(&except), [""; 0]);
    let stale = [except[0], ("a/src/other.rs", "Home", "nothing")];
    assert_eq!(house(&tree).wrong_impls(&stale), ["no impl of Home in a/src/other.rs any more"]);
}

#[test]
fn lengths_are_those_of_code() {
    let long =
        format!("// Why.\nfn long() {{\n{}\n}}\n", "    drop(1);\n\n    // And why.\n".repeat(71));
    let test = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "    const A: u8 = 1;\n".repeat(400));
    let tree = tree(&format!("{long}{test}"), &[]);
    assert_eq!(house(&tree).too_long(&[]), ["a/src/lib.rs: long has 71 lines"]);
    let wrong = house(&tree).too_long(&[("a/src/lib.rs", "it is long")]);
    assert_eq!(wrong[0], "a/src/lib.rs: 73 lines of code");
}

#[test]
fn dependencies_are_read_from_manifests() {
    let manifest = "[package]\nname = \"ddp-core\"\n[dependencies]\nbytes.workspace = true\n\
                    tokio = \"1\"\n[dev-dependencies]\naxum = \"0\"\n[dependencies.ddp-server]\n";
    let tree = Tree::new(&[("ddp-core/Cargo.toml", manifest)]);
    let wrong = crate::house::wrong_dependencies(&tree);
    assert_eq!(wrong, ["ddp-core depends on tokio", "ddp-core depends on ddp-server"]);
}
