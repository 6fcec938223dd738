//! Predicates with SQL's three-valued logic.

use ddp_core::FieldName;

use super::operator::{Comparison, Operator};
use super::truth::{Truth, any, negate};
use super::value::{EXACT, Value};

/// A condition on documents, built from [`field`](super::field):
///
/// ```
/// use ddp_server::query::field;
///
/// let urgent = field("listId").eq("home").and(field("priority").gte(3).or(field("due").is_null()));
/// ```
///
/// NULL follows SQL, not Mongo: a comparison with NULL is neither true nor false, and neither is
/// its negation. Use [`Field::is_null`](super::Field::is_null).
///
/// A data source must decide every kind of it, and be told at compile time of a new one: so neither this
/// nor [`Operator`] is `#[non_exhaustive]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Predicate {
    /// Every document.
    All,
    /// A question about one field.
    Condition(Condition),
    /// All of these.
    And(Vec<Self>),
    /// Any of these.
    Or(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
}

/// A question about one field of a document, or about what is within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The field, or a dotted path into it: see [`field`](super::field).
    pub field: FieldName,
    /// What it is asked.
    pub is: Operator,
}

impl Condition {
    /// The name of the document's field, without the path into it.
    #[must_use]
    pub fn top_field(&self) -> &str {
        top_field(&self.field)
    }
}

/// The field of the document that a dotted name leads into.
fn top_field(name: &str) -> &str {
    name.split_once('.').map_or(name, |(field, _)| field)
}

