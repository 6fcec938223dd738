//! Shrinks a contradiction.

use ddp_postgres::testing::{Planned, Statement, TestRow};
use ddp_server::query::{Condition, Operator, Predicate};

use super::table::Table;
use super::{Memory, is_wrong};

/// The smallest row and predicate that still contradict, with both answers.
pub(crate) async fn report(
    table: &mut Table,
    row: &TestRow,
    mut predicate: Predicate,
    memory: &Memory,
) -> String {
    let id: i32 = row.id().trim_start_matches('~').parse().unwrap();
    let mut found = check(table, id, &predicate, memory).await.expect("it is wrong");
    'smaller: loop {
        for candidate in smaller(&predicate) {
            if let Some(text) = check(table, id, &candidate, memory).await {
                (predicate, found) = (candidate, text);
                continue 'smaller;
            }
        }
        break;
    }
    for column in 0..table.kinds.len() {
        let set =
            |value: &str| format!("UPDATE {} SET c{column} = {value} WHERE id = {id}", table.name);
        table.client.batch_execute(&format!("BEGIN; {}", set("NULL"))).await.unwrap();
        let end = match check(table, id, &predicate, memory).await {
            Some(text) => {
                found = text;
                "COMMIT"
            }
            None => "ROLLBACK",
        };
        table.client.batch_execute(end).await.unwrap();
    }
    let types: Vec<String> = table
        .kinds
        .iter()
        .enumerate()
        .map(|(at, kind)| (format!("c{at}"), kind))
        .filter(|(column, _)| format!("{predicate:?}").contains(column.as_str()))
        .map(|(column, kind)| format!("{column} {}", kind.sql))
        .collect();
    format!("columns {}\npredicate {predicate:?}\n{found}", types.join(", "))
}

/// Both answers, if they contradict each other.
async fn check(table: &Table, id: i32, predicate: &Predicate, memory: &Memory) -> Option<String> {
    let planned = Planned::predicate(&table.layout, predicate.clone()).ok()?;
    let mut statement = Statement::default();
    statement.push(&format!("SELECT {}, (", table.layout.row_json_sql("t")));
    statement.push_condition(&planned);
    statement.push(&format!(")::boolean FROM {} AS t WHERE id = {id}", table.layout.relation()));
    let answer = table.client.query_one(&statement.sql, &statement.params()).await.unwrap();
    let (json, sql): (&str, Option<bool>) = (answer.get(0), answer.get(1));
    let row = TestRow::new(&table.layout, json).unwrap();
    let truth = memory(&planned, &row);
    let is_lost = sql == Some(true) && !planned.is_routed(&row);
    (is_lost || is_wrong(truth, sql)).then(|| {
        let routed = if is_lost { ", and the router does not find it" } else { "" };
        format!("row {json}\nPostgreSQL says {sql:?}, memory {truth:?}{routed}\n{}", statement.sql)
    })
}

/// Predicates with one part less.
fn smaller(predicate: &Predicate) -> Vec<Predicate> {
    let with = |all: &[Predicate], make: &dyn Fn(Vec<Predicate>) -> Predicate| {
        let mut candidates = all.to_vec();
        for at in 0..all.len() {
            let mut less = all.to_vec();
            let one = less.remove(at);
            candidates.push(make(less));
            for smaller in smaller(&one) {
                let mut changed = all.to_vec();
                changed[at] = smaller;
                candidates.push(make(changed));
            }
        }
        candidates
    };
    match predicate {
        Predicate::All => Vec::new(),
        Predicate::And(all) => with(all, &Predicate::And),
        Predicate::Or(all) => with(all, &Predicate::Or),
        Predicate::Not(one) => {
            let inner = smaller(one).into_iter().map(Predicate::not);
            std::iter::once((**one).clone()).chain(inner).collect()
        }
        Predicate::Condition(test) => smaller_test(test),
    }
}

fn smaller_test(test: &Condition) -> Vec<Predicate> {
    let with = |is: Operator| Predicate::Condition(Condition { field: test.field.clone(), is });
    let shorter = |text: &str| -> Vec<std::sync::Arc<str>> {
        let all: Vec<char> = text.chars().collect();
        let without = |at: usize| -> String {
            all.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, one)| one).collect()
        };
        (0..all.len()).map(|at| without(at).into()).collect()
    };
    let less = |constants: &[ddp_server::query::Value]| -> Vec<Vec<_>> {
        let without = |at: usize| {
            let mut less = constants.to_vec();
            less.remove(at);
            less
        };
        (0..constants.len()).map(without).collect()
    };
    match &test.is {
        Operator::In(all) => less(all).into_iter().map(|less| with(Operator::In(less))).collect(),
        Operator::ContainsAll(all) => {
            less(all).into_iter().map(|less| with(Operator::ContainsAll(less))).collect()
        }
        Operator::Overlaps(all) => {
            less(all).into_iter().map(|less| with(Operator::Overlaps(less))).collect()
        }
        Operator::Like(text) => {
            shorter(text).into_iter().map(|text| with(Operator::Like(text))).collect()
        }
        Operator::ILike(text) => {
            shorter(text).into_iter().map(|text| with(Operator::ILike(text))).collect()
        }
        Operator::StartsWith(text) => {
            shorter(text).into_iter().map(|text| with(Operator::StartsWith(text))).collect()
        }
        Operator::Null | Operator::Compare(..) => Vec::new(),
    }
}
