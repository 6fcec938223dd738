//! Decimal numbers of any size and precision.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A decimal number as PostgreSQL's `numeric` holds: exact, or infinite, or not a number. Numbers
/// that differ only in zeros at their end are the same. NaN equals itself and is above all others.
///
/// ```
/// use ddp_server::query::Decimal;
///
/// let price: Decimal = "1.50".parse().unwrap();
/// assert_eq!(price, Decimal::from(1.5));
/// assert!(price < "12345678901234567890.1".parse().unwrap());
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Decimal(Kind);

/// In the order of the numbers.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Kind {
    NegativeInfinity,
    Finite(Finite),
    Infinity,
    NaN,
}

/// `0.digits × 10^magnitude`, without zeros at either end of the digits; no digits are zero.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Finite {
    negative: bool,
    magnitude: i64,
    digits: Arc<str>,
}

/// A text that is not a number.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number")]
pub struct ParseDecimalError;

/// As [`Display`](fmt::Display): a `main` that returns the error shows this.
impl fmt::Debug for ParseDecimalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Far beyond any number in practice.
const EXPONENT_MAX: i64 = 1_000_000_000;

impl FromStr for Decimal {
    type Err = ParseDecimalError;

    /// Digits with or without sign, decimal point and exponent; `NaN`, `Infinity` or `-Infinity`.
    fn from_str(text: &str) -> Result<Self, ParseDecimalError> {
        match text {
            "NaN" => return Ok(Self(Kind::NaN)),
            "Infinity" => return Ok(Self(Kind::Infinity)),
            "-Infinity" => return Ok(Self(Kind::NegativeInfinity)),
            _ => {}
        }
        finite(text).map(|finite| Self(Kind::Finite(finite))).ok_or(ParseDecimalError)
    }
}

fn finite(text: &str) -> Option<Finite> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (unsigned, 0),
    };
    if exponent.abs() > EXPONENT_MAX {
        return None;
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut all = whole.bytes().chain(fraction.bytes());
    if whole.len() + fraction.len() == 0 || !all.all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let without_start = digits.trim_start_matches('0');
    let leading = i64::try_from(digits.len() - without_start.len()).ok()?;
    let digits = without_start.trim_end_matches('0');
    if digits.is_empty() {
        return Some(Finite { negative: false, magnitude: 0, digits: "".into() });
    }
    let magnitude = i64::try_from(whole.len()).ok()? - leading + exponent;
    Some(Finite { negative, magnitude, digits: digits.into() })
}

impl Decimal {
    /// Whether it is neither infinite nor NaN.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        matches!(self.0, Kind::Finite(_))
    }

    /// How many digits there are at least before the decimal point, and how many after it; nothing
    /// unless it is finite. Negative if there are zeros next to the point instead.
    #[must_use]
    pub fn extent(&self) -> Option<(i64, i64)> {
        let Kind::Finite(finite) = &self.0 else { return None };
        let length = i64::try_from(finite.digits.len()).unwrap_or(i64::MAX);
        Some((finite.magnitude, length - finite.magnitude))
    }
}

impl From<i64> for Decimal {
    fn from(value: i64) -> Self {
        // What an integer is written as is a number.
        value.to_string().parse().unwrap_or(Self(Kind::NaN))
    }
}

impl From<f64> for Decimal {
    /// The shortest decimal number that this double stands for.
    fn from(value: f64) -> Self {
        if value.is_infinite() {
            return Self(if value > 0.0 { Kind::Infinity } else { Kind::NegativeInfinity });
        }
        value.to_string().parse().unwrap_or(Self(Kind::NaN))
    }
}

impl Finite {
    /// Negative, zero or positive, and then how far from zero.
    fn sign(&self) -> i8 {
        match (self.digits.is_empty(), self.negative) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |kind: &Kind| match kind {
            Kind::NegativeInfinity => 0,
            Kind::Finite(_) => 1,
            Kind::Infinity => 2,
            Kind::NaN => 3,
        };
        let (Kind::Finite(a), Kind::Finite(b)) = (&self.0, &other.0) else {
            return rank(&self.0).cmp(&rank(&other.0));
        };
        let distance = || (a.magnitude, &a.digits).cmp(&(b.magnitude, &b.digits));
        a.sign().cmp(&b.sign()).then_with(|| match a.sign() {
            0 => Ordering::Equal,
            -1 => distance().reverse(),
            _ => distance(),
        })
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Decimal {
    /// As SQL and JSON read it, perhaps with an exponent.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::NegativeInfinity => f.write_str("-Infinity"),
            Kind::Infinity => f.write_str("Infinity"),
            Kind::NaN => f.write_str("NaN"),
            Kind::Finite(finite) if finite.digits.is_empty() => f.write_str("0"),
            Kind::Finite(finite) => {
                let sign = if finite.negative { "-" } else { "" };
                let length = i64::try_from(finite.digits.len()).unwrap_or(i64::MAX);
                match finite.magnitude - length {
                    0 => write!(f, "{sign}{}", finite.digits),
                    exponent => write!(f, "{sign}{}e{exponent}", finite.digits),
                }
            }
        }
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_by_what_they_are() {
        let ascending = [
            "-Infinity",
            "-1e400",
            "-12345678901234567890.2",
            "-12345678901234567890.1",
            "-10",
            "-9.99",
            "-0.1",
            "-0.01",
            "0",
            "1e-400",
            "0.099",
            "0.1",
            "9",
            "10",
            "10.000000000000000000001",
            "123456789012345678901234567890",
            "1E+400",
            "Infinity",
            "NaN",
        ];
        let numbers = ascending.map(|text| text.parse::<Decimal>().unwrap());
        for (index, number) in numbers.iter().enumerate() {
            for (other, second) in numbers.iter().enumerate() {
                assert_eq!(number.cmp(second), index.cmp(&other), "{number} {second}");
            }
            assert_eq!(number.to_string().parse().as_ref(), Ok(number));
        }
    }

    #[test]
    fn one_number_has_one_form() {
        for same in [["1.50", "1.5"], ["-0.0", "0"], ["0010", "1e1"], ["12e-1", "+1.2"]] {
            let [a, b] = same.map(|text| text.parse::<Decimal>().unwrap());
            assert_eq!(a, b);
        }
        assert_eq!(Decimal::from(0.1).to_string(), "1e-1");
        assert_eq!(Decimal::from(-0.0), Decimal::from(0));
        assert_eq!(Decimal::from(f64::NAN), "NaN".parse().unwrap());
        assert_eq!(Decimal::from(i64::MIN).to_string(), i64::MIN.to_string());
        for text in ["", ".", "-", "1e", "1e9999999999", "0x1", "1 ", "--1", "1.2.3", "inf"] {
            assert!(text.parse::<Decimal>().is_err(), "{text:?}");
        }
    }
}
