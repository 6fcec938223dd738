//! Orders in memory as PostgreSQL's, and the SELECT of windows.

use ddp_postgres::testing::{Planned, TestRow};
use ddp_server::query::{Predicate, Query, SortKey, Truth, ascending, descending};
use ddp_tests::{Dice, database};

use super::kinds::{Kind, Question, SETUP, kinds};
use super::table::{self, Table};

const ROWS: usize = 60;
const ORDERS: usize = 12;

fn sort_key(dice: &mut Dice, field: &str) -> SortKey {
    let key = if dice.one_in(2) { ascending(field) } else { descending(field) };
    match dice.below(3) {
        0 => key.nulls_first(),
        1 => key.nulls_last(),
        _ => key,
    }
}

fn is_ordered(kind: &Kind) -> bool {
    kind.decides.contains(&Question::Order) && !kind.label.starts_with("json")
}

async fn rows(table: &Table, planned: &Planned, rows_max: Option<usize>) -> Vec<TestRow> {
    let statement = planned.select(rows_max);
    let rows = table.client.query(&statement.sql, &statement.params()).await;
    let rows = rows.unwrap_or_else(|error| panic!("{error:?} in {}", statement.sql));
    rows.iter().map(|row| TestRow::new(&table.layout, row.get(0)).unwrap()).collect()
}

#[tokio::test]
async fn rows_are_placed_as_postgresql_orders_them() {
    let seed = Dice::seed("order");
    let url = database::create_database("differential_order", SETUP);
    let mut client = Some(table::connect(&url).await);
    let mut dice = Dice::new(&seed, "orders");
    let (ordered, others): (Vec<Kind>, Vec<Kind>) = kinds().into_iter().partition(is_ordered);
    assert!(ordered.len() >= 18, "{}", ordered.len());
    let mut placed = 0;
    for (number, kind) in ordered.iter().enumerate() {
        let kinds = vec![kind.clone(), dice.pick(&ordered).clone()];
        let name = format!("o{number}");
        let free = client.take().unwrap();
        let table = Table::create(free, &name, kinds, ROWS, &mut dice).await;
        for _ in 0..ORDERS {
            let mut sort = vec![sort_key(&mut dice, "c0")];
            if dice.one_in(2) {
                sort.push(sort_key(&mut dice, "c1"));
            }
            if dice.one_in(3) {
                sort.push(sort_key(&mut dice, "_id"));
            }
            let query = Query { sort: sort.clone(), skip: 1, ..Query::all(name.as_str()) };
            let planned = Planned::new(&table.layout, query).unwrap();
            let in_order = rows(&table, &planned, None).await;
            let ids = |rows: &[TestRow]| -> Vec<String> {
                rows.iter().map(|row| row.id().to_owned()).collect()
            };
            let expected = ids(&in_order);
            assert_eq!(expected.len(), ROWS);
            let mut places: Vec<_> = in_order
                .iter()
                .map(|row| {
                    (planned.position(row).expect("an order known here"), row.id().to_owned())
                })
                .collect();
            places.sort_by(|(a, _), (b, _)| a.cmp(b));
            let found: Vec<String> = places.into_iter().map(|(_, id)| id).collect();
            assert_eq!(found, expected, "SEED={seed} {} by {sort:?}: {in_order:?}", kind.label);
            let max = dice.below(ROWS + 5);
            let first = rows(&table, &planned, Some(max)).await;
            assert_eq!(ids(&first), expected[..max.min(ROWS)], "the first {max}");
            placed += ROWS;
        }
        client = Some(table.drop().await);
    }
    println!("{placed} rows placed");
    for (number, kind) in others.iter().enumerate() {
        let free = client.take().unwrap();
        let name = format!("u{number}");
        let table = Table::create(free, &name, vec![kind.clone()], 1, &mut dice).await;
        let query = Query { sort: vec![ascending("c0")], skip: 1, ..Query::all(name.as_str()) };
        let planned = Planned::new(&table.layout, query);
        let is_json = kind.label == "json";
        assert_eq!(planned.is_err(), is_json, "{}", kind.label);
        for row in planned.iter().filter(|_| !is_json) {
            for one in rows(&table, row, None).await {
                assert!(row.position(&one).is_none(), "{} is PostgreSQL's to order", kind.label);
            }
        }
        client = Some(table.drop().await);
    }
}

#[tokio::test]
async fn sorting_within_json_is_refused() {
    let url = database::create_database("differential_refused", SETUP);
    let client = table::connect(&url).await;
    let mut dice = Dice::new("refused", "refused");
    let jsonb = kinds().into_iter().find(|kind| kind.label == "jsonb").unwrap();
    let table = Table::create(client, "r", vec![jsonb], 1, &mut dice).await;
    let plan = |sort: Vec<SortKey>, predicate: Predicate| {
        Planned::new(&table.layout, Query { sort, predicate, ..Query::all("r") })
    };
    assert!(plan(vec![ascending("c0")], Predicate::All).is_ok());
    let error = plan(vec![ascending("c0.a")], Predicate::All).unwrap_err().to_string();
    assert!(error.contains("\"c0.a\"") && error.contains("sorted"), "{error}");
    let trailing = ddp_server::field("c0.a").like("a\\");
    let error = plan(Vec::new(), trailing).unwrap_err().to_string();
    assert!(error.contains("backslash"), "{error}");
}

/// Columns that name no collation have the database's.
#[tokio::test]
async fn the_collation_of_the_database_counts() {
    let text = kinds().into_iter().find(|kind| kind.label == "text").unwrap();
    let template = database::create_database("differential_locale", "");
    for (name, options, is_ordered, knows_case) in [
        ("c", "LOCALE 'C'", true, true),
        ("utf8", "LOCALE 'C.UTF-8'", false, true),
        // It decides, whatever the operating system's locale is.
        ("turkish", "LOCALE_PROVIDER icu ICU_LOCALE 'tr-TR' LOCALE 'C'", false, false),
    ] {
        let create = format!("CREATE DATABASE locale_{name} TEMPLATE template0 {options}");
        database::psql("differential_locale", &create);
        let url = template.replace("differential_locale", &format!("locale_{name}"));
        let client = table::connect(&url).await;
        let mut dice = Dice::new("locale", name);
        let table = Table::create(client, "l", vec![text.clone()], 0, &mut dice).await;
        table.client.batch_execute("INSERT INTO l VALUES (1, 'I'), (2, 'i')").await.unwrap();
        let query = Query { sort: vec![ascending("c0")], skip: 1, ..Query::all("l") };
        let planned = Planned::new(&table.layout, query).unwrap();
        for row in rows(&table, &planned, None).await {
            assert_eq!(planned.position(&row).is_some(), is_ordered, "{name}");
        }
        let planned =
            Planned::predicate(&table.layout, ddp_server::field("c0").ilike("i")).unwrap();
        let mut matching = 0;
        for (row, answers) in super::ask(&table, std::slice::from_ref(&planned)).await {
            let truth = planned.truth(&row);
            assert!(!super::is_wrong(truth, answers[0]), "{name}");
            assert_eq!(truth == Truth::Undecided, !knows_case, "{name}");
            matching += usize::from(answers[0] == Some(true));
        }
        assert_eq!(matching, if knows_case { 2 } else { 1 }, "{name}");
    }
}
