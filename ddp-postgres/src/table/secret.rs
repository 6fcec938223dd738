//! Columns whose names tell that clients should not get them.

use ddp_server::log::{Count, Log};

use super::{Columns, Table};
use crate::schema::Layout;

/// A word that a secret's name has in it.
const WORDS: [&str; 17] = [
    "apikey",
    "credential",
    "credentials",
    "hash",
    "hashed",
    "otp",
    "passphrase",
    "passwd",
    "password",
    "passwords",
    "privatekey",
    "pwd",
    "salt",
    "secret",
    "secrets",
    "token",
    "tokens",
];

/// Two words that do so together.
const PAIRS: [[&str; 2]; 5] = [
    ["access", "key"],
    ["api", "key"],
    ["encryption", "key"],
    ["private", "key"],
    ["secret", "key"],
];

/// Warns of columns that are published only because all are, and that were not `before`.
pub(super) fn warn(log: &Log, table: &Table, before: Option<&Layout>, now: &Layout) {
    if table.columns != Some(Columns::All) {
        return;
    }
    let (collection, relation) = (table.collection_name(), now.relation());
    for name in now.columns().iter().map(|column| column.name()) {
        let is_old = |layout: &Layout| layout.columns().iter().any(|column| column.name() == name);
        if is_named_like_a_secret(name) && !before.is_some_and(is_old) {
            // Each column is a kind of its own.
            let column = format!("{collection}.{name}");
            let count: Count = |column, relation, count| {
                tracing::warn!(
                    column,
                    relation,
                    count,
                    "all_columns() publishes this column, named like a secret, again and again"
                );
            };
            if log.admits("secret", &column, relation, count) {
                tracing::warn!(
                    collection,
                    relation,
                    column = name,
                    "all_columns() publishes a column that is named like a secret: if clients must not \
                     see it, list the others by columns()"
                );
            }
        }
    }
}

/// Whether one of the words in a column's name is that of a secret: `password_hash`, `apiKey`,
/// `ACCESS_TOKEN`, but not `tokenizer`.
pub(crate) fn is_named_like_a_secret(name: &str) -> bool {
    let words = words(name);
    let is_secret = |word: &String| WORDS.contains(&word.as_str());
    words.iter().any(is_secret)
        || words.windows(2).any(|pair| PAIRS.iter().any(|known| pair == known))
}

/// The words of a name in snake or camel case, in lower case. Digits belong to no word.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words = vec![String::new()];
    for (index, letter) in letters.iter().enumerate() {
        // `apiKey` has a word from the `K`, and `APIKey` too.
        let follows_small = index > 0 && letters[index - 1].is_lowercase();
        let precedes_small = letters.get(index + 1).is_some_and(|next| next.is_lowercase());
        let starts = letter.is_uppercase() && (follows_small || precedes_small);
        if starts || !letter.is_alphabetic() {
            words.push(String::new());
        }
        if letter.is_alphabetic()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            "password",
            "Password",
            "user_password",
            "passwordHash",
            "passwd",
            "password2",
            "access_token",
            "ACCESS_TOKEN",
            "token",
            "clientSecret",
            "client_secrets",
            "api_key",
            "apiKey",
            "APIKey",
            "apikey",
            "api key",
            "private_key_pem",
            "totp_secret",
            "hash",
        ] {
            assert!(is_named_like_a_secret(name), "{name}");
        }
        for name in [
            "title",
            "tokenizer",
            "hashtag",
            "secretary",
            "key",
            "foreign_key",
            "keyApi",
            "compassword",
            "saltiness",
            "api_url",
            "",
            "_",
            "42",
            "\u{fc}ber_mich",
        ] {
            assert!(!is_named_like_a_secret(name), "{name}");
        }
    }
}
