//! The order of documents, for queries that want only the first ones.

use std::cmp::Ordering;

use ddp_core::FieldName;

use super::value::Value;

/// Which way a [`SortKey`] orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The least comes first.
    Ascending,
    /// The greatest comes first.
    Descending,
}

/// Where documents come whose field is NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Nulls {
    /// Before all others.
    First,
    /// After all others.
    Last,
}

/// A field to order documents by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SortKey {
    /// The field.
    pub field: FieldName,
    /// Which way.
    pub direction: Direction,
    /// Where NULL comes.
    pub nulls: Nulls,
}

/// Sorts by this field in ascending order with NULL last, as in SQL.
#[must_use]
pub fn ascending(field: &str) -> SortKey {
    SortKey { field: field.into(), direction: Direction::Ascending, nulls: Nulls::Last }
}

/// Sorts by this field in descending order with NULL first, as in SQL.
///
/// ```
/// use ddp_server::query::{ascending, descending};
///
/// // The newest first, tasks without a date last, and ties by title.
/// let order = [descending("createdAt").nulls_last(), ascending("title")];
/// # let _ = order;
/// ```
#[must_use]
pub fn descending(field: &str) -> SortKey {
    SortKey { field: field.into(), direction: Direction::Descending, nulls: Nulls::First }
}

impl SortKey {
    /// With NULL first.
    #[must_use]
    pub fn nulls_first(mut self) -> Self {
        self.nulls = Nulls::First;
        self
    }

    /// With NULL last.
    #[must_use]
    pub fn nulls_last(mut self) -> Self {
        self.nulls = Nulls::Last;
        self
    }
}

/// Where a document is in an order: by its values of the [`SortKey`]s.
#[derive(Clone, Debug)]
pub struct Position(Box<[(Value, Direction, Nulls)]>);

impl Position {
    /// The position of a row whose field values `value` looks up.
    pub fn new(keys: &[SortKey], value: impl Fn(&str) -> Value) -> Self {
        Self(keys.iter().map(|key| (value(&key.field), key.direction, key.nulls)).collect())
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        let mut pairs =
            self.0.iter().zip(&other.0).map(|((a, direction, nulls), (b, ..))| {
                match (a.is_null(), b.is_null()) {
                    (true, true) => Ordering::Equal,
                    (true, false) if *nulls == Nulls::First => Ordering::Less,
                    (true, false) => Ordering::Greater,
                    (false, true) if *nulls == Nulls::First => Ordering::Greater,
                    (false, true) => Ordering::Less,
                    (false, false) => {
                        let ordering = a.compare(b).unwrap_or_else(|| a.kind().cmp(&b.kind()));
                        if *direction == Direction::Descending {
                            ordering.reverse()
                        } else {
                            ordering
                        }
                    }
                }
            });
        pairs.find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Position {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_count_in_their_order() {
        let keys = [descending("a").nulls_last(), ascending("b").nulls_first(), ascending("c")];
        let null = Value::Null;
        let rows = [
            [Value::Int(2), null.clone(), Value::Int(1)],
            [Value::Int(2), Value::Int(-1), Value::Int(1)],
            [Value::Int(1), Value::Int(5), Value::Int(1)],
            [Value::Int(1), Value::Int(5), null.clone()],
            [null.clone(), null.clone(), null.clone()],
        ];
        let positions = rows.each_ref().map(|[a, b, c]| {
            Position::new(&keys, |field| match field {
                "a" => a.clone(),
                "b" => b.clone(),
                _ => c.clone(),
            })
        });
        for (index, position) in positions.iter().enumerate() {
            for (other, second) in positions.iter().enumerate() {
                assert_eq!(position.cmp(second), index.cmp(&other), "{index} {other}");
            }
        }
        assert_eq!(descending("a").nulls, Nulls::First);
        assert_eq!(ascending("a").nulls, Nulls::Last);
    }
}
