//! Writers of all kinds, which do not know the server.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ddp_tests::Dice;
use tokio_postgres::NoTls;

use super::{Run, settings, tree};

/// One random statement.
fn statement(dice: &mut Dice) -> String {
    let id = format!("t{}", dice.below(60));
    let other = format!("t{}", dice.below(60));
    let list = *dice.pick(&["a", "b", "c"]);
    let rank = dice.below(6);
    let text = if dice.one_in(5) { "NULL".to_owned() } else { format!("'{}'", dice.text()) };
    let number = dice.below(8);
    match dice.below(21) {
        18 => settings::statement(dice),
        19 => values(dice, &id),
        20 => keys_of_parts(dice, number, &text),
        14 => several_changes(dice, &id, &other, list, &text),
        15 => change_of_keys(dice, number, &id, &other),
        16 => tree::rows(dice, &text),
        17 if dice.one_in(4) => tree::tables_or_types(dice, &text),
        0..=3 => format!(
            "INSERT INTO tasks (id, list_id, text, rank) VALUES ('{id}', '{list}', {text}, {rank}) \
             ON CONFLICT (id) DO UPDATE SET text = EXCLUDED.text, rank = EXCLUDED.rank"
        ),
        4 => format!("UPDATE tasks SET list_id = '{list}', text = {text} WHERE id = '{id}'"),
        5 => format!("UPDATE tasks SET checked = NOT checked WHERE id = '{id}'"),
        6 => format!("UPDATE tasks SET rank = (rank + 1) % 6 WHERE list_id = '{list}'"),
        7 => format!("DELETE FROM tasks WHERE id IN ('{id}', '{other}')"),
        8 => format!("UPDATE tasks SET id = '{other}' WHERE id = '{id}'"),
        9 => format!(
            "INSERT INTO tasks (id, list_id, text) SELECT 't' || n, '{list}', {text} \
             FROM generate_series({number}, {number} + 4) AS n ON CONFLICT DO NOTHING"
        ),
        10 => {
            let title = if text == "NULL" { "'untitled'" } else { &text };
            format!(
                "MERGE INTO lists USING (VALUES ({number})) AS v (id) ON lists.id = v.id \
                 WHEN MATCHED THEN UPDATE SET title = {title} \
                 WHEN NOT MATCHED THEN INSERT VALUES (v.id, {title})"
            )
        }
        11 => format!("DELETE FROM lists WHERE id = {number}"),
        12 if dice.one_in(6) => "TRUNCATE lists".to_owned(),
        // Rows that nobody writes again: any loss is permanent. So few that an hour's worth can
        // still be read at once.
        12 if dice.one_in(50) => format!(
            "INSERT INTO tasks (id, list_id, text, rank) \
             VALUES ('once ' || gen_random_uuid(), 'once', {text}, -1)"
        ),
        12 => format!("UPDATE tasks SET text = {text} WHERE rank = {rank}"),
        _ => format!("INSERT INTO unpublished VALUES ({number}, {text}) ON CONFLICT DO NOTHING"),
    }
}

/// Values that are written as settings say.
fn values(dice: &mut Dice, id: &str) -> String {
    let number = dice.below(1000);
    let value = *dice.pick(&[
        "weight = weight / 3",
        "weight = random()",
        "bytes = sha256(id::bytea)",
        "span = justify_interval(created_at - '2001-02-03 04:05:06+00')",
        "span = - span",
        "price = price * 1.5",
        "object = (ARRAY['odd.thing', 'public.tasks', 'pg_class']::regclass[])[1 + rank % 3]",
    ]);
    let which =
        if dice.one_in(2) { format!("id = '{id}'") } else { format!("rank = {}", number % 6) };
    format!("UPDATE tasks SET {value} WHERE {which} AND list_id IN ('a', 'b', 'c')")
}

/// Rows whose keys follow the keys of other rows.
fn keys_of_parts(dice: &mut Dice, number: usize, text: &str) -> String {
    let other = dice.below(8);
    match dice.below(6) {
        0 | 1 => {
            format!("INSERT INTO parts VALUES ({number}, {number}, {text}) ON CONFLICT DO NOTHING")
        }
        2 => format!(
            "INSERT INTO parts SELECT {number}, a, {text} FROM parts WHERE a = {other} ON CONFLICT DO NOTHING"
        ),
        3 => format!("UPDATE parts SET a = {other} WHERE a = {number}"),
        4 => format!("UPDATE parts SET a = 7 - a, text = {text} WHERE a = {number}"),
        _ if dice.one_in(2) => format!("DELETE FROM parts WHERE a = {number}"),
        _ => format!("UPDATE parts SET b = {other} WHERE a = {number}"),
    }
}

