//! When two names are the same but for their case.
//!
//! PostgreSQL's own `lower` depends on the database's collation and on the versions of the system's
//! libraries, so that two servers may disagree, and an index made by it can become wrong. Ours is a
//! function in the database with a table of its own, made once: whoever writes or looks up uses it,
//! whatever the collation. It makes the same letters equal as JavaScript's regular expressions with the
//! flag `i`, by which Meteor compares: letter by letter, and no other letter equals one of ASCII (`ı` is
//! not `i`). In a database that is not in UTF-8 it knows the letters of ASCII only.

use std::fmt::Write as _;

/// The statement that makes the function.
pub(super) fn function_sql() -> String {
    let (mut letters, mut folded) = (String::new(), String::new());
    for (letter, lower) in pairs() {
        escape(letter, &mut letters);
        escape(lower, &mut folded);
    }
    // Of ASCII alone, so that it can be sent and read in any encoding.
    format!(
        "DO $do$
BEGIN
    IF pg_catalog.getdatabaseencoding() = 'UTF8' THEN
        CREATE FUNCTION accounts.fold(name text) RETURNS text
        LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $fold$
BEGIN
    IF octet_length(name) = char_length(name) THEN RETURN lower(name COLLATE \"C\"); END IF;
    RETURN translate(lower(name COLLATE \"C\"),
        E'{letters}',
        E'{folded}');
END $fold$;
    ELSE
        CREATE FUNCTION accounts.fold(name text) RETURNS text
        LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $fold$
BEGIN
    RETURN lower(name COLLATE \"C\");
END $fold$;
    END IF;
END $do$"
    )
}

/// The letters beyond ASCII that become others, with those.
fn pairs() -> impl Iterator<Item = (char, char)> {
    ('\u{80}'..=char::MAX).filter_map(|letter| {
        let folded = fold(letter);
        (folded != letter).then_some((letter, folded))
    })
}

/// A letter beyond ASCII in lower case, by way of upper case, so that both forms of the small sigma are
/// the same.
fn fold(letter: char) -> char {
    let upper = single(letter.to_uppercase()).unwrap_or(letter);
    let folded = single(upper.to_lowercase()).unwrap_or(upper);
    if upper.is_ascii() || folded.is_ascii() { letter } else { folded }
}

/// The letter that these are, if they are one.
fn single(mut letters: impl Iterator<Item = char>) -> Option<char> {
    let first = letters.next();
    first.filter(|_| letters.next().is_none())
}

fn escape(letter: char, out: &mut String) {
    let number = u32::from(letter);
    // Writing to a string cannot fail.
    let _ = if number > 0xffff {
        write!(out, "\\U{number:08x}")
    } else {
        write!(out, "\\u{number:04x}")
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_equal_as_in_javascript() {
        for (a, b) in [('É', 'é'), ('Σ', 'ς'), ('Σ', 'σ'), ('Ж', 'ж'), ('µ', 'μ'), ('𐐀', '𐐨')]
        {
            assert_eq!(fold(a), fold(b), "{a} {b}");
        }
        // Not the dotless i, the dotted I, the long s and the sign of Kelvin; no letter with two in upper
        // case.
        for letter in ['ı', 'İ', 'ſ', '\u{212a}', 'ß', '中', '✓'] {
            assert_eq!(fold(letter), letter);
        }
        assert!(pairs().all(|(letter, folded)| fold(folded) == folded && letter != folded));
    }

    #[test]
    fn the_statement_is_of_ascii_and_small() {
        let sql = function_sql();
        assert!(sql.is_ascii() && sql.len() < 32_768, "{}", sql.len());
    }
}
