//! Queries that one statement can read: those that differ only in the value that a field equals.

use std::collections::HashMap;

use ddp_core::FieldName;
use ddp_server::live_query::{PendingRead, Row as _};
use ddp_server::query::{Comparison, Condition, Operator, Predicate, Value};

use super::sql::{Select, select, select_rows};
use crate::row::live::LiveRow;
use crate::schema::Layout;

/// A statement, and the queries that it reads, by their indices.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) select: Select,
    readers: Readers,
}

#[derive(Debug)]
enum Readers {
    One(usize),
    /// Each of them wants the rows with its value in a field.
    ByValue(FieldName, HashMap<Value, Vec<usize>>),
}

impl Statement {
    /// All queries that it reads.
    pub(super) fn all_readers(&self) -> impl Iterator<Item = usize> {
        let (one, several) = match &self.readers {
            Readers::One(index) => (Some(*index), None),
            Readers::ByValue(_, readers) => (None, Some(readers.values().flatten().copied())),
        };
        one.into_iter().chain(several.into_iter().flatten())
    }

    /// The queries that a row is for. There is none only if PostgreSQL and this program disagree on
    /// what is equal.
    pub(super) fn readers(&self, row: &LiveRow) -> &[usize] {
        match &self.readers {
            Readers::One(index) => std::slice::from_ref(index),
            Readers::ByValue(field, readers) => {
                readers.get(&row.value(field)).map_or(&[], Vec::as_slice)
            }
        }
    }
}

/// As few statements as possible that read all these queries.
pub(super) fn statements(layout: &Layout, reads: &[PendingRead]) -> Vec<Statement> {
    let mut alike: HashMap<_, Vec<(usize, &Value)>> = HashMap::new();
    let mut statements = Vec::new();
    for (index, read) in reads.iter().enumerate() {
        match by_value(read) {
            Some((field, value, rest)) => {
                alike.entry((field, rest)).or_default().push((index, value));
            }
            None => statements.push(one(layout, reads, index)),
        }
    }
    for ((field, rest), members) in alike {
        if let [(index, _)] = members[..] {
            statements.push(one(layout, reads, index));
            continue;
        }
        let mut readers: HashMap<Value, Vec<usize>> = HashMap::with_capacity(members.len());
        for (index, value) in &members {
            readers.entry((*value).clone()).or_default().push(*index);
        }
        let is = Operator::In(readers.keys().cloned().collect());
        let any = Predicate::Condition(Condition { field: field.clone(), is });
        let all = std::iter::once(any).chain(rest.into_iter().cloned()).collect();
        let query = &reads[members[0].0].query;
        let select = select_rows(layout, query, &Predicate::And(all), None);
        statements.push(Statement { select, readers: Readers::ByValue(field.clone(), readers) });
    }
    statements
}

fn one(layout: &Layout, reads: &[PendingRead], index: usize) -> Statement {
    Statement { select: select(layout, &reads[index]), readers: Readers::One(index) }
}

