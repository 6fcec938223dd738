//! Operations on a session, which is compared with a naive model of what a client is to be told.

#![no_main]

use arbitrary::Unstructured;
use ddp_fuzz::session::{Operation, Setup, World};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut source = Unstructured::new(data);
    let Ok(setup) = source.arbitrary::<Setup>() else { return };
    let mut world = World::new(&setup);
    // Of a session that is never connected there is little to see.
    if source.arbitrary().unwrap_or(true) {
        world.run(&Operation::Connect);
    }
    while !source.is_empty()
        && let Ok(operation) = source.arbitrary()
    {
        world.run(&operation);
    }
    world.finish();
});
