//! What a predicate asks of one field.

use std::cmp::Ordering;
use std::sync::Arc;

use super::pattern;
use super::truth::{Truth, any};
use super::value::Value;

/// How a field is compared with a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `<`
    Lt,
    /// `<=`
    Lte,
    /// `>`
    Gt,
    /// `>=`
    Gte,
}

impl Comparison {
    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Eq => ordering.is_eq(),
            Self::Ne => ordering.is_ne(),
            Self::Lt => ordering.is_lt(),
            Self::Lte => ordering.is_le(),
            Self::Gt => ordering.is_gt(),
            Self::Gte => ordering.is_ge(),
        }
    }

    /// Whether only equality is asked for, and not which value is greater.
    #[must_use]
    pub fn is_equality(self) -> bool {
        matches!(self, Self::Eq | Self::Ne)
    }
}

/// What a field is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Whether it is NULL.
    Null,
    /// How it compares with a constant.
    Compare(Comparison, Value),
    /// Whether it equals one of several constants.
    In(Vec<Value>),
    /// Whether it is text that this pattern of SQL's `LIKE` matches.
    Like(Arc<str>),
    /// The same without regard to case.
    ILike(Arc<str>),
    /// Whether it is text that starts with this.
    StartsWith(Arc<str>),
    /// Whether it is an array with all of these elements.
    ContainsAll(Vec<Value>),
    /// Whether it is an array with one of these elements.
    Overlaps(Vec<Value>),
}

impl Operator {
    /// The answer for a value that compares as [`Value`] says.
    ///
    /// Values of different kinds are not equal, and none of them is greater: that is unknown. It is
    /// also unknown whether a value other than text matches a pattern. A value other than an array
    /// contains nothing.
    #[must_use]
    pub fn test(&self, value: &Value) -> Truth {
        match self {
            Self::Null => value.is_null().into(),
            Self::In(constants) => any(constants.iter().map(|constant| equality(value, constant))),
            _ if value.is_null() => Truth::Unknown,
            Self::Compare(_, Value::Null) => Truth::Unknown,
            Self::Compare(comparison, constant) => match value.compare(constant) {
                Some(ordering) => comparison.holds(ordering).into(),
                None if comparison.is_equality() => (*comparison == Comparison::Ne).into(),
                None => Truth::Unknown,
            },
            Self::Like(pattern) => text(value, |text| pattern::is_like(text, pattern)),
            Self::ILike(pattern) => {
                text(value, |text| pattern::is_like(&lower(text), &lower(pattern)))
            }
            Self::StartsWith(start) => text(value, |text| text.starts_with(&**start)),
            Self::ContainsAll(constants) => {
                let Value::List(elements) = value else { return Truth::False };
                constants.iter().all(|constant| contains(elements, constant)).into()
            }
            Self::Overlaps(constants) => {
                let Value::List(elements) = value else { return Truth::False };
                constants.iter().any(|constant| contains(elements, constant)).into()
            }
        }
    }

    /// The constants that the field's values, or its elements, are compared with.
    #[must_use]
    pub fn constants(&self) -> &[Value] {
        match self {
            Self::Compare(_, constant) => std::slice::from_ref(constant),
            Self::In(constants) | Self::ContainsAll(constants) | Self::Overlaps(constants) => {
                constants
            }
            Self::Null | Self::Like(_) | Self::ILike(_) | Self::StartsWith(_) => &[],
        }
    }

    /// The same with every constant converted.
    ///
    /// # Errors
    /// The first error of `convert`.
    pub fn try_map<E>(&self, convert: impl Fn(&Value) -> Result<Value, E>) -> Result<Self, E> {
        let all = |constants: &[Value]| constants.iter().map(&convert).collect::<Result<_, _>>();
        Ok(match self {
            Self::Compare(comparison, constant) => Self::Compare(*comparison, convert(constant)?),
            Self::In(constants) => Self::In(all(constants)?),
            Self::ContainsAll(constants) => Self::ContainsAll(all(constants)?),
            Self::Overlaps(constants) => Self::Overlaps(all(constants)?),
            Self::Null | Self::Like(_) | Self::ILike(_) | Self::StartsWith(_) => self.clone(),
        })
    }
}

