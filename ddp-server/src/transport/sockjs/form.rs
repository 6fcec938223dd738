//! Queries and HTML forms: `application/x-www-form-urlencoded`.

/// The first value under a name, decoded. What a client encodes need not be text.
pub(super) fn value(form: &str, name: &str) -> Option<Vec<u8>> {
    form.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name.as_bytes()).then(|| decode(value))
    })
}

/// Decodes `+` and `%XX`. A `%` without two digits stands for itself, as in browsers.
fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            _ => *first,
        });
    }
    bytes
}

fn digit(byte: u8) -> Option<u8> {
    // A hexadecimal digit is below sixteen.
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values() {
        let table: [(&str, &str, Option<&[u8]>); 16] = [
            ("c=%63allback", "c", Some(b"callback")),
            ("t=1&c=a.b", "c", Some(b"a.b")),
            ("c=first&c=second", "c", Some(b"first")),
            ("d=%5B%22x%22%5D", "d", Some(br#"["x"]"#)),
            ("d=a+b%2Bc", "d", Some(b"a b+c")),
            ("%64=x", "d", Some(b"x")),
            ("d", "d", Some(b"")),
            ("d=", "d", Some(b"")),
            ("d=a=b", "d", Some(b"a=b")),
            ("d=%&x", "d", Some(b"%")),
            ("d=%4", "d", Some(b"%4")),
            ("d=%zz%4g", "d", Some(b"%zz%4g")),
            ("d=%ff", "d", Some(b"\xff")),
            ("d=%C3%A9", "d", Some("é".as_bytes())),
            ("", "d", None),
            ("p=p", "d", None),
        ];
        for (form, name, expected) in table {
            assert_eq!(value(form, name).as_deref(), expected, "{form}");
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text: String) {
            let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(value(&format!("d={encoded}"), "d"), Some(text.into_bytes()));
        }

        #[test]
        fn anything_is_decoded(text: String) {
            let _ = value(&text, "d");
        }
    }
}
