//! Operations on a session, which is compared with a naive model of what a client must be sent.

#![no_main]

use arbitrary::Unstructured;
use ddp_fuzz::session::{Operation, Setup, World};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut source = Unstructured::new(data);
    let Ok(setup) = source.arbitrary::<Setup>() else { return };
    let mut world = World::new(&setup);
    // There is little to see in a session that never connects.
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
