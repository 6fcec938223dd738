//! Constants of predicates in the form of a column's values.

use ddp_server::query::{Condition, Decimal, Operator, Value, is_pattern};

use super::comparable::{Comparable, Element, Json};
use super::path::split;
use crate::value::{date_days, time_microseconds};

/// Why a test does not make sense for a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// The constant cannot be compared with the column's values.
    Constant(Value),
    /// The column's type does not support the test, or the test itself is wrong.
    Question(&'static str),
}

/// How many digits PostgreSQL's `numeric` allows before the decimal point, and after it.
const NUMERIC_DIGITS_MAX: (i64, i64) = (131_072, 16_383);

/// Doubles from here on do not fit into 64-bit integers.
const INTEGER_BEYOND: f64 = 9_223_372_036_854_775_808.0;

impl Comparable {
    /// A test whose constants have the form of this column's values.
    ///
    /// # Errors
    /// If the test does not fit the column, or a constant cannot be compared with its values.
    pub(crate) fn convert(&self, test: &Condition) -> Result<Condition, Refusal> {
        if split(&test.field).1.is_some() && !matches!(self, Self::Json(_)) {
            return Err(Refusal::Question("has no path into it: it is neither jsonb nor json"));
        }
        self.check(&test.is).map_err(Refusal::Question)?;
        let constants = match self {
            Self::Array(element) => Constants::Elements(element),
            _ => Constants::Of(self),
        };
        let is_list = *self == Self::Integer && matches!(test.is, Operator::In(_));
        let is = test.is.try_map(|value| match constants.convert(value) {
            // The largest integers equal this as doubles, but no element of an array of integers does.
            Some(Value::Float(INTEGER_BEYOND)) if is_list => Ok(Value::Float(f64::INFINITY)),
            Some(constant) => Ok(constant),
            None => Err(Refusal::Constant(value.clone())),
        })?;
        Ok(Condition { field: test.field.clone(), is })
    }

    fn check(&self, is: &Operator) -> Result<(), &'static str> {
        match (is, self) {
            (Operator::Like(pattern) | Operator::ILike(pattern), _) if !is_pattern(pattern) => {
                Err("is matched with a pattern that ends with a backslash")
            }
            // PostgreSQL's text cannot hold a NUL, and a query with one is refused.
            (Operator::Like(text) | Operator::ILike(text) | Operator::StartsWith(text), _)
                if text.contains('\0') =>
            {
                Err("is matched with a pattern that contains a NUL")
            }
            (
                Operator::Like(_) | Operator::ILike(_) | Operator::StartsWith(_),
                Self::Text(_) | Self::Padded(_),
            )
            | (
                Operator::Like(_) | Operator::ILike(_) | Operator::StartsWith(_),
                Self::CiText | Self::Json(_),
            ) => Ok(()),
            (Operator::Like(_) | Operator::ILike(_) | Operator::StartsWith(_), _) => {
                Err("is matched with a pattern, but is not text with a deterministic collation")
            }
            (Operator::ContainsAll(_) | Operator::Overlaps(_), Self::Array(_) | Self::Json(_)) => {
                Ok(())
            }
            (Operator::ContainsAll(_) | Operator::Overlaps(_), _) => Err("is not an array"),
            (Operator::Compare(..) | Operator::In(_), Self::Array(_)) => {
                Err("is an array, which can only be tested for what it contains")
            }
            (Operator::Null | Operator::Compare(..) | Operator::In(_), _) => Ok(()),
        }
    }

    /// A constant in the form of this column's values; `None` if the two cannot be compared.
    pub(super) fn constant(&self, value: &Value) -> Option<Value> {
        Some(match (self, value) {
            (_, Value::List(_) | Value::Object) => return None,
            (_, Value::Null) => Value::Null,
            // PostgreSQL's text cannot hold a NUL, so this equals none.
            (_, Value::Text(text)) if text.contains('\0') && self.is_of_text() => Value::Null,
            // A double without a fraction is meant as an integer.
            (Self::Integer, Value::Float(float)) => integer(*float).unwrap_or(value.clone()),
            (Self::Boolean, Value::Bool(_))
            | (Self::Integer, Value::Int(_))
            | (Self::Text(_) | Self::Enum, Value::Text(_))
            | (Self::Binary, Value::Binary(_)) => value.clone(),
            (Self::Padded(_), Value::Text(text)) => Value::from(text.trim_end_matches(' ')),
            (Self::Real | Self::Double, Value::Float(float)) => Value::from(*float),
            (Self::Real | Self::Double, Value::Int(integer)) => Value::from(*integer as f64),
            // A client may send any text: one that is not a number, UUID, date or time equals nothing.
            (Self::Numeric, Value::Text(_)) => decimal(value).map_or(Value::Null, Value::Decimal),
            (Self::Numeric, _) => Value::Decimal(decimal(value)?),
            (Self::Uuid, Value::Text(text)) => {
                canonical_uuid(text).map_or(Value::Null, Value::from)
            }
            (Self::Date, Value::Text(text)) => date_days(text).map_or(Value::Null, Value::Int),
            (Self::Date, Value::Time(microseconds)) => day(*microseconds),
            (Self::Time, Value::Text(text)) => {
                time_microseconds(text).map_or(Value::Null, Value::Int)
            }
            (Self::Timestamp | Self::TimestampTz, Value::Time(time)) => {
                Value::Time(crate::value::within_calendar(*time))
            }
            (Self::Json(json), _) => json.constant(value)?,
            (Self::Other | Self::CiText, Value::Binary(_)) => return None,
            (Self::Other | Self::CiText, _) => value.clone(),
            _ => return None,
        })
    }
}