/// One statement whose triggers fire in another order than its changes were made.
fn several_changes(dice: &mut Dice, id: &str, other: &str, list: &str, text: &str) -> String {
    match dice.below(6) {
        0 => format!(
            "WITH gone AS (DELETE FROM tasks WHERE id = '{id}' RETURNING id), \
                  back AS (INSERT INTO tasks (id, list_id, text) SELECT id, '{list}', {text} FROM gone RETURNING id) \
             DELETE FROM tasks WHERE id = '{other}' AND (SELECT count(*) FROM back) > 0"
        ),
        1 => format!(
            "DELETE FROM tasks WHERE id IN ('{id}', '{other}') RETURNING put(id, '{list}', {text})"
        ),
        2 => format!(
            "SELECT take('{id}'), put('{id}', '{list}', {text}), take('{other}'), \
                 put('{other}', '{list}', 'a'), put('{id}', '{list}', 'b')"
        ),
        3 => format!(
            "UPDATE tasks SET text = {text} WHERE id = '{id}' RETURNING take('{other}'), put('{other}', '{list}', 'c')"
        ),
        4 => format!(
            "COPY tasks (id, list_id, text) FROM PROGRAM 'printf \"{id}\\tc\\tcopied\\n{other}\\ta\\t\\\\N\\n\"'"
        ),
        _ => settings::statement(dice),
    }
}

/// Keys that rows swap, that two rows have for a while, and that other rows' keys follow.
fn change_of_keys(dice: &mut Dice, number: usize, id: &str, up: &str) -> String {
    let other = dice.below(8);
    match dice.below(4) {
        0 => "UPDATE lists SET id = 7 - id".to_owned(),
        1 => format!("UPDATE tasks SET up = '{up}' WHERE id = '{id}'"),
        2 => format!("UPDATE lists SET id = {other} WHERE id = {number}"),
        _ => format!(
            "SET CONSTRAINTS ALL DEFERRED; UPDATE lists SET id = {other} WHERE id = {number}; \
             UPDATE lists SET id = {number} \
             WHERE ctid = (SELECT min(ctid) FROM lists WHERE id = {other})"
        ),
    }
}

/// One random transaction as a script.
fn transaction(dice: &mut Dice) -> String {
    if dice.one_in(2) {
        return statement(dice);
    }
    let isolation = if dice.one_in(6) { " ISOLATION LEVEL REPEATABLE READ" } else { "" };
    let mut script = format!("BEGIN{isolation}; ");
    let is_large = dice.one_in(40);
    for _ in 0..=dice.below(4) {
        // So much that the part before it is streamed while the transaction is in progress.
        let much = if is_large && dice.one_in(2) {
            "SELECT pg_logical_emit_message(true, 'other', repeat('x', 1200000)); "
        } else {
            ""
        };
        match dice.below(5) {
            0 => script += &format!("SAVEPOINT s; {}; {much}ROLLBACK TO s; ", statement(dice)),
            1 => script += &format!("SAVEPOINT s; {}; {much}RELEASE s; ", statement(dice)),
            _ => script += &format!("{}; {much}", statement(dice)),
        }
    }
    script + if dice.one_in(4) { "ROLLBACK" } else { "COMMIT" }
}

/// Writes with a Rust driver.
pub(crate) async fn write(url: String, mut dice: Dice, run: Arc<Run>) {
    while !run.is_over() {
        let Ok((client, connection)) = tokio_postgres::connect(&url, NoTls).await else {
            // The database is being restarted.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let connection = tokio::spawn(connection);
        while !run.is_over() && !client.is_closed() {
            // Statements also fail through key conflicts and deadlocks, which end the transaction.
            if client.batch_execute(&transaction(&mut dice)).await.is_err() {
                let _ = client.batch_execute("ROLLBACK").await;
            }
            run.count(&run.transactions);
            tokio::time::sleep(Duration::from_millis(dice.below(run.pause.max(1)) as u64)).await;
        }
        connection.abort();
    }
}

/// Writes with psql, one process for every few transactions.
pub(crate) fn write_by_psql(psql: &str, url: &str, mut dice: Dice, run: &Run) {
    while !run.is_over() {
        let mut child = Command::new(psql)
            .args(["-Xq", "-f", "-", url])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("psql is installed");
        let mut input = child.stdin.take().expect("it is piped");
        for _ in 0..10 {
            // It ends early if its connection is killed.
            if writeln!(input, "{};", transaction(&mut dice)).is_err() {
                break;
            }
            run.count(&run.transactions);
        }
        drop(input);
        child.wait().expect("psql ends");
        std::thread::sleep(Duration::from_millis(run.pause as u64));
    }
}

/// A Python with psycopg: `PYTHON`, which must have it, or otherwise the one made by the tests'
/// script, if that has it.
pub(crate) fn python() -> Option<PathBuf> {
    let made = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/python/bin/python"));
    let wanted = std::env::var_os("PYTHON").map(PathBuf::from);
    let is_wanted = wanted.is_some();
    let python = wanted.unwrap_or(made);
    let status =
        Command::new(&python).args(["-c", "import psycopg"]).stderr(Stdio::null()).status();
    let is_there = status.is_ok_and(|status| status.success());
    assert!(is_there || !is_wanted, "PYTHON ({}) has no psycopg", python.display());
    is_there.then_some(python)
}

/// Writes with psycopg like Django does: transactions with savepoints, parameters, one connection.
pub(crate) fn write_by_python(python: &PathBuf, url: &str, seed: &str, run: &Run) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/convergence/writer.py");
    let mut child = Command::new(python)
        .args([script, url, seed, &run.pause.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    while !run.is_over() {
        std::thread::sleep(Duration::from_millis(50));
    }
    // It ends with its input.
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("Python ends");
    assert!(output.status.success(), "the writer in Python failed");
    let count: usize = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number");
    println!("{count} transactions by psycopg");
    assert!(count > 10, "the writer in Python writes");
}
