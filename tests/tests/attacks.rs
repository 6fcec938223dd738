//! `ddp-attack`: that its attacks are made, are bounded, and go nowhere else.

use std::net::SocketAddr;
use std::process::{Command, Output};

use ddp_postgres::{Db, Table};
use ddp_server::extract::Params;
use ddp_server::{Collection, Error, MemoryCollection, Server, State, field};
use ddp_tests::database;
use ddp_tests::peer::serve;
use serde_json::Value;

const TASKS: Collection<Value> = Collection::new("tasks");

fn attack(server: &str, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddp-attack"));
    command.args(["--server", server, "--pid", &std::process::id().to_string()]);
    command.args(arguments.split(' ')).output().expect("it runs")
}

/// What an attack reports.
async fn report(address: SocketAddr, arguments: impl Into<String>) -> String {
    let arguments = arguments.into();
    let made = move || attack(&address.to_string(), &arguments);
    let output = tokio::task::spawn_blocking(made).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// A line of a report, without its name.
fn line<'a>(report: &'a str, name: &str) -> &'a str {
    let line = report.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name:?} in {report}")).trim()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_attack_says_what_it_costs() {
    let notes = MemoryCollection::<Value>::new(&Collection::new("notes"));
    let server = Server::builder()
        .publish("notes", async |State(notes): State<MemoryCollection<Value>>| notes.find())
        .method("echo", async |Params((value,)): Params<(Value,)>| Ok::<_, Error>(value))
        .with_state(notes);
    let address = serve(&server).await;
    for (arguments, name, value) in [
        ("slow-headers --count 10 --seconds 2", "closed by the server", "0"),
        ("many-connections --count 20 --seconds 2", "not accepted", "0"),
        ("silent-sockjs --count 20 --seconds 1", "opened", "20"),
        ("log-flood --count 1 --seconds 1", "clients", "1"),
        ("storm --count 20", "clients", "20"),
        ("bytes --count 2 --messages 3 --size 100000 --seconds 2", "messages taken", "6"),
        ("bytes --count 2 --kind half --seconds 2", "messages taken", "2"),
        ("bytes --count 2 --kind echo --name echo --unread --seconds 2", "connections", "2"),
    ] {
        let report = report(address, arguments).await;
        assert_eq!(line(&report, name), value, "{report}");
        if arguments.starts_with("bytes") {
            let calls = line(&report, "another client's calls");
            assert!(!calls.starts_with("0:") && !calls.contains("longest 10000"), "{report}");
        }
        for name in ["its ping meanwhile", "newcomers turned away", "the server's memory"] {
            assert!(!line(&report, name).is_empty());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_for_overlapping_subscriptions_is_measured_beside_one() {
    let rows = "CREATE TABLE tasks (id text PRIMARY KEY, text text);
        INSERT INTO tasks SELECT 'task' || n, 'eat' FROM generate_series(1, 10) AS n";
    let url = database::create_database("attack_overlap", rows);
    let table = Table::new("tasks").columns(["text"]);
    let db = Db::builder(&url).table(table).connect().await.unwrap();
    let different = async |State(db): State<Db>, Params((number,)): Params<(u32,)>| {
        db.find(&TASKS).filter(field("text").ne(number.to_string()))
    };
    let server = Server::builder().publish("tasks.different", different).with_state(db);
    let arguments = format!("overlap --count 70 --database {url}");
    let report = report(serve(&server).await, arguments).await;
    assert_eq!((line(&report, "subscriptions"), line(&report, "rows")), ("70", "10"), "{report}");
    // The client has each change once, however often it subscribed.
    let bytes = |name| line(&report, name).split(", ").nth(1).unwrap().to_owned();
    assert_eq!(bytes("an update of all rows, with one"), bytes("the same with all"), "{report}");
    assert!(line(&report, "per delivered byte").ends_with(" x"), "{report}");
}

#[test]
fn it_attacks_nobody_else_and_within_bounds() {
    for server in ["192.0.2.1:80", "0.0.0.0:80", "[2001:db8::1]:80"] {
        let output = attack(server, "many-connections");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("not on this machine"), "{said}");
    }
    for arguments in [
        "many-connections --count 20001",
        "slow-headers --seconds 121",
        "silent-sockjs --count 0",
        "log-flood --count 101",
        "storm --count 20001",
        "bytes --count 1001",
        "bytes --messages 100001",
        "bytes --size 4190001",
        "bytes --seconds 121",
        "overlap --database postgres://127.0.0.1 --count 1025",
    ] {
        let output = attack("127.0.0.1:1", arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("is not in"), "{said}");
    }
}
