//! An import that is killed, or has company.

use std::io::Write;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Scene;
use crate::shapes::{lines, numbered};

const USERS: usize = 1_300;

/// So many users go in at a time.
const BATCH: usize = 500;

/// Looks until a statement says so.
fn wait_for(scene: &Scene, sql: &str, value: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while scene.psql(sql) != value {
        assert!(Instant::now() < deadline, "{sql} is never {value}");
        sleep(Duration::from_millis(20));
    }
}

/// Begins an import of what is yet to be written to it.
fn begin(scene: &Scene) -> Child {
    let mut program = scene.program();
    program.arg("-").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    program.spawn().expect("the program starts")
}

fn feed(child: &mut Child, numbers: std::ops::Range<usize>) {
    let text = lines(numbers.map(numbered));
    let stdin = child.stdin.as_mut().expect("its input is a pipe");
    stdin.write_all(text.as_bytes()).expect("it reads");
    stdin.flush().expect("it reads");
}

/// Killed in the middle of its second batch, whose last statement waits for a lock.
#[test]
fn an_import_that_is_killed_is_completed_by_the_next() {
    const COUNT: &str = "SELECT count(*) FROM accounts.users";
    let scene = Scene::new("killed");
    assert_eq!(scene.import("").code, Some(0));
    let mut child = begin(&scene);
    feed(&mut child, 0..BATCH);
    wait_for(&scene, COUNT, "500");
    let mut blocker = std::process::Command::new("psql")
        .args(["-XqAt", "-v", "ON_ERROR_STOP=1", &scene.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("psql is installed");
    let mut session = blocker.stdin.take().expect("its input is a pipe");
    writeln!(session, "BEGIN; LOCK TABLE accounts.services IN SHARE MODE;").unwrap();
    session.flush().unwrap();
    let locks = "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        JOIN pg_database d ON d.oid = l.database
        WHERE d.datname = current_database() AND c.relname = 'services' AND l.mode =";
    wait_for(&scene, &format!("{locks} 'ShareLock' AND l.granted"), "1");
    feed(&mut child, BATCH..2 * BATCH);
    wait_for(&scene, &format!("{locks} 'RowExclusiveLock' AND NOT l.granted"), "1");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(session);
    blocker.wait().unwrap();
    wait_for(&scene, &format!("{locks} 'RowExclusiveLock'"), "0");
    for table in ["users", "emails", "passwords", "login_tokens", "services"] {
        assert_eq!(scene.psql(&format!("SELECT count(*) FROM accounts.{table}")), "500", "{table}");
    }

    let outcome = scene.import(&lines((0..USERS).map(numbered)));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stdout);
    assert_eq!(
        (&outcome.report["imported"], &outcome.report["alreadyThere"]),
        (&json!(800), &json!(500))
    );
    for table in ["users", "emails", "passwords", "login_tokens", "services"] {
        assert_eq!(
            scene.psql(&format!("SELECT count(*) FROM accounts.{table}")),
            "1300",
            "{table}"
        );
    }
}

/// Two imports of the same users, and somebody who signs up meanwhile with a name of theirs.
#[test]
fn imports_at_the_same_time_share_the_work() {
    let scene = Scene::new("together");
    assert_eq!(scene.import("").code, Some(0));
    scene.psql("INSERT INTO accounts.users (id, username) VALUES ('faster', 'USER777')");
    let mut children = [begin(&scene), begin(&scene)];
    // By turns, so that both write at once.
    for start in (0..USERS).step_by(100) {
        for child in &mut children {
            feed(child, start..(start + 100).min(USERS));
        }
    }
    let mut imported = 0;
    for mut child in children {
        drop(child.stdin.take());
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("upper and lower case, is that of user faster"), "{said}");
        let count = said.split_whitespace().nth(2).expect("the number of users");
        imported += count.parse::<usize>().expect("a number");
    }
    assert_eq!(imported, USERS - 1);
    assert_eq!(scene.psql("SELECT count(*) FROM accounts.login_tokens"), "1299");
}
