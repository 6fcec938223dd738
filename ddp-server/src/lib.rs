//! A Meteor-compatible DDP server.
