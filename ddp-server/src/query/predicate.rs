//! Predicates with SQL's three-valued logic.

use std::cmp::Ordering;

use ddp_core::FieldName;

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
}

/// Which documents a query wants. Built from [`field`]:
///
/// ```
/// use ddp_server::query::field;
///
/// let urgent = field("listId").eq("home").and(field("priority").gte(3).or(field("due").is_null()));
/// ```
///
/// NULL follows SQL, not Mongo: a comparison with NULL is neither true nor false, and so is its
/// negation. Use [`Field::is_null`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Predicate {
    /// Every document.
    All,
    /// A field compared with a constant.
    Compare(FieldName, Comparison, Value),
    /// A field equal to one of several constants.
    In(FieldName, Vec<Value>),
    /// A field that is NULL.
    IsNull(FieldName),
    /// All of these.
    And(Vec<Self>),
    /// Any of these.
    Or(Vec<Self>),
    /// Not this.
    Not(Box<Self>),
}

/// The answer of a predicate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The document is wanted.
    True,
    /// It is not.
    False,
    /// A NULL is involved; the document is not wanted, nor by the negation.
    Unknown,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// A field of a document, to build a [`Predicate`] from. Nested fields are not reached.
#[derive(Clone, Debug)]
pub struct Field(FieldName);

/// The field with this name, as clients see it; `_id` is the document's id.
#[must_use]
pub fn field(name: &str) -> Field {
    Field(name.into())
}

impl Field {
    fn compare(self, comparison: Comparison, value: impl Into<Value>) -> Predicate {
        Predicate::Compare(self.0, comparison, value.into())
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

    /// `IN`: equal to one of these; never true for an empty list.
    #[must_use]
    pub fn is_in<V: Into<Value>>(self, values: impl IntoIterator<Item = V>) -> Predicate {
        Predicate::In(self.0, values.into_iter().map(Into::into).collect())
    }

    /// `IS NULL`
    #[must_use]
    pub fn is_null(self) -> Predicate {
        Predicate::IsNull(self.0)
    }
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

    /// Evaluates for a row whose field values `value` looks up.
    pub fn evaluate(&self, value: &impl Fn(&str) -> Value) -> Truth {
        match self {
            Self::All => Truth::True,
            Self::Compare(field, comparison, constant) => match value(field).compare(constant) {
                Some(ordering) => comparison.holds(ordering).into(),
                None => Truth::Unknown,
            },
            Self::In(field, constants) => {
                let value = value(field);
                let equal = |constant: &Value| value.compare(constant).map(Ordering::is_eq);
                any(constants
                    .iter()
                    .map(|constant| equal(constant).map_or(Truth::Unknown, Into::into)))
            }
            Self::IsNull(field) => value(field).is_null().into(),
            Self::And(all) => negate(any(all.iter().map(|one| negate(one.evaluate(value))))),
            Self::Or(all) => any(all.iter().map(|one| one.evaluate(value))),
            Self::Not(one) => negate(one.evaluate(value)),
        }
    }

    /// A field and constants such that the predicate cannot hold unless the field equals one of
    /// them, for a field that `indexable` admits.
    pub fn equality_keys(
        &self,
        indexable: &impl Fn(&str) -> bool,
    ) -> Option<(FieldName, Vec<Value>)> {
        match self {
            Self::Compare(field, Comparison::Eq, value) if indexable(field) => {
                Some((field.clone(), vec![value.clone()]))
            }
            Self::In(field, values) if indexable(field) => Some((field.clone(), values.clone())),
            Self::And(all) => all
                .iter()
                .filter_map(|one| one.equality_keys(indexable))
                .min_by_key(|(_, values)| values.len()),
            _ => None,
        }
    }

    /// Hands each comparison's field and constant to `convert`, to bring the constants into the form
    /// in which the data source gives its rows' values.
    ///
    /// # Errors
    /// The first error of `convert`.
    pub fn try_map_values<E>(
        &self,
        convert: &impl Fn(&str, &Value) -> Result<Value, E>,
    ) -> Result<Self, E> {
        let each = |all: &[Self]| -> Result<Vec<Self>, E> {
            all.iter().map(|one| one.try_map_values(convert)).collect()
        };
        Ok(match self {
            Self::All => Self::All,
            Self::Compare(field, comparison, value) => {
                Self::Compare(field.clone(), *comparison, convert(field, value)?)
            }
            Self::In(field, values) => {
                let values = values.iter().map(|value| convert(field, value));
                Self::In(field.clone(), values.collect::<Result<_, E>>()?)
            }
            Self::IsNull(field) => {
                convert(field, &Value::Null)?;
                Self::IsNull(field.clone())
            }
            Self::And(all) => Self::And(each(all)?),
            Self::Or(all) => Self::Or(each(all)?),
            Self::Not(one) => Self::Not(Box::new(one.try_map_values(convert)?)),
        })
    }

    /// Whether `test` holds for every field that the predicate looks at.
    pub fn all_fields(&self, test: &mut impl FnMut(&str) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::Compare(field, ..) | Self::In(field, _) | Self::IsNull(field) => test(field),
            Self::And(all) | Self::Or(all) => all.iter().all(|one| one.all_fields(test)),
            Self::Not(one) => one.all_fields(test),
        }
    }

    /// Whether `test` holds for every comparison in the predicate; `None` stands for `IS NULL`.
    pub fn all_comparisons(&self, test: &impl Fn(&str, Option<Comparison>) -> bool) -> bool {
        match self {
            Self::All => true,
            Self::IsNull(field) => test(field, None),
            Self::Compare(field, comparison, _) => test(field, Some(*comparison)),
            Self::In(field, _) => test(field, Some(Comparison::Eq)),
            Self::And(all) | Self::Or(all) => all.iter().all(|one| one.all_comparisons(test)),
            Self::Not(one) => one.all_comparisons(test),
        }
    }
}

fn negate(truth: Truth) -> Truth {
    match truth {
        Truth::True => Truth::False,
        Truth::False => Truth::True,
        Truth::Unknown => Truth::Unknown,
    }
}

fn any(truths: impl Iterator<Item = Truth>) -> Truth {
    let mut answer = Truth::False;
    for truth in truths {
        match truth {
            Truth::True => return Truth::True,
            Truth::Unknown => answer = Truth::Unknown,
            Truth::False => {}
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluate(predicate: &Predicate) -> Truth {
        predicate.evaluate(&|field| match field {
            "one" => Value::Int(1),
            "text" => Value::from("b"),
            _ => Value::Null,
        })
    }

    #[test]
    fn three_valued_logic() {
        use Truth::{False, True, Unknown};
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
    }
}
