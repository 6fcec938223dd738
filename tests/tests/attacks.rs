//! `ddp-attack`: that its attacks are made, are bounded, and go nowhere else.

use std::net::SocketAddr;
use std::process::{Command, Output};

use ddp_server::extract::Params;
use ddp_server::{Collection, Error, MemoryCollection, Server, State};
use ddp_tests::peer::serve;
use serde_json::Value;

fn attack(server: &str, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ddp-attack"));
    command.args(["--server", server, "--pid", &std::process::id().to_string()]);
    command.args(arguments.split(' ')).output().expect("it runs")
}

/// What an attack reports.
async fn report(address: SocketAddr, arguments: &'static str) -> String {
    let output = tokio::task::spawn_blocking(move || attack(&address.to_string(), arguments)).await;
    let output = output.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments}: {said}");
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
    ] {
        let report = report(address, arguments).await;
        assert_eq!(line(&report, name), value, "{report}");
        for name in ["its ping meanwhile", "newcomers turned away", "the server's memory"] {
            assert!(!line(&report, name).is_empty());
        }
    }
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
    ] {
        let output = attack("127.0.0.1:1", arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("is not in"), "{said}");
    }
}
