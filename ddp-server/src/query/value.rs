//! Constants in predicates, and what rows are compared by.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use ddp_core::ejson::Ejson;

use super::decimal::Decimal;

/// Up to this magnitude doubles tell each integer from its neighbours: 2^53.
pub(super) const EXACT: f64 = 9_007_199_254_740_992.0;

/// A value that a predicate compares a field with.
///
/// The kinds are those that both JavaScript and SQL order. Comparison follows PostgreSQL: `Null`
/// compares with nothing, integers and floats compare by magnitude, NaN equals itself and is above
/// every other number, text is ordered by code points (as the collation `C` does).
#[derive(Clone, Debug)]
pub enum Value {
    /// SQL's NULL: neither equal nor unequal to anything.
    Null,
    /// A boolean; false is below true.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number that is not an integer of up to 2^53 in magnitude.
    Float(f64),
    /// A number with all its digits.
    Decimal(Decimal),
    /// Text.
    Text(Arc<str>),
    /// A point in time: microseconds since 1970-01-01 UTC.
    Time(i64),
    /// Bytes.
    Binary(Arc<[u8]>),
    /// An array, for predicates on its elements. Not a constant.
    List(Arc<[Self]>),
    /// Anything else that is not NULL, such as an object. It equals nothing, and cannot be a
    /// constant.
    Object,
}

impl Value {
    /// Compares as SQL does; `None` if either side is NULL or the kinds do not compare.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Some(a.cmp(b)),
            (Self::Int(a), Self::Int(b)) | (Self::Time(a), Self::Time(b)) => Some(a.cmp(b)),
            (Self::Float(a), Self::Float(b)) => Some(compare_floats(*a, *b)),
            // PostgreSQL compares an integer with a double as doubles, too.
            (Self::Int(a), Self::Float(b)) => Some(compare_floats(*a as f64, *b)),
            (Self::Float(a), Self::Int(b)) => Some(compare_floats(*a, *b as f64)),
            (Self::Decimal(a), Self::Decimal(b)) => Some(a.cmp(b)),
            (Self::Decimal(a), Self::Int(b)) => Some(a.cmp(&Decimal::from(*b))),
            (Self::Decimal(a), Self::Float(b)) => Some(a.cmp(&Decimal::from(*b))),
            (Self::Int(_) | Self::Float(_), Self::Decimal(_)) => {
                other.compare(self).map(Ordering::reverse)
            }
            (Self::Text(a), Self::Text(b)) => Some(a.cmp(b)),
            (Self::Binary(a), Self::Binary(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// Orders values that don't compare.
    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Bool(_) => 1,
            Self::Int(_) | Self::Float(_) | Self::Decimal(_) => 2,
            Self::Text(_) => 3,
            Self::Time(_) => 4,
            Self::Binary(_) => 5,
            Self::List(_) => 6,
            Self::Object => 7,
        }
    }

    /// Whether this is SQL's NULL.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The value of a document's field, including arrays and objects, which cannot be constants.
    #[must_use]
    pub fn of_document(value: &Ejson) -> Self {
        match value {
            Ejson::Array(elements) => Self::List(elements.iter().map(Self::of_document).collect()),
            other => Self::from_ejson(other).unwrap_or(Self::Object),
        }
    }

    /// The value that EJSON writes, if predicates can compare with it.
    #[must_use]
    pub fn from_ejson(value: &Ejson) -> Option<Self> {
        Some(match value {
            Ejson::Null => Self::Null,
            Ejson::Bool(value) => Self::Bool(*value),
            Ejson::Number(value) => Self::from(*value),
            Ejson::String(value) => Self::from(value.as_str()),
            Ejson::Date(date) => Self::from(*date),
            Ejson::Binary(bytes) => Self::Binary(bytes.as_slice().into()),
            _ => return None,
        })
    }
}

