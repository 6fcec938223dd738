//! How predicates are written.

use ddp_core::FieldName;

use super::operator::{Comparison, Operator};
use super::predicate::{Condition, Predicate};
use super::value::Value;

/// A field of a document, or a path into one, to build a [`Predicate`] from.
#[derive(Clone, Debug)]
pub struct Field(FieldName);

/// The field with this name, as clients see it; `_id` is the document's id.
///
/// `profile.age` is the value of `age` within the object that is the field `profile`, and `tags.0`
/// the first element of an array, as in Mongo; the last one is `tags.-1`. Missing values and `null`
/// are NULL there. Paths cannot reach keys that contain a dot.
///
/// Within objects, a value of another kind than the constant is neither equal to it nor less nor
/// greater: the answer is unknown, as for NULL. Text is ordered by code points there.
///
/// ```
/// use ddp_server::field;
///
/// let grown_up = field("profile.age").gte(18);
/// let mine = field("owner").eq("ada").or(field("sharedWith").contains("ada"));
/// let recent = field("status").is_in(["open", "waiting"]).and(field("title").ilike("%plant%"));
/// # let _ = (grown_up, mine, recent);
/// ```
#[must_use]
pub fn field(name: &str) -> Field {
    Field(name.into())
}

impl Field {
    fn is(self, is: Operator) -> Predicate {
        Predicate::Condition(Condition { field: self.0, is })
    }

    fn compare(self, comparison: Comparison, value: impl Into<Value>) -> Predicate {
        self.is(Operator::Compare(comparison, value.into()))
    }

    /// `=`
    #[must_use]
    pub fn eq(self, value: impl Into<Value>) -> Predicate {
        self.compare(Comparison::Eq, value)
    }

    /// `<>`
    #[must_use]
    pub fn ne(self, value: impl Into<Value>) -> Predicate {
        self.compare(Comparison::Ne, value)
    }

    /// `<`
    #[must_use]
    pub fn lt(self, value: impl Into<Value>) -> Predicate {
        self.compare(Comparison::Lt, value)
    }

    /// `<=`
    #[must_use]
    pub fn lte(self, value: impl Into<Value>) -> Predicate {
        self.compare(Comparison::Lte, value)
    }

    /// `>`
    #[must_use]
    pub fn gt(self, value: impl Into<Value>) -> Predicate {
        self.compare(Comparison::Gt, value)
    }

    /// `>=`
    #[must_use]
    pub fn gte(self, value: impl Into<Value>) -> Predicate {
        self.compare(Comparison::Gte, value)
    }

    /// `BETWEEN`: no less than the one and no greater than the other.
    #[must_use]
    pub fn between(self, least: impl Into<Value>, greatest: impl Into<Value>) -> Predicate {
        self.clone().gte(least).and(self.lte(greatest))
    }

    /// `IN`: equal to one of these; never true for an empty list.
    #[must_use]
    pub fn is_in<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Predicate {
        self.is(Operator::In(values.into_iter().map(Into::into).collect()))
    }

    /// `NOT IN`: equal to none of these; always true for an empty list, never with a NULL in it.
    #[must_use]
    pub fn not_in<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Predicate {
        self.is_in(values).not()
    }

    /// `IS NULL`
    #[must_use]
    pub fn is_null(self) -> Predicate {
        self.is(Operator::Null)
    }

    /// `IS NOT NULL`
    #[must_use]
    pub fn is_not_null(self) -> Predicate {
        self.is_null().not()
    }

    /// `LIKE`: text that the whole pattern matches. `%` is any text, `_` any one character, and a
    /// backslash takes the next character as it is. A pattern that ends in a lone backslash is
    /// refused when the query runs.
    #[must_use]
    pub fn like(self, pattern: impl AsRef<str>) -> Predicate {
        self.is(Operator::Like(pattern.as_ref().into()))
    }

    /// `ILIKE`: like [`like`](Self::like), ignoring case by the data source's rules. Within
    /// PostgreSQL's JSON only ASCII letters have two cases.
    #[must_use]
    pub fn ilike(self, pattern: impl AsRef<str>) -> Predicate {
        self.is(Operator::ILike(pattern.as_ref().into()))
    }

    /// Text that starts with exactly this; no character is special.
    #[must_use]
    pub fn starts_with(self, start: impl AsRef<str>) -> Predicate {
        self.is(Operator::StartsWith(start.as_ref().into()))
    }

    /// An array that has this element. NULL is an element of no array.
    #[must_use]
    pub fn contains(self, element: impl Into<Value>) -> Predicate {
        self.contains_all([element])
    }

    /// `@>`: an array that has all these elements, in any order and number.
    #[must_use]
    pub fn contains_all<V: Into<Value>>(self, elements: impl IntoIterator<Item = V>) -> Predicate {
        self.is(Operator::ContainsAll(elements.into_iter().map(Into::into).collect()))
    }

    /// `&&`: an array that has at least one of these elements.
    #[must_use]
    pub fn overlaps<V: Into<Value>>(self, elements: impl IntoIterator<Item = V>) -> Predicate {
        self.is(Operator::Overlaps(elements.into_iter().map(Into::into).collect()))
    }
}
