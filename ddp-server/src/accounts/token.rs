//! Tokens as clients have them, and their hashes.

use std::fmt;

use super::store::TokenHash;
use crate::random;

/// A token as text, which only its client and its mail get to see.
pub(super) struct Token(String);

impl Token {
    /// A new one: 43 characters from the operating system.
    pub(super) fn random() -> Self {
        Self(random::secret())
    }

    /// One that a client sent.
    pub(super) fn sent(text: String) -> Self {
        Self(text)
    }

    pub(super) fn hash(&self) -> TokenHash {
        TokenHash::of(&self.0)
    }

    /// For its client, or its mail.
    pub(super) fn reveal(self) -> String {
        self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_meteor() {
        let hash = Token::sent("password".to_owned()).hash();
        assert_eq!(hash.as_str(), "XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQtg=");
        let token = Token::random();
        assert!(!format!("{token:?}{:?}", token.hash()).contains(token.0.get(..4).unwrap()));
    }
}
