//! Codes for whoever has lost the authenticator app. Each works once, in place of a code of the app.

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::random;

/// How many there are.
pub(in crate::accounts) const COUNT: usize = 10;

/// 80 bits, so that neither clients nor those who read the store can find one by trying.
const BYTES: usize = 10;
const LETTERS: usize = 16;

/// New codes, for their user only: `ABCD-EFGH-IJKL-MNOP`.
pub(super) fn new_codes() -> Vec<String> {
    let code = || {
        let mut bytes = [0; BYTES];
        random::fill(&mut bytes);
        let letters = BASE32_NOPAD.encode(&bytes);
        let [a, b, c, d] = [0, 4, 8, 12].map(|at| &letters[at..at + 4]);
        format!("{a}-{b}-{c}-{d}")
    };
    (0..COUNT).map(|_| code()).collect()
}

/// What is stored of a code, if it can be one: the case of its letters and what is between them do not
/// count.
pub(super) fn hash(code: &str, user_id: &str) -> Option<String> {
    let letters = code.chars().filter(char::is_ascii_alphanumeric);
    let letters: String = letters.map(|letter| letter.to_ascii_uppercase()).collect();
    if letters.len() != LETTERS {
        return None;
    }
    Some(HEXLOWER.encode(&Sha256::digest(format!("{user_id}{letters}"))))
}

/// Takes a code out of those that are left. False if it is not among them.
pub(super) fn take(hashes: &mut Vec<String>, hash: &str) -> bool {
    // Each is compared, so that the time tells nothing.
    let before = hashes.len();
    hashes.retain(|other| !bool::from(other.as_bytes().ct_eq(hash.as_bytes())));
    hashes.len() < before
}
