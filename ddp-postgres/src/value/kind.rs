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
