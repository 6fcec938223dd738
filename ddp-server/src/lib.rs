//! A Meteor-compatible DDP server.

// Until the connection driver mounts the transports only their tests use them. The expectation
// fails the build as soon as it no longer holds, and goes then.
#[cfg_attr(not(test), expect(dead_code, reason = "the driver is not here yet"))]
mod transport;