fn compare_floats(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

impl PartialEq for Value {
    /// Identity, not SQL's equality: NULL is the same as NULL here.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Object, Self::Object) => true,
            _ if std::mem::discriminant(self) != std::mem::discriminant(other) => false,
            _ => self.compare(other) == Some(Ordering::Equal),
        }
    }
}

impl Eq for Value {}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Null | Self::Object => {}
            Self::Decimal(value) => value.hash(state),
            Self::List(values) => values.hash(state),
            Self::Bool(value) => value.hash(state),
            Self::Int(value) | Self::Time(value) => value.hash(state),
            Self::Float(value) if value.is_nan() => f64::NAN.to_bits().hash(state),
            // Adding zero makes -0 into 0, which it equals.
            Self::Float(value) => (value + 0.0).to_bits().hash(state),
            Self::Text(value) => value.hash(state),
            Self::Binary(value) => value.hash(state),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

macro_rules! from_integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Value {
            fn from(value: $integer) -> Self {
                Self::Int(i64::from(value))
            }
        }
    )*};
}

from_integers!(i8, i16, i32, i64, u8, u16, u32);

impl From<f64> for Value {
    /// An integer if it is one that doubles tell from its neighbours.
    fn from(value: f64) -> Self {
        if value.fract() == 0.0 && value.abs() <= EXACT {
            Self::Int(value as i64)
        } else {
            Self::Float(value)
        }
    }
}

impl From<Decimal> for Value {
    fn from(value: Decimal) -> Self {
        Self::Decimal(value)
    }
}

impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Self::Binary(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(value.as_str().into())
    }
}

impl From<ddp_core::ejson::Date> for Value {
    /// NULL if the date is invalid, as `new Date(NaN)` is.
    fn from(value: ddp_core::ejson::Date) -> Self {
        value.millis().map_or(Self::Null, |millis| Self::Time(millis.saturating_mul(1000)))
    }
}

impl From<std::time::SystemTime> for Value {
    /// Rounded down to microseconds.
    fn from(value: std::time::SystemTime) -> Self {
        let microseconds = match value.duration_since(std::time::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => {
                let nanoseconds = before.duration().as_nanos();
                i64::try_from(nanoseconds.div_ceil(1000)).map_or(i64::MIN, |micros| -micros)
            }
        };
        Self::Time(microseconds)
    }
}

#[cfg(feature = "uuid")]
impl From<uuid::Uuid> for Value {
    /// Its text in lower case with hyphens, as PostgreSQL writes it and as an `_id` has it.
    fn from(value: uuid::Uuid) -> Self {
        Self::from(value.hyphenated().to_string())
    }
}

#[cfg(feature = "time")]
impl From<time::OffsetDateTime> for Value {
    /// Rounded down to microseconds. All its years fit, also those beyond a client's `Date`; of those that
    /// the crate's feature `large-dates` adds, what does not fit becomes the last that does.
    fn from(value: time::OffsetDateTime) -> Self {
        let microseconds = value.unix_timestamp_nanos().div_euclid(1000);
        let beyond = if microseconds < 0 { i64::MIN } else { i64::MAX };
        Self::Time(i64::try_from(microseconds).unwrap_or(beyond))
    }
}

