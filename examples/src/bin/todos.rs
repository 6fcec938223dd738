//! The todos example.
fn main() {}