/// The field by which changes find a query, the value that it must equal, and whatever else the query
/// demands. `None` if the query cannot share a statement.
fn by_value(read: &PendingRead) -> Option<(&FieldName, &Value, Vec<&Predicate>)> {
    if read.query.has_window() {
        return None;
    }
    let (field, values) = read.plan.keys.as_ref()?;
    let [value] = &values[..] else { return None };
    // In a list, a fraction has another type; the others equal nothing.
    if matches!(value, Value::Null | Value::Float(_) | Value::List(_) | Value::Object) {
        return None;
    }
    let is_key = |predicate: &Predicate| match predicate {
        Predicate::Condition(Condition { field: other, is: Operator::Compare(how, constant) }) => {
            *how == Comparison::Eq && other == field && constant == value
        }
        _ => false,
    };
    match &read.plan.predicate {
        one if is_key(one) => Some((field, value, Vec::new())),
        Predicate::And(all) => {
            let key = all.iter().position(is_key)?;
            let rest = all.iter().enumerate().filter(|(index, _)| *index != key);
            Some((field, value, rest.map(|(_, one)| one).collect()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ddp_server::live_query::{Multiplexer, Observer, Plan};
    use ddp_server::query::{Query, field};

    use super::*;
    use crate::read::sql::Param;
    use crate::schema::fixture;
    use crate::value::ValueKind;

    /// The indices of the queries with these predicates that each statement reads, and its parameters.
    fn read(queries: impl IntoIterator<Item = Query>) -> Vec<(Vec<usize>, Vec<Param>)> {
        let columns = ["id", "list", "done", "rank"].map(|name| (name, ValueKind::Text));
        let layout = fixture::layout(&columns, false);
        let mut reads = Vec::new();
        let mut observations = Vec::new();
        for query in queries {
            // One by one, since only the same shapes wait together.
            let multiplexer: std::sync::Arc<Multiplexer<LiveRow>> = Multiplexer::new("tasks");
            let predicate = query.predicate.clone();
            let keys = predicate.equality_keys(&|field| field == "list");
            let plan = Plan { predicate, keys, order: None };
            observations.push(multiplexer.observe(&query, plan, Observer::detached()).observation);
            reads.extend(multiplexer.begin_reads(1));
        }
        let statements = statements(&layout, &reads).into_iter().map(|statement| {
            let mut readers: Vec<_> = statement.all_readers().collect();
            readers.sort_unstable();
            (readers, statement.select.params)
        });
        let mut statements: Vec<_> = statements.collect();
        statements.sort_by_key(|(readers, _)| readers.clone());
        statements
    }

    /// The constants of a list, whether or not only PostgreSQL can read them.
    fn texts(list: &Param) -> Vec<&str> {
        let (Param::Many(texts) | Param::Doubtful { texts, is_list: true, .. }) = list else {
            panic!("a list: {list:?}");
        };
        texts.iter().flatten().map(String::as_str).collect()
    }

    fn query(predicate: Predicate) -> Query {
        Query { predicate, ..Query::all("tasks") }
    }

    #[test]
    fn one_statement_reads_the_queries_that_differ_in_a_key_only() {
        let list = |list: &str| field("list").eq(list);
        let open = |list: &str| field("done").eq("no").and(field("list").eq(list));
        let queries =
            [list("a"), open("a"), list("b"), open("b").and(field("rank").gt("1")), open("c")];
        let statements = read(queries.map(query));
        let readers: Vec<_> = statements.iter().map(|(readers, _)| readers.clone()).collect();
        assert_eq!(readers, [vec![0, 2], vec![1, 4], vec![3]]);
        let mut lists = texts(&statements[0].1[0]);
        lists.sort_unstable();
        assert_eq!(lists, ["a", "b"]);
    }

    #[test]
    fn equal_keys_share_a_value() {
        let titles = Query { fields: Some(["rank".into()].into()), ..query(field("list").eq("a")) };
        let statements = read([query(field("list").eq("a")), titles]);
        assert_eq!(statements.len(), 1);
        let (readers, params) = &statements[0];
        assert_eq!((&**readers, params.len(), texts(&params[0])), (&[0, 1][..], 1, vec!["a"]));
    }

    #[test]
    fn what_cannot_share_a_statement_has_its_own() {
        let top = |list: &str| Query { limit: Some(3), ..query(field("list").eq(list)) };
        let float = |number: f64| query(field("list").eq(Value::Float(number)));
        let either = |list: &str| query(field("list").eq(list).or(field("rank").eq("1")));
        let null = || query(field("list").eq(Value::Null));
        let queries =
            [top("a"), top("b"), float(0.5), float(1.5), either("a"), either("b"), null(), null()];
        let statements = read(queries);
        assert!(statements.iter().all(|(readers, _)| readers.len() == 1), "{statements:?}");
        assert_eq!(statements.len(), 8);
    }
}
