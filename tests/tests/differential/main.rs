//! Predicates and orders are decided in memory as by PostgreSQL: random tables, rows and queries,
//! with PostgreSQL's own answer for each row.
//!
//! `SEED` replays a run, `DIFFERENTIAL_ROUNDS` makes it longer.

mod chance;
mod kinds;
mod order;
mod predicates;
mod shrink;
mod table;
mod tally;

use ddp_postgres::testing::{Planned, Statement, TestRow};
use ddp_server::query::Truth;
use ddp_tests::{Dice, database};

use kinds::{Kind, kinds};
use predicates::{one_of_each, predicate};
use table::Table;
use tally::Tally;

const COLUMNS: usize = 12;
const ROWS: usize = 48;
/// A statement has at most 1,664 columns.
const PREDICATES: usize = 400;
const PAIRS_MIN: usize = 200_000;

fn rounds() -> usize {
    std::env::var("DIFFERENTIAL_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(16)
}

/// How live queries answer, or a stand-in for them.
type Memory = dyn Fn(&Planned, &TestRow) -> Truth;

/// Whether an answer contradicts PostgreSQL's.
fn is_wrong(memory: Truth, sql: Option<bool>) -> bool {
    match memory {
        Truth::Undecided => false,
        Truth::True => sql != Some(true),
        Truth::False => sql != Some(false),
        Truth::Unknown => sql.is_some(),
    }
}

/// PostgreSQL's answers to all predicates for all rows, in one statement, next to the rows.
async fn ask(table: &Table, planned: &[Planned]) -> Vec<(TestRow, Vec<Option<bool>>)> {
    let mut statement = Statement::default();
    statement.push(&format!("SELECT {}", table.layout.row_json_sql("t")));
    for one in planned {
        statement.push(", (");
        statement.push_condition(one);
        statement.push(")::boolean");
    }
    statement.push(&format!(" FROM {} AS t ORDER BY id", table.layout.relation()));
    let rows = table.client.query(&statement.sql, &statement.params()).await;
    let rows = rows.unwrap_or_else(|error| panic!("{error:?} in {}", statement.sql));
    let answers = |row: &tokio_postgres::Row| (1..=planned.len()).map(|at| row.get(at)).collect();
    rows.iter()
        .map(|row| (TestRow::new(&table.layout, row.get(0)).unwrap(), answers(row)))
        .collect()
}

/// Tests one table with many predicates. Returns the first contradiction, shrunk, as an error.
async fn compare(
    table: &mut Table,
    dice: &mut Dice,
    tally: &mut Tally,
    memory: &Memory,
) -> Result<(), String> {
    let mut planned = Vec::new();
    let mut predicates = Vec::new();
    let mut first = one_of_each(dice, table);
    while planned.len() < PREDICATES {
        let predicate = first.pop().unwrap_or_else(|| predicate(dice, table, 0));
        match Planned::predicate(&table.layout, predicate.clone()) {
            Ok(one) => {
                planned.push(one);
                predicates.push(predicate);
            }
            Err(error) => panic!("{predicate:?} is refused: {error}"),
        }
    }
    for (row, answers) in ask(table, &planned).await {
        for ((one, predicate), sql) in planned.iter().zip(&predicates).zip(answers) {
            let truth = memory(one, &row);
            tally.count(table, predicate, truth, sql);
            let is_lost = sql == Some(true) && !one.is_routed(&row);
            if is_lost || is_wrong(truth, sql) {
                return Err(shrink::report(table, &row, predicate.clone(), memory).await);
            }
        }
    }
    Ok(())
}

/// All kinds in turn, so that each is in as many tables as any other.
fn columns(all: &[Kind], dice: &mut Dice, queue: &mut Vec<Kind>) -> Vec<Kind> {
    let mut columns = Vec::new();
    while columns.len() < COLUMNS {
        if queue.is_empty() {
            queue.extend(all.iter().cloned());
        }
        let next = dice.below(queue.len());
        columns.push(queue.swap_remove(next));
    }
    columns
}

#[tokio::test]
async fn memory_agrees_with_postgresql_on_random_tables() {
    let seed = Dice::seed("differential");
    let url = database::create_database("differential", kinds::SETUP);
    let client = table::connect(&url).await;
    let mut dice = Dice::new(&seed, "predicates");
    let (all, mut queue) = (kinds(), Vec::new());
    let mut tally = Tally::default();
    let mut client = Some(client);
    for round in 0..rounds() {
        let columns = columns(&all, &mut dice, &mut queue);
        let free = client.take().unwrap();
        let mut table = Table::create(free, &format!("t{round}"), columns, ROWS, &mut dice).await;
        let result = compare(&mut table, &mut dice, &mut tally, &Planned::truth).await;
        if let Err(report) = result {
            panic!("SEED={seed}, round {round}:\n{report}");
        }
        client = Some(table.drop().await);
    }
    tally.print();
    assert!(tally.pairs >= PAIRS_MIN, "only {} pairs", tally.pairs);
    tally.check();
}

#[tokio::test]
async fn a_wrong_answer_is_found_and_made_small() {
    let url = database::create_database("differential_lie", kinds::SETUP);
    let client = table::connect(&url).await;
    let mut dice = Dice::new("lie", "lie");
    let text = kinds().into_iter().find(|kind| kind.label == "text C").unwrap();
    let columns = vec![text.clone(), text.clone(), text];
    let mut table = Table::create(client, "lies", columns, ROWS, &mut dice).await;
    let lie = |planned: &Planned, row: &TestRow| match planned.truth(row) {
        Truth::True if format!("{planned:?}").contains("StartsWith") => Truth::False,
        truth => truth,
    };
    let mut tally = Tally::default();
    let report = compare(&mut table, &mut dice, &mut tally, &lie).await.unwrap_err();
    println!("{report}");
    let predicate = report.lines().find(|line| line.starts_with("predicate")).unwrap();
    assert_eq!(predicate.matches("StartsWith").count(), 1, "{report}");
    assert_eq!(predicate.matches("Condition {").count(), 1, "{report}");
    assert_eq!(report.matches("null").count(), 2, "the other columns are NULL: {report}");
}
