//! Randomness from the operating system, in Meteor's forms.

use ddp_core::random::{RandomStream, id_from_entropy};

/// A 17-character id, as `Random.id()` gives.
#[must_use]
pub fn id() -> String {
    id_from_entropy(&mut fill)
}

/// A stream of ids that nobody can foresee, for a method whose caller sent no seed.
pub(crate) fn stream() -> RandomStream {
    RandomStream::from_entropy(&mut fill)
}

fn fill(bytes: &mut [u8]) {
    // Without entropy session ids would be guessable. Linux has it from early boot on, so this can
    // only fail where nothing else works either.
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}
