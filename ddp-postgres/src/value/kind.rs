//! Kinds of values.

/// How the values of a column become EJSON.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueKind {
    /// `boolean`.
    Boolean,
    /// `smallint` and `integer`.
    Integer,
    /// `bigint`.
    BigInteger,
    /// The same as an id, which is a string of its digits.
    Id,
    /// `real` and `double precision`.
    Float,
    /// `numeric`.
    Numeric,
    /// Text, and every type without a rule of its own.
    Text,
    /// `json` and `jsonb`, composites, and whatever else `to_json` writes as an object.
    Json,
    /// `json` and `jsonb` that hold EJSON.
    Ejson,
    /// `bytea`, already encoded as base64 by the SQL for the row.
    Binary,
    /// `bytea` inside an array, which PostgreSQL writes in hexadecimal.
    BinaryHex,
    /// `date` as a string.
    Date,
    /// `date` as a `$date` at midnight UTC.
    DateAsDate,
    /// `timestamp` and `timestamptz`.
    Timestamp,
    /// `interval`.
    Interval,
    /// An array of any number of dimensions.
    Array(Box<Self>),
}

impl ValueKind {
    /// The same as ids, if these are integers or arrays of them.
    pub(crate) fn of_ids(&self) -> Option<Self> {
        match self {
            Self::Integer | Self::BigInteger | Self::Id => Some(Self::Id),
            Self::Array(element) => Some(Self::Array(Box::new(element.of_ids()?))),
            _ => None,
        }
    }

    /// Whether clients have integers as strings.
    pub(crate) fn is_of_ids(&self) -> bool {
        match self {
            Self::Id => true,
            Self::Array(element) => element.is_of_ids(),
            _ => false,
        }
    }

    /// Whether different values always become different EJSON: JavaScript's times have no
    /// microseconds.
    pub(crate) fn is_exact(&self) -> bool {
        match self {
            Self::Timestamp => false,
            Self::Array(element) => element.is_exact(),
            _ => true,
        }
    }
}

/// JSON text that PostgreSQL would not write for a column of this kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unexpected value of a {kind:?} column: {text}")]
pub struct ValueError {
    kind: ValueKind,
    text: String,
}

impl ValueError {
    /// Keeps an excerpt: enough to find the fault without filling a log.
    pub(super) fn new(kind: &ValueKind, raw: &str) -> Self {
        Self { kind: kind.clone(), text: raw.chars().take(60).collect() }
    }
}