impl Comparable {
    /// Whether its values are compared with text.
    fn is_of_text(&self) -> bool {
        match self {
            Self::Text(_) | Self::Padded(_) | Self::CiText | Self::Enum | Self::Uuid => true,
            Self::Numeric | Self::Date | Self::Time | Self::Json(_) | Self::Other => true,
            Self::Boolean | Self::Integer | Self::Real | Self::Double | Self::Binary => false,
            Self::Timestamp | Self::TimestampTz | Self::Array(_) => false,
        }
    }
}

impl Json {
    fn constant(self, value: &Value) -> Option<Value> {
        Some(match value {
            Value::Text(_) | Value::Bool(_) => value.clone(),
            // JSON has neither infinity nor NaN.
            Value::Int(_) | Value::Float(_) | Value::Decimal(_) => {
                let number = decimal(value).filter(Decimal::is_finite);
                number.map_or(Value::Null, Value::Decimal)
            }
            _ => return None,
        })
    }
}

enum Constants<'a> {
    Of(&'a Comparable),
    Elements(&'a Element),
}

impl Constants<'_> {
    fn convert(&self, value: &Value) -> Option<Value> {
        match self {
            Self::Of(comparable) => comparable.constant(value),
            Self::Elements(element) => element.constant(value),
        }
    }
}

impl Element {
    /// Elements are compared in the column's own type, not in a wider one. What that cannot hold is
    /// never an element, and neither is NULL.
    fn constant(&self, value: &Value) -> Option<Value> {
        let constant = self.comparable.constant(value)?;
        match (&self.comparable, &constant) {
            (_, Value::Null) => Some(constant),
            (Comparable::Integer, Value::Int(integer)) => {
                let bits = u32::try_from(self.length).ok()? * 8 - 1;
                let beyond = 1_i128 << bits;
                let fits = (-beyond..beyond).contains(&i128::from(*integer));
                Some(if fits { constant } else { Value::Null })
            }
            // A number with a fraction, or beyond all integers.
            (Comparable::Integer, _) => Some(Value::Null),
            (Comparable::Real, Value::Float(_) | Value::Int(_)) => {
                let double = match constant {
                    Value::Int(integer) => integer as f64,
                    Value::Float(float) => float,
                    _ => return None,
                };
                let single = f64::from(double as f32);
                let is_lost = (double.is_finite() && single.is_infinite())
                    || (double != 0.0 && single == 0.0);
                Some(if is_lost { Value::Null } else { Value::from(single) })
            }
            // A time within a day is not a date.
            (Comparable::Date, Value::Float(_)) => Some(Value::Null),
            _ => Some(constant),
        }
    }
}

/// A number that fits PostgreSQL's `numeric`.
fn decimal(value: &Value) -> Option<Decimal> {
    let decimal = match value {
        Value::Int(integer) => Decimal::from(*integer),
        Value::Float(float) => Decimal::from(*float),
        Value::Decimal(decimal) => decimal.clone(),
        Value::Text(text) => text.parse().ok()?,
        _ => return None,
    };
    is_numeric(&decimal).then_some(decimal)
}

pub(super) fn is_numeric(decimal: &Decimal) -> bool {
    let (whole_max, fraction_max) = NUMERIC_DIGITS_MAX;
    decimal.extent().is_none_or(|(whole, fraction)| whole <= whole_max && fraction <= fraction_max)
}

/// The day that begins at this time. A time within a day becomes a half between two days, so that
/// it compares with days as the time itself would.
fn day(microseconds: i64) -> Value {
    const DAY: i64 = 86_400_000_000;
    let microseconds = crate::value::within_calendar(microseconds);
    if microseconds == i64::MIN || microseconds == i64::MAX {
        return Value::Int(microseconds);
    }
    let day = microseconds.div_euclid(DAY);
    if microseconds.rem_euclid(DAY) == 0 { Value::Int(day) } else { Value::Float(day as f64 + 0.5) }
}

/// The integer equal to a double, if it fits into 64 bits.
fn integer(float: f64) -> Option<Value> {
    let is_integer = float.fract() == 0.0 && (-INTEGER_BEYOND..INTEGER_BEYOND).contains(&float);
    is_integer.then_some(Value::Int(float as i64))
}

/// Lower case with hyphens, as PostgreSQL writes it, from any form that clients use.
fn canonical_uuid(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let is_uuid = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let lower = is_uuid.then(|| digits.to_ascii_lowercase())?;
    let parts = [&lower[..8], &lower[8..12], &lower[12..16], &lower[16..20], &lower[20..]];
    Some(parts.join("-"))
}
