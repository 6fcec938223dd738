//! What the example servers and the tests share.

pub mod cluster;

pub use cluster::{Cluster, ClusterOptions};

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
