//! JSON strings that survive every browser.

use bytes::{BufMut, BytesMut};

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Whether a UTF-8 byte may start something that must be escaped. Everything else is copied in
/// runs.
const SUSPECT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < table.len() {
        // 0xe2 starts U+2000 to U+2FFF, 0xef U+F000 to U+FFFF, and 0xf0 and above the characters
        // that are surrogate pairs in JavaScript.
        table[byte] = matches!(byte, 0..0x20 | 0x22 | 0x5c | 0xe2 | 0xef | 0xf0..);
        byte += 1;
    }
    table
};

/// Appends `text` as a JSON string.
///
/// Beyond what JSON requires, it escapes the same characters as sockjs-node, because some browser
/// or proxy was seen to change them: U+200C–F, U+2028–F, U+2060–F, U+FFF0–F, and all surrogates,
/// which makes two escapes for each character above U+FFFF.
pub(crate) fn quote(text: &str, out: &mut BytesMut) {
    out.reserve(text.len() + text.len() / 8 + 2);
    out.put_u8(b'"');
    let mut rest = text;
    while let Some(plain) = rest.bytes().position(|byte| SUSPECT[usize::from(byte)]) {
        // A suspect byte is never a continuation byte, so this is a character boundary.
        let (run, suspect) = rest.split_at(plain);
        out.put_slice(run.as_bytes());
        let mut characters = suspect.chars();
        if let Some(character) = characters.next() {
            put_character(character, out);
        }
        rest = characters.as_str();
    }
    out.put_slice(rest.as_bytes());
    out.put_u8(b'"');
}

fn put_character(character: char, out: &mut BytesMut) {
    match character {
        '"' => out.put_slice(b"\\\""),
        '\\' => out.put_slice(b"\\\\"),
        '\u{8}' => out.put_slice(b"\\b"),
        '\t' => out.put_slice(b"\\t"),
        '\n' => out.put_slice(b"\\n"),
        '\u{c}' => out.put_slice(b"\\f"),
        '\r' => out.put_slice(b"\\r"),
        '\0'..='\u{1f}'
        | '\u{200c}'..='\u{200f}'
        | '\u{2028}'..='\u{202f}'
        | '\u{2060}'..='\u{206f}'
        | '\u{fff0}'.. => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                put_escape(*unit, out);
            }
        }
        _ => out.put_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

fn put_escape(unit: u16, out: &mut BytesMut) {
    out.put_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.put_u8(HEX_DIGITS[usize::from(unit >> shift & 0xf)]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = BytesMut::new();
        quote(text, &mut out);
        String::from_utf8(out.to_vec()).expect("quoting keeps UTF-8")
    }

    #[test]
    fn escapes_are_those_of_sockjs_node() {
        let table = [
            ("", r#""""#),
            ("plain", r#""plain""#),
            (r#"{"msg":"ping"}"#, r#""{\"msg\":\"ping\"}""#),
            (r"C:\dir", r#""C:\\dir""#),
            ("\u{8}\t\n\u{c}\r", r#""\b\t\n\f\r""#),
            ("\0\u{1}\u{b}\u{1f}\u{7f}", "\"\\u0000\\u0001\\u000b\\u001f\u{7f}\""),
            ("é ü 漢字 €", "\"é ü 漢字 €\""),
            ("\u{200b}\u{200c}\u{200f}\u{2010}", "\"\u{200b}\\u200c\\u200f\u{2010}\""),
            ("\u{2027}\u{2028}\u{202f}\u{2030}", "\"\u{2027}\\u2028\\u202f\u{2030}\""),
            ("\u{205f}\u{2060}\u{206f}\u{2070}", "\"\u{205f}\\u2060\\u206f\u{2070}\""),
            ("\u{ffef}\u{fff0}\u{ffff}", "\"\u{ffef}\\ufff0\\uffff\""),
            ("a😀b\u{10ffff}", r#""a\ud83d\ude00b\udbff\udfff""#),
        ];
        for (text, expected) in table {
            assert_eq!(quoted(text), expected);
        }
    }

    proptest! {
        #[test]
        fn json_reads_back_what_was_quoted(text in "(?s).*") {
            let back: String = serde_json::from_str(&quoted(&text)).expect("valid JSON");
            prop_assert_eq!(back, text);
        }
    }
}
