//! Patterns of SQL's `LIKE`.

enum Token {
    /// `%`
    AnyText,
    /// `_`
    AnyCharacter,
    One(char),
}

/// Whether a text is a valid pattern: it must not end in a lone backslash.
#[must_use]
pub fn is_pattern(pattern: &str) -> bool {
    let backslashes = pattern.len() - pattern.trim_end_matches('\\').len();
    backslashes.is_multiple_of(2)
}

/// Whether the pattern matches the whole text, as `LIKE` does character by character.
///
/// ```
/// use ddp_server::query::is_like;
///
/// assert!(is_like("Water the plants", "Water%"));
/// assert!(!is_like("Water the plants", "water%"));
/// assert!(is_like("100%", r"___\%"));
/// ```
#[must_use]
pub fn is_like(text: &str, pattern: &str) -> bool {
    let tokens = tokens(pattern);
    let text: Vec<char> = text.chars().collect();
    let (mut at, mut token) = (0, 0);
    // Where to go on when it does not match: the token after the last `%`, and one character later.
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        let matches = match tokens.get(token) {
            Some(Token::AnyText) => {
                retry = Some((token + 1, at));
                token += 1;
                continue;
            }
            Some(Token::AnyCharacter) => true,
            Some(Token::One(character)) => *character == text[at],
            None => false,
        };
        if matches {
            at += 1;
            token += 1;
            continue;
        }
        let Some((after, from)) = &mut retry else { return false };
        *from += 1;
        (token, at) = (*after, *from);
    }
    tokens[token..].iter().all(|token| matches!(token, Token::AnyText))
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut characters = pattern.chars();
    let mut tokens = Vec::new();
    while let Some(character) = characters.next() {
        tokens.push(match character {
            '%' => Token::AnyText,
            '_' => Token::AnyCharacter,
            '\\' => Token::One(characters.next().unwrap_or('\\')),
            other => Token::One(other),
        });
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        for (pattern, matching, others) in [
            ("", &[""][..], &["a"][..]),
            ("%", &["", "a", "äöü\n%"], &[]),
            ("_", &["a", "ä", "\n"], &["", "ab"]),
            ("a%c", &["ac", "abc", "abcc"], &["abcd", "xac"]),
            ("%a_b%", &["aab", "xaaabx", "aaxb"], &["ab", "aaxxb"]),
            ("a\\%", &["a%"], &["a", "ab", "a\\%"]),
            ("\\a\\_\\\\", &["a_\\"], &["a_", "ab\\"]),
            ("%%__%", &["ab", "abc"], &["a", ""]),
            ("%ab%ab", &["abab", "ababab", "abxab"], &["ab", "ababa"]),
        ] {
            for text in matching {
                assert!(is_like(text, pattern), "{text:?} {pattern:?}");
            }
            for text in others {
                assert!(!is_like(text, pattern), "{text:?} {pattern:?}");
            }
        }
    }

    #[test]
    fn a_backslash_at_the_end_takes_nothing() {
        for (pattern, is) in
            [("", true), ("\\", false), ("a\\\\", true), ("\\\\\\", false), ("\\%", true)]
        {
            assert_eq!(is_pattern(pattern), is, "{pattern:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn stars_do_not_blow_up(text in "[ab]{0,200}", pattern in "[ab%_]{0,60}") {
            let _ = is_like(&text, &pattern);
        }
    }
}
