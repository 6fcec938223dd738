//! `bytea`, in base64 or in hexadecimal.

use super::text::plain_string;

pub(super) fn binary(raw: &str, out: &mut String) -> Option<()> {
    let base64 = plain_string(raw)?;
    let alphabet = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
    if !base64.bytes().all(alphabet) {
        return None;
    }
    push_binary(base64, out);
    Some(())
}

/// The bytes of a `bytea`, whichever way they are written.
pub(crate) fn bytes(raw: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    if raw.contains('\\') {
        return hex_bytes(raw);
    }
    base64::engine::general_purpose::STANDARD.decode(plain_string(raw)?).ok()
}

pub(super) fn binary_hex(raw: &str, out: &mut String) -> Option<()> {
    use base64::Engine as _;
    push_binary(&base64::engine::general_purpose::STANDARD.encode(hex_bytes(raw)?), out);
    Some(())
}

fn hex_bytes(raw: &str) -> Option<Vec<u8>> {
    let hex = raw.strip_prefix(r#""\\x"#)?.strip_suffix('"')?;
    if !hex.len().is_multiple_of(2) {
        return None;
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let pairs = hex.as_bytes().chunks_exact(2);
    pairs.map(|pair| Some(nibble(pair[0])? << 4 | nibble(pair[1])?)).collect()
}

fn push_binary(base64: &str, out: &mut String) {
    out.push_str(r#"{"$binary":""#);
    out.push_str(base64);
    out.push_str(r#""}"#);
}