impl Predicate {
    /// This and that.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, other) => other,
            (this, Self::All) => this,
            (Self::And(mut all), other) => {
                all.push(other);
                Self::And(all)
            }
            (this, other) => Self::And(vec![this, other]),
        }
    }

    /// This or that.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Or(mut any) => {
                any.push(other);
                Self::Or(any)
            }
            this => Self::Or(vec![this, other]),
        }
    }

    /// The negation.
    #[expect(clippy::should_implement_trait, reason = "reads as the SQL that it becomes")]
    #[must_use]
    pub fn not(self) -> Self {
        Self::Not(Box::new(self))
    }

    /// Evaluates by the answers to its tests.
    pub fn evaluate(&self, test: &impl Fn(&Condition) -> Truth) -> Truth {
        match self {
            Self::All => Truth::True,
            Self::Condition(one) => test(one),
            Self::And(all) => negate(any(all.iter().map(|one| negate(one.evaluate(test))))),
            Self::Or(all) => any(all.iter().map(|one| one.evaluate(test))),
            Self::Not(one) => negate(one.evaluate(test)),
        }
    }

    /// A field and constants such that the predicate cannot hold unless the field equals one of
    /// them, for a field that `indexable` admits.
    pub fn equality_keys(
        &self,
        indexable: &impl Fn(&str) -> bool,
    ) -> Option<(FieldName, Vec<Value>)> {
        match self {
            Self::Condition(Condition { field, is }) if indexable(field) => {
                let values = match is {
                    Operator::Compare(Comparison::Eq, value) => std::slice::from_ref(value),
                    Operator::In(values) => values,
                    _ => return None,
                };
                // Other integers round to such a double, and so equal it without being the same.
                let is_rounded =
                    |value: &Value| matches!(value, Value::Float(float) if float.abs() >= EXACT);
                let is_key = !values.iter().any(is_rounded);
                is_key.then(|| (field.clone(), values.to_vec()))
            }
            Self::And(all) => all
                .iter()
                .filter_map(|one| one.equality_keys(indexable))
                .min_by_key(|(_, values)| values.len()),
            _ => None,
        }
    }

    /// Hands each test to `convert`, to bring the constants into the form in which the data source
    /// gives its rows' values.
    ///
    /// # Errors
    /// The first error of `convert`.
    pub fn try_map_conditions<E>(
        &self,
        convert: &impl Fn(&Condition) -> Result<Condition, E>,
    ) -> Result<Self, E> {
        let each = |all: &[Self]| -> Result<Vec<Self>, E> {
            all.iter().map(|one| one.try_map_conditions(convert)).collect()
        };
        Ok(match self {
            Self::All => Self::All,
            Self::Condition(test) => Self::Condition(convert(test)?),
            Self::And(all) => Self::And(each(all)?),
            Self::Or(all) => Self::Or(each(all)?),
            Self::Not(one) => Self::Not(Box::new(one.try_map_conditions(convert)?)),
        })
    }

    /// Whether `holds` does for every test in the predicate.
    pub fn all_conditions(&self, holds: &mut impl FnMut(&Condition) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::Condition(test) => holds(test),
            Self::And(all) | Self::Or(all) => all.iter().all(|one| one.all_conditions(holds)),
            Self::Not(one) => one.all_conditions(holds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field;
    use super::*;

    fn evaluate(predicate: &Predicate) -> Truth {
        predicate.evaluate(&|test| match &*test.field {
            "one" => test.is.test(&Value::Int(1)),
            "text" => test.is.test(&Value::from("b")),
            "opaque" => Truth::Undecided,
            _ => test.is.test(&Value::Null),
        })
    }

    #[test]
    fn three_valued_logic() {
        use Truth::{False, True, Undecided, Unknown};
        let null = || field("null").eq(1);
        let yes = || field("one").eq(1);
        let no = || field("one").ne(1);
        for (predicate, truth) in [
            (Predicate::All, True),
            (null(), Unknown),
            (null().not(), Unknown),
            (null().and(no()), False),
            (null().and(yes()), Unknown),
            (null().or(yes()), True),
            (null().or(no()), Unknown),
            (field("null").is_null(), True),
            (field("one").is_null().not(), True),
            (field("one").eq(None::<i64>), Unknown),
            (field("one").is_in([2, 1]), True),
            (field("one").is_in([Some(2), None]), Unknown),
            (field("one").is_in([2, 3]).not(), True),
            (field("one").is_in(Vec::<i64>::new()), False),
            (field("null").is_in(Vec::<i64>::new()), False),
            (field("text").gte("b").and(field("text").lt("c")), True),
            (field("text").lte("a").or(field("text").gt("b")), False),
            (field("one").lt(1.5), True),
            (field("opaque").eq(1), Undecided),
            (field("opaque").eq(1).not(), Undecided),
            (field("opaque").eq(1).and(no()), False),
            (field("opaque").eq(1).and(yes()), Undecided),
            (null().and(field("opaque").eq(1)), Undecided),
            (field("opaque").eq(1).or(yes()), True),
            (field("opaque").eq(1).or(null()).or(no()), Undecided),
        ] {
            assert_eq!(evaluate(&predicate), truth, "{predicate:?}");
        }
    }

    #[test]
    fn equality_keys_are_necessary_conditions() {
        let keys = |predicate: Predicate| predicate.equality_keys(&|field| field != "unindexed");
        let (name, values) = keys(field("a").gt(1).and(field("b").eq(2))).unwrap();
        assert_eq!((&*name, values), ("b", vec![Value::Int(2)]));
        let (name, _) = keys(field("a").is_in([1, 2]).and(field("b").eq(2))).unwrap();
        assert_eq!(&*name, "b");
        assert_eq!(keys(field("a").eq(1).or(field("b").eq(2))), None);
        assert_eq!(keys(field("a").eq(1).not()), None);
        assert_eq!(keys(field("unindexed").eq(1)), None);
        assert_eq!(keys(Predicate::All), None);
        // 2^63 equals the largest integer, which PostgreSQL rounds to it.
        let rounded = Value::from(9_223_372_036_854_775_808.0);
        assert_eq!(Value::Int(i64::MAX).compare(&rounded), Some(std::cmp::Ordering::Equal));
        assert_eq!(keys(field("a").eq(rounded.clone())), None);
        assert_eq!(keys(field("a").is_in([Value::Int(1), rounded])), None);
        assert!(keys(field("a").eq(0.5)).is_some() && keys(field("a").eq(i64::MAX)).is_some());
    }
}
