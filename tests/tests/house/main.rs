//! The layout of the three crates, read from their imports.
//!
//! A file leads to another one if it names something that is defined there, in a `use` or in a
//! path; re-exports are followed, and `mod` and `pub use` lines are no imports. What follows from
//! that is held against `rules.rs`: no circles but natural ones, no arrows from a lower room to a
//! higher one, each type's `impl` in one room, and the invariants of the README that imports show.
//! Tests are left out.
//!
//! `HOUSE_ROOT=/some/tree cargo test --package ddp-tests --test house -- --nocapture` judges another
//! tree, such as an older commit, and prints a report. If files stood elsewhere there,
//! `HOUSE_MOVES` names a file with a line `old new` for each: they are judged by the new name.

mod docs;
mod english;
mod graph;
mod house;
mod lines;
mod names;
mod parse;
mod rules;
mod samples;
mod tree;

use house::House;
use tree::{CRATES, Tree};

#[test]
fn the_house_is_in_order() {
    let tree = Tree::from_environment().expect("the crates' sources");
    let house = House::new(&tree, &CRATES).expect("the crates' modules");
    let report = house.report();
    // Shown when the test fails, or with `--nocapture`.
    println!("{report}");
    let wrong: usize = house.wrong().iter().map(|(_, wrong)| wrong.len()).sum();
    assert_eq!(
        wrong, 0,
        "mend what is wrong, or say in tests/tests/house/rules.rs why it may stay"
    );
}
