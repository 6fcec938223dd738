//! Comparison of columns with constants, in memory as in PostgreSQL.

use ddp_server::query::{Comparison, Is, Test, Truth, Value};

/// How a column's values compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparable {
    /// `boolean`.
    Boolean,
    /// `smallint`, `integer`, `bigint`.
    Integer,
    /// `real`: its values are doubles only after widening.
    Real,
    /// `double precision`.
    Double,
    /// `text` and `varchar` whose collation takes only equal bytes for equal. How they are ordered
    /// depends on the collation, so that is left to PostgreSQL.
    Text,
    /// An enum: equal if its labels are; its order is PostgreSQL's.
    Enum,
    /// `uuid`, which is ordered as its canonical text is.
    Uuid,
    /// `timestamp`, read as UTC.
    Timestamp,
    /// `timestamptz`.
    TimestampTz,
    /// Anything else is compared by PostgreSQL alone.
    Other,
}

impl Comparable {
    /// Whether a comparison done here always agrees with PostgreSQL's. `None` asks for `IS NULL`.
    pub(crate) fn is_exact(self, comparison: Option<Comparison>) -> bool {
        let equality = matches!(comparison, None | Some(Comparison::Eq | Comparison::Ne));
        match self {
            Self::Other => false,
            Self::Text | Self::Enum => equality,
            _ => true,
        }
    }

    /// A test with its constants in the form of this column's values.
    ///
    /// # Errors
    /// A constant that never compares with them.
    pub(crate) fn test(self, test: &Test) -> Result<Test, Value> {
        let constant = |value: &Value| self.constant(value).ok_or_else(|| value.clone());
        let is = match &test.is {
            Is::Null => Is::Null,
            Is::Compare(comparison, value) => Is::Compare(*comparison, constant(value)?),
            Is::In(values) => Is::In(values.iter().map(constant).collect::<Result<_, _>>()?),
        };
        Ok(Test { field: test.field.clone(), is })
    }

    /// The answer to a test for a value that PostgreSQL wrote as this JSON text.
    pub(crate) fn answer(self, test: &Test, json: &str) -> Truth {
        let comparison = match &test.is {
            Is::Null => return (json == "null").into(),
            Is::Compare(comparison, _) => *comparison,
            Is::In(_) => Comparison::Eq,
        };
        if self.is_exact(Some(comparison)) {
            test.is.test(&self.value(json))
        } else {
            Truth::Undecided
        }
    }

    /// A constant in the form of this column's values; `None` if the two never compare.
    pub(crate) fn constant(self, value: &Value) -> Option<Value> {
        Some(match (self, value) {
            (_, Value::Null) => Value::Null,
            // PostgreSQL's text holds no NUL, and refuses a query that has one.
            (_, Value::Text(text)) if text.contains('\0') => return None,
            // An integer that came as a double is that integer.
            (Self::Integer, Value::Float(float)) => integer(*float).unwrap_or(value.clone()),
            (Self::Boolean, Value::Bool(_))
            | (Self::Integer, Value::Int(_))
            | (Self::Text | Self::Enum, Value::Text(_))
            | (Self::Timestamp | Self::TimestampTz, Value::Time(_))
            | (Self::Real | Self::Double, Value::Float(_)) => value.clone(),
            (Self::Real | Self::Double, Value::Int(integer)) => Value::from(*integer as f64),
            (Self::Uuid, Value::Text(text)) => Value::from(canonical_uuid(text)?),
            (Self::Other, Value::Binary(_)) => return None,
            (Self::Other, _) => value.clone(),
            _ => return None,
        })
    }

    /// The value of a column from the JSON text that PostgreSQL wrote; NULL if it is unreadable,
    /// which it cannot be, or is not compared here.
    pub(crate) fn value(self, json: &str) -> Value {
        let value = match self {
            Self::Boolean => json.parse().ok().map(Value::Bool),
            Self::Integer => json.parse().ok().map(Value::Int),
            Self::Real => number(json).map(|number| Value::from(f64::from(number as f32))),
            Self::Double => number(json).map(Value::from),
            Self::Text | Self::Enum | Self::Uuid => {
                serde_json::from_str::<String>(json).ok().map(Value::from)
            }
            Self::Timestamp | Self::TimestampTz => time(json).map(Value::Time),
            Self::Other => None,
        };
        value.unwrap_or(Value::Null)
    }
}

/// The integer that a double is, if it is one of 64 bits.
fn integer(float: f64) -> Option<Value> {
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    let is_integer = float.fract() == 0.0 && (-BEYOND..BEYOND).contains(&float);
    is_integer.then_some(Value::Int(float as i64))
}

/// A number, or one of the strings that stand for what JSON has no number for.
fn number(json: &str) -> Option<f64> {
    match json {
        "\"NaN\"" => Some(f64::NAN),
        "\"Infinity\"" => Some(f64::INFINITY),
        "\"-Infinity\"" => Some(f64::NEG_INFINITY),
        _ => json.parse().ok(),
    }
}

/// Microseconds since 1970. Infinity is beyond every other time.
fn time(json: &str) -> Option<i64> {
    match json {
        "\"infinity\"" => Some(i64::MAX),
        "\"-infinity\"" => Some(i64::MIN),
        _ => crate::value::microseconds(json),
    }
}

/// Lower case with hyphens, as PostgreSQL writes it, from any form that clients use.
fn canonical_uuid(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|character| *character != '-').collect();
    let is_uuid = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let lower = is_uuid.then(|| digits.to_ascii_lowercase())?;
    let parts = [&lower[..8], &lower[8..12], &lower[12..16], &lower[16..20], &lower[20..]];
    Some(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_constants_take_the_same_form() {
        for (comparable, json, constant) in [
            (Comparable::Boolean, "true", Value::Bool(true)),
            (Comparable::Integer, "9007199254740993", Value::Int(9_007_199_254_740_993)),
            (Comparable::Integer, "5", Value::Float(5.0)),
            (Comparable::Integer, "9007199254740994", Value::Float(9_007_199_254_740_994.0)),
            (Comparable::Double, "5", Value::Int(5)),
            (Comparable::Double, "\"NaN\"", Value::Float(f64::NAN)),
            (Comparable::Double, "1e+20", Value::Float(1e20)),
            (Comparable::Real, "0.1", Value::Float(f64::from(0.1_f32))),
            (Comparable::Text, "\"a\\u0001\"", Value::from("a\u{1}")),
            (
                Comparable::Uuid,
                "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"",
                Value::from("A0EEBC999C0B4EF8BB6D6BB9BD380A11"),
            ),
            (Comparable::TimestampTz, "\"1970-01-01T01:00:00.000001+01:00\"", Value::Time(1)),
            (Comparable::Timestamp, "\"1969-12-31T23:59:59.999999\"", Value::Time(-1)),
            (Comparable::Timestamp, "\"infinity\"", Value::Time(i64::MAX)),
            (Comparable::Text, "null", Value::Null),
        ] {
            let constant = comparable.constant(&constant).unwrap();
            assert_eq!(comparable.value(json), constant, "{json}");
        }
    }

    #[test]
    fn what_never_compares_is_refused() {
        for (comparable, value) in [
            (Comparable::Integer, Value::from("1")),
            (Comparable::Text, Value::Int(1)),
            (Comparable::Text, Value::from("a\0b")),
            (Comparable::Uuid, Value::from("a0eebc99")),
            (Comparable::TimestampTz, Value::from("2024-01-01")),
            (Comparable::Boolean, Value::Int(1)),
        ] {
            assert_eq!(comparable.constant(&value), None, "{comparable:?} {value:?}");
        }
    }
}