fn equality(value: &Value, constant: &Value) -> Truth {
    if value.is_null() || constant.is_null() {
        return Truth::Unknown;
    }
    value.compare(constant).is_some_and(Ordering::is_eq).into()
}

/// NULL is contained in nothing.
fn contains(elements: &[Value], constant: &Value) -> bool {
    elements.iter().any(|element| element.compare(constant).is_some_and(Ordering::is_eq))
}

/// Character by character: what stands beside one makes no difference.
fn lower(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn text(value: &Value, holds: impl FnOnce(&str) -> bool) -> Truth {
    match value {
        Value::Text(text) => holds(text).into(),
        _ => Truth::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Condition, Predicate, field};
    use super::*;

    fn answer(predicate: Predicate, value: &Value) -> Truth {
        predicate.evaluate(&|Condition { is, .. }| is.test(value))
    }

    #[test]
    fn values_of_other_kinds_are_not_equal_and_not_ordered() {
        let text = Value::from("5");
        assert_eq!(answer(field("a").eq(5), &text), Truth::False);
        assert_eq!(answer(field("a").ne(5), &text), Truth::True);
        assert_eq!(answer(field("a").lt(5), &text), Truth::Unknown);
        assert_eq!(answer(field("a").is_in([5, 6]), &text), Truth::False);
        assert_eq!(answer(field("a").not_in([5, 6]), &Value::Object), Truth::True);
        assert_eq!(answer(field("a").ne(true), &Value::Object), Truth::True);
        assert_eq!(answer(field("a").is_not_null(), &Value::Object), Truth::True);
        assert_eq!(answer(field("a").like("%"), &Value::Int(5)), Truth::Unknown);
        assert_eq!(answer(field("a").contains(5), &Value::Int(5)), Truth::False);
    }

    #[test]
    fn null_answers_nothing() {
        for predicate in [
            field("a").like("%"),
            field("a").ilike("%"),
            field("a").starts_with(""),
            field("a").between(1, 2),
            field("a").not_in([1]),
            field("a").contains_all(Vec::<i64>::new()),
            field("a").overlaps(Vec::<i64>::new()),
        ] {
            assert_eq!(answer(predicate.clone(), &Value::Null), Truth::Unknown, "{predicate:?}");
        }
        assert_eq!(answer(field("a").not_in(Vec::<i64>::new()), &Value::Null), Truth::True);
        assert_eq!(answer(field("a").not_in([Some(1), None]), &Value::Int(2)), Truth::Unknown);
    }

    #[test]
    fn arrays_contain_and_overlap_as_in_sql() {
        let list = Value::List([Value::Int(1), Value::Null, Value::from("b")].into());
        assert_eq!(answer(field("a").contains_all([1.0, 1.0]), &list), Truth::True);
        assert_eq!(answer(field("a").contains_all(["b", "c"]), &list), Truth::False);
        assert_eq!(answer(field("a").contains(None::<i64>), &list), Truth::False);
        assert_eq!(answer(field("a").contains_all(Vec::<i64>::new()), &list), Truth::True);
        assert_eq!(answer(field("a").overlaps(["b", "c"]), &list), Truth::True);
        assert_eq!(answer(field("a").overlaps(Vec::<i64>::new()), &list), Truth::False);
        assert_eq!(answer(field("a").eq(1), &list), Truth::False);
    }

    #[test]
    fn ranges_and_patterns() {
        assert_eq!(answer(field("a").between(1, 3), &Value::Int(3)), Truth::True);
        assert_eq!(answer(field("a").between(3, 1), &Value::Int(3)), Truth::False);
        let text = Value::from("Größe_1");
        assert_eq!(answer(field("a").like("Gr%\\_1"), &text), Truth::True);
        assert_eq!(answer(field("a").like("gr%"), &text), Truth::False);
        assert_eq!(answer(field("a").ilike("GRÖSSE%"), &text), Truth::False);
        assert_eq!(answer(field("a").ilike("GRÖ%"), &text), Truth::True);
        assert_eq!(answer(field("a").ilike("ΑΣ%"), &Value::from("ασα")), Truth::True);
        assert_eq!(answer(field("a").starts_with("Grö"), &text), Truth::True);
        assert_eq!(answer(field("a").starts_with("G%"), &text), Truth::False);
    }
}
