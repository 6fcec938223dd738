//! HTTP requests to a SockJS mount, on a clock that jumps.
//!
//! The application sends back what it gets, so that the clients notice if a message is lost,
//! duplicated or out of order.

#![no_main]

use arbitrary::Unstructured;
use ddp_fuzz::heap::{self, Counting};
use ddp_fuzz::sockjs::{Operation, Setup, World};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::Builder;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The memory that a few clients with small messages may take.
const BYTES_MAX: usize = 4 * 1024 * 1024;

fuzz_target!(|data: &[u8]| {
    let most = heap::peak(|| run(data));
    assert!(most <= BYTES_MAX, "{most} bytes");
});

fn run(data: &[u8]) {
    let mut source = Unstructured::new(data);
    let Ok(setup) = source.arbitrary::<Setup>() else { return };
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let mut world = World::new(&setup);
        while !source.is_empty()
            && let Ok(operation) = source.arbitrary::<Operation<'_>>()
        {
            world.run(&operation).await;
        }
        world.finish().await;
    });
}
