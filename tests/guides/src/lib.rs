//! The guides' blocks, so that tests run what readers copy.
//!
//! `build.rs` makes programs of those in Rust; the tests run those in SQL, shell and Python.

mod blocks;

pub use blocks::{block, replaced};
