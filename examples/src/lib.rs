//! What the example servers and the tests share.

pub mod cluster;

pub use cluster::{Cluster, ClusterOptions};
