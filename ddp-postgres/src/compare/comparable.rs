//! Compares columns with constants in memory, just as PostgreSQL does.

use std::borrow::Cow;

use ddp_server::query::{Comparison, Condition, Operator, Truth, Value, is_like};

use super::path::split;

/// How a column's values compare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Comparable {
    /// `boolean`.
    Boolean,
    /// `smallint`, `integer`, `bigint`.
    Integer,
    /// `real`: its values become doubles only by widening.
    Real,
    /// `double precision`.
    Double,
    /// `numeric`.
    Numeric,
    /// `text` and `varchar` with a collation that treats only identical bytes as equal.
    Text(Collation),
    /// The same for `char(n)`, whose trailing spaces do not count in comparisons.
    Padded(Collation),
    /// An enum. Equal if the labels are; only PostgreSQL knows the order.
    Enum,
    /// `uuid`, ordered like its canonical text.
    Uuid,
    /// `date`, as the number of days since 1970.
    Date,
    /// `time`, as microseconds since midnight.
    Time,
    /// `timestamp`, read as UTC.
    Timestamp,
    /// `timestamptz`.
    TimestampTz,
    /// `bytea`.
    Binary,
    /// `jsonb` or `json`, and values inside it.
    Json(Json),
    /// An array of one of the types above.
    Array(Box<Element>),
    /// Case-insensitive text of the extension `citext`. Only PostgreSQL compares it.
    CiText,
    /// Anything else. Only PostgreSQL compares it.
    Other,
}

/// What a column's collation does to text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Collation {
    /// Whether the order is that of the bytes, and so of the code points.
    pub(crate) is_bytewise: bool,
    /// What `lower` does, and so `ILIKE`.
    pub(crate) lower: Lower,
    /// Whether the database has the same notion of a character as we do.
    pub(crate) is_utf8: bool,
}

/// What `lower` does to text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lower {
    /// Only A to Z become a to z.
    AsciiOnly,
    /// A to Z become a to z. What happens to others is unknown here.
    AsciiToo,
    /// Not even that: in Turkish I becomes ı.
    Unknown,
}

/// A JSON column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Json {
    /// Whether it is `jsonb`.
    pub(crate) is_binary: bool,
    /// Whether the database has the same notion of a character as we do.
    pub(crate) is_utf8: bool,
}

/// The elements of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) comparable: Comparable,
    /// In bytes; negative if it varies.
    pub(crate) length: i32,
}

impl Comparable {
    /// Whether equality as decided here always agrees with PostgreSQL's.
    pub(crate) fn has_equality(&self) -> bool {
        !matches!(self, Self::Other | Self::CiText | Self::Array(_))
    }

    /// Whether the order of any two values as decided here always agrees with PostgreSQL's.
    pub(crate) fn has_order(&self) -> bool {
        match self {
            Self::Text(collation) | Self::Padded(collation) => collation.is_bytewise,
            _ => self.is_ordered_as_key(),
        }
    }

    /// Whether a key is ordered by its values (text by its bytes) rather than by its JSON.
    pub(crate) fn is_ordered_as_key(&self) -> bool {
        !matches!(self, Self::Other | Self::CiText | Self::Enum | Self::Json(_) | Self::Array(_))
    }

    /// Whether changes can be routed by equality on this field; `path` leads into it.
    pub(crate) fn is_routable(&self, path: Option<&str>, is_key: bool) -> bool {
        match self {
            // A value that is not readable here would not be routed at all.
            Self::Json(json) => json.is_binary && !is_key,
            _ => path.is_none() && self.has_equality() && (!is_key || self.is_ordered_as_key()),
        }
    }

    /// Tests a value that PostgreSQL wrote as this JSON text.
    pub(crate) fn answer(&self, test: &Condition, json: &str) -> Truth {
        self.answer_of(test, self.value(split(&test.field).1, json).as_ref())
    }

    /// Tests a value at the path into which the test leads; `None` if it cannot be read here.
    pub(crate) fn answer_of(&self, test: &Condition, value: Option<&Value>) -> Truth {
        let Some(value) = value else { return Truth::Undecided };
        // Every operator is strict, so NULL needs no comparison.
        if value.is_null() {
            return test.is.test(value);
        }
        match &test.is {
            Operator::ILike(pattern) => match (self.lower(), value) {
                (_, Value::Text(text)) if self.folds(pattern, text) => {
                    is_like(&text.to_ascii_lowercase(), &pattern.to_ascii_lowercase()).into()
                }
                (_, Value::Text(_)) | (None, _) => Truth::Undecided,
                _ => Truth::Unknown,
            },
            is if self.decides(is, value) => is.test(&self.matched(is, value)),
            _ => Truth::Undecided,
        }
    }

    fn decides(&self, is: &Operator, value: &Value) -> bool {
        match is {
            Operator::Null => true,
            Operator::Compare(comparison, constant) => {
                constant.is_null()
                    || (if comparison.is_equality() {
                        self.has_equality()
                    } else {
                        self.orders(value)
                    })
            }
            Operator::In(_) => self.has_equality(),
            Operator::Like(_) | Operator::StartsWith(_) => match self {
                Self::Text(_) | Self::Padded(_) | Self::Json(_) => self.knows_characters(value),
                _ => false,
            },
            Operator::ILike(_) => false,
            Operator::ContainsAll(_) | Operator::Overlaps(_) => match self {
                Self::Json(_) => true,
                Self::Array(element) => element.comparable.has_equality(),
                _ => false,
            },
        }
    }

    fn orders(&self, value: &Value) -> bool {
        match self {
            Self::Json(_) => self.knows_characters(value),
            _ => self.has_order(),
        }
    }

    /// Trailing spaces of `char(n)` count for `LIKE` only.
    fn matched<'a>(&self, is: &Operator, value: &'a Value) -> Cow<'a, Value> {
        match (self, value) {
            (Self::Padded(_), Value::Text(text)) if !matches!(is, Operator::Like(_)) => {
                Cow::Owned(Value::from(text.trim_end_matches(' ')))
            }
            _ => Cow::Borrowed(value),
        }
    }

    fn knows_characters(&self, value: &Value) -> bool {
        let is_utf8 = match self {
            Self::Text(collation) | Self::Padded(collation) => collation.is_utf8,
            Self::Json(json) => json.is_utf8,
            _ => false,
        };
        is_utf8 || !matches!(value, Value::Text(text) if !text.is_ascii())
    }

    fn lower(&self) -> Option<Lower> {
        match self {
            Self::Text(collation) | Self::Padded(collation) => Some(collation.lower),
            // Its text is compared with the collation `C`.
            Self::Json(_) => Some(Lower::AsciiOnly),
            _ => None,
        }
    }

    /// Whether lower case for `ILIKE` is known for these texts.
    fn folds(&self, pattern: &str, text: &str) -> bool {
        let is_ascii = pattern.is_ascii() && text.is_ascii();
        match self.lower() {
            Some(Lower::AsciiOnly) => is_ascii || self.knows_characters(&Value::from(text)),
            Some(Lower::AsciiToo) => is_ascii,
            Some(Lower::Unknown) | None => false,
        }
    }

    /// A column's value for routing and placing rows; NULL if it is not known here.
    pub(crate) fn value_or_null(&self, path: Option<&str>, json: &str) -> Value {
        let value = self.value(path, json).unwrap_or(Value::Null);
        self.matched(&Operator::Compare(Comparison::Eq, Value::Null), &value).into_owned()
    }
}
