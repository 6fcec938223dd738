//! Names in SQL.

use std::fmt::Write as _;

/// PostgreSQL truncates longer names, and refuses longer channels.
const NAME_BYTES_MAX: usize = 63;

/// A name as SQL's quoted identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A relation's name with its schema.
pub(super) fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", quoted(schema), quoted(name))
}

/// A text as SQL's string constant, whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    let escape = if text.contains('\\') { " E" } else { "" };
    format!("{escape}'{}'", text.replace('\'', "''").replace('\\', "\\\\"))
}

/// `<readable><suffix>`, where the readable part is cut so that the whole fits.
pub(super) fn fitting(readable: &str, suffix: &str) -> String {
    let mut end = readable.len().min(NAME_BYTES_MAX.saturating_sub(suffix.len()));
    while !readable.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &readable[..end])
}

/// Sixteen hexadecimal digits, a 64-bit FNV-1a hash. It must stay the same in every version of this
/// library, since names in the database contain it.
pub(super) fn hash(parts: &[&str]) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        // No text contains the byte that ends a part.
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    let mut digits = String::with_capacity(16);
    // Writing to a string cannot fail.
    let _ = write!(digits, "{hash:016x}");
    digits
}

/// Whether a text could be a [`hash`].
pub(super) fn is_hash(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting() {
        assert_eq!(quoted(r#"My "table""#), r#""My ""table""""#);
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r" E'a\\''b'");
    }

    #[test]
    fn names_fit() {
        assert_eq!(fitting("tasks", "_1"), "tasks_1");
        let long = fitting(&"é".repeat(60), "_0123");
        assert!(long.len() <= 63 && long.ends_with("é_0123"), "{long}");
    }

    #[test]
    fn hashes_stay_and_differ() {
        assert_eq!(hash(&["a"]), hash(&["a"]));
        assert_ne!(hash(&["a", "b"]), hash(&["ab", ""]));
        assert_eq!(hash(&[]), "cbf29ce484222325");
    }
}