#[cfg(feature = "chrono")]
impl<Tz: chrono::TimeZone> From<chrono::DateTime<Tz>> for Value {
    /// Rounded down to microseconds. All its years fit, also those beyond a client's `Date`.
    fn from(value: chrono::DateTime<Tz>) -> Self {
        Self::Time(value.timestamp_micros())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_system_keep_their_microseconds() {
        use std::time::{Duration, UNIX_EPOCH};
        let nanoseconds = Duration::from_nanos(1_234_567);
        for (time, microseconds) in [
            (UNIX_EPOCH, 0),
            (UNIX_EPOCH + nanoseconds, 1_234),
            (UNIX_EPOCH - nanoseconds, -1_235),
            (UNIX_EPOCH - Duration::from_micros(1_234), -1_234),
        ] {
            assert!(matches!(Value::from(time), Value::Time(found) if found == microseconds));
        }
    }

    #[cfg(feature = "uuid")]
    #[test]
    fn a_uuid_is_the_text_that_an_id_has() {
        let uuid = uuid::Uuid::from_u128(0xA0EE_BC99_9C0B_4EF8_BB6D_6BB9_BD38_0A11);
        assert_eq!(Value::from(uuid), Value::from("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"));
        assert_eq!(Value::from(None::<uuid::Uuid>), Value::Null);
    }

    /// Nanoseconds since 1970, and the microseconds they become.
    #[cfg(any(feature = "time", feature = "chrono"))]
    const ROUNDED: [(i64, i64); 4] = [(0, 0), (1_999, 1), (-1, -1), (-1_001, -2)];

    #[cfg(feature = "time")]
    #[test]
    fn times_of_the_crate_time_keep_their_microseconds_and_never_overflow() {
        use time::{Date, OffsetDateTime, Time, UtcOffset};
        for (nanoseconds, microseconds) in ROUNDED {
            let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into()).unwrap();
            assert_eq!(Value::from(time), Value::Time(microseconds));
            let elsewhere = time.to_offset(UtcOffset::from_hms(-5, -30, 0).unwrap());
            assert_eq!(Value::from(elsewhere), Value::Time(microseconds));
        }
        for (day, sign) in [(Date::MIN, -1), (Date::MAX, 1)] {
            let Value::Time(found) = Value::from(OffsetDateTime::new_utc(day, Time::MIDNIGHT))
            else {
                panic!("a time");
            };
            assert_eq!(found.signum(), sign, "{day:?}");
        }
    }

    #[cfg(feature = "chrono")]
    #[test]
    fn times_of_chrono_keep_their_microseconds_and_never_overflow() {
        use chrono::{DateTime, FixedOffset, Utc};
        for (nanoseconds, microseconds) in ROUNDED {
            let time = DateTime::from_timestamp_nanos(nanoseconds);
            assert_eq!(Value::from(time), Value::Time(microseconds));
            let east = time.with_timezone(&FixedOffset::east_opt(20_700).unwrap());
            assert_eq!(Value::from(east), Value::Time(microseconds));
        }
        let millions_of_years = 262_000 * 31_556_952_000_000;
        let Value::Time(last) = Value::from(DateTime::<Utc>::MAX_UTC) else { panic!("a time") };
        let Value::Time(first) = Value::from(DateTime::<Utc>::MIN_UTC) else { panic!("a time") };
        assert!(
            last > millions_of_years - 2_000 * 31_556_952_000_000 && first < -millions_of_years
        );
    }

    #[test]
    fn comparison_is_that_of_sql() {
        assert_eq!(Value::Null.compare(&Value::Null), None);
        assert_eq!(Value::Int(2).compare(&Value::Float(2.5)), Some(Ordering::Less));
        assert_eq!(Value::Float(f64::NAN).compare(&Value::Int(9)), Some(Ordering::Greater));
        assert_eq!(Value::Float(f64::NAN).compare(&Value::Float(f64::NAN)), Some(Ordering::Equal));
        assert_eq!(Value::from("a").compare(&Value::Int(1)), None);
        assert_eq!(Value::from(3.0), Value::Int(3));
        assert_eq!(Value::from(-0.0), Value::Int(0));
        assert_eq!(Value::Null, Value::Null);
        let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
        assert_eq!(decimal("1.50").compare(&Value::Float(1.5)), Some(Ordering::Equal));
        assert_eq!(Value::Int(2).compare(&decimal("1.99")), Some(Ordering::Greater));
        assert_ne!(decimal("2"), Value::Int(2), "not the same, though equal");
        assert_eq!(Value::Object.compare(&Value::Object), None);
    }
}
