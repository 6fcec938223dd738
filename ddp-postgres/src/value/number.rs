//! Numbers, within the limits of JavaScript's.

use std::fmt::Write as _;

/// JavaScript's `Number.MAX_SAFE_INTEGER`.
const SAFE_INTEGER_MAX: u64 = (1 << 53) - 1;
/// Any decimal number with this many digits survives conversion to a double and back.
const EXACT_DIGITS_MAX: usize = 15;
/// Well inside a double's range of exponents.
const EXPONENT_MAX: usize = 300;

pub(super) fn integer(raw: &str, out: &mut String) -> Option<()> {
    is_integer(raw).then(|| out.push_str(raw))
}

pub(super) fn id(raw: &str, out: &mut String) -> Option<()> {
    is_integer(raw).then(|| push_string(raw, out))
}

fn is_integer(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

pub(super) fn big_integer(raw: &str, out: &mut String) -> Option<()> {
    let value: i64 = raw.parse().ok()?;
    if value.unsigned_abs() <= SAFE_INTEGER_MAX {
        out.push_str(raw);
    } else {
        push_string(raw, out);
    }
    Some(())
}

pub(super) fn float(raw: &str, out: &mut String) -> Option<()> {
    if not_finite(raw, out) {
        return Some(());
    }
    let value: f64 = raw.parse().ok()?;
    push_number(value, out)
}

pub(super) fn numeric(raw: &str, out: &mut String) -> Option<()> {
    if not_finite(raw, out) {
        return Some(());
    }
    let unsigned = raw.strip_prefix('-').unwrap_or(raw);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    if whole.len() > EXPONENT_MAX || fraction.len() > EXPONENT_MAX {
        push_string(raw, out);
        return Some(());
    }
    if significant_digits(whole, fraction) <= EXACT_DIGITS_MAX {
        return push_number(raw.parse().ok()?, out);
    }
    push_string(raw, out);
    Some(())
}

/// How many digits remain without leading and trailing zeros.
fn significant_digits(whole: &str, fraction: &str) -> usize {
    let mut not_zero = whole
        .bytes()
        .chain(fraction.bytes())
        .enumerate()
        .filter(|(_, digit)| *digit != b'0')
        .map(|(index, _)| index);
    let Some(first) = not_zero.next() else { return 0 };
    not_zero.last().unwrap_or(first) + 1 - first
}

/// Writes `NaN` and infinities, which JSON has no numbers for. Returns whether it was one.
fn not_finite(raw: &str, out: &mut String) -> bool {
    let sign = match raw {
        r#""NaN""# => 0,
        r#""Infinity""# => 1,
        r#""-Infinity""# => -1,
        _ => return false,
    };
    push_infinity_or_nan(sign, out);
    true
}

/// `0` for not a number, `1` and `-1` for the infinities.
pub(super) fn push_infinity_or_nan(sign: i8, out: &mut String) {
    // Writing to a string cannot fail.
    let _ = write!(out, r#"{{"$InfNaN":{sign}}}"#);
}

fn push_number(value: f64, out: &mut String) -> Option<()> {
    // Rust parses a number beyond a double's range as infinite.
    value.is_finite().then(|| out.push_str(ryu_js::Buffer::new().format_finite(value)))
}

fn push_string(digits: &str, out: &mut String) {
    out.push('"');
    out.push_str(digits);
    out.push('"');
}
