//! Randomness from the operating system, in Meteor's forms.
//!
//! ```
//! let id = ddp_server::random::id();
//! assert_eq!(id.len(), 17);
//! assert_ne!(id, ddp_server::random::id());
//! ```

use ddp_core::random::{ID_LEN, RandomStream, SEED_LEN, id_from_entropy};

/// A 17-character id, like Meteor's `Random.id()`.
#[must_use]
pub fn id() -> String {
    let mut entropy = Entropy::<{ ID_LEN * BYTES_PER_CHARACTER }>::new();
    id_from_entropy(&mut |bytes| entropy.fill(bytes))
}

/// A secret of 43 characters of `A-Za-z0-9-_`, like Meteor's `Random.secret()`: 258 bits.
#[must_use]
pub fn secret() -> String {
    const ALPHABET: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    let mut bytes = [0; SECRET_LEN];
    fill(&mut bytes);
    bytes.map(|byte| char::from(ALPHABET[usize::from(byte % 64)])).iter().collect()
}

/// An unpredictable stream of ids, for a method whose caller sent no seed.
pub(crate) fn stream() -> RandomStream {
    let mut entropy = Entropy::<{ SEED_LEN * BYTES_PER_CHARACTER }>::new();
    RandomStream::from_entropy(&mut |bytes| entropy.fill(bytes))
}

/// The length of a secret.
const SECRET_LEN: usize = 43;

/// What the core draws for each character.
const BYTES_PER_CHARACTER: usize = 4;

/// A buffer of random bytes, because each request is a system call.
struct Entropy<const LEN: usize> {
    bytes: [u8; LEN],
    given: usize,
}

impl<const LEN: usize> Entropy<LEN> {
    fn new() -> Self {
        let mut bytes = [0; LEN];
        fill(&mut bytes);
        Self { bytes, given: 0 }
    }

    fn fill(&mut self, into: &mut [u8]) {
        let end = self.given + into.len();
        match self.bytes.get(self.given..end) {
            Some(bytes) => into.copy_from_slice(bytes),
            None => fill(into),
        }
        self.given = end;
    }
}

pub(crate) fn fill(bytes: &mut [u8]) {
    // Without entropy session ids would be guessable. Linux has it from early boot on, so this can
    // only fail where nothing else works either.
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_byte_is_given_twice() {
        let mut entropy = Entropy::<64>::new();
        let mut drawn = HashSet::new();
        for _ in 0..16 {
            let mut bytes = [0; 8];
            entropy.fill(&mut bytes);
            assert!(drawn.insert(bytes), "{bytes:?}");
        }
        let ids: HashSet<String> = (0..100).map(|_| id()).collect();
        assert_eq!(ids.len(), 100);
        assert!(ids.iter().all(|id| id.len() == ID_LEN));
        assert_ne!(stream().document_id("a"), stream().document_id("a"));
        let secrets: String = (0..100).map(|_| secret()).collect();
        assert_eq!(secrets.len(), 100 * SECRET_LEN);
        let letters: HashSet<char> = secrets.chars().collect();
        assert_eq!(letters.len(), 64, "each letter comes");
    }
}
