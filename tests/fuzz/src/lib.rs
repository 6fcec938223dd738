//! What the fuzz targets share.

pub mod answer;
pub mod client;
pub mod heap;
pub mod io;
pub mod session;
pub mod sockjs;
pub mod websocket;

use std::fmt::Debug;
use std::sync::LazyLock;

static IS_TRACED: LazyLock<bool> = LazyLock::new(|| std::env::var_os("FUZZ_TRACE").is_some());

/// Prints what happens in a run, if `FUZZ_TRACE` is set.
pub fn trace(what: &dyn Debug) {
    if *IS_TRACED {
        eprintln!("{what:?}");
    }
}
