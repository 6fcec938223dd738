//! How much memory is in use.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, with a count of the bytes in use. A target that needs the count makes it
/// its global allocator.
#[derive(Debug)]
pub struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(used, Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The bytes in use.
#[must_use]
pub fn used() -> usize {
    USED.load(Relaxed)
}

/// The peak increase in use while `run` ran. A growing buffer counts twice for a moment, while it
/// is copied.
pub fn peak(run: impl FnOnce()) -> usize {
    let before = used();
    PEAK.store(before, Relaxed);
    run();
    PEAK.load(Relaxed) - before
}
