//! The load program counts what clients are really sent, on every transport.

use std::process::Command;
use std::time::Duration;

use ddp_server::extract::{Params, State};
use ddp_server::{Collection, MemoryCollection, Server};
use ddp_tests::load::drive::{self, Driver, Pace};
use ddp_tests::load::{Marks, Plan, Report, Swarm, Target};
use serde_json::Value;

const NOTES: Collection<Value> = Collection::new("notes");
const CLIENTS: usize = 30;

async fn serve() -> std::net::SocketAddr {
    let notes = MemoryCollection::new(&NOTES);
    notes.insert_with_id("note", &serde_json::json!({"text": ""})).unwrap();
    let server = Server::builder()
        .publish("notes", async |State(notes): State<MemoryCollection<Value>>| notes.find())
        .method("change", change)
        .method("echo", echo)
        .with_state(notes);
    ddp_tests::peer::serve(&server).await
}

async fn change(
    State(notes): State<MemoryCollection<Value>>,
    Params((text,)): Params<(String,)>,
) -> Result<bool, ddp_server::Error> {
    notes.update("note", |note| note["text"] = text.into())
}

async fn echo(Params((text,)): Params<(String,)>) -> Result<String, ddp_server::Error> {
    Ok(text)
}

fn plan(target: Target, deflate: bool) -> Plan {
    Plan {
        target,
        connections: CLIENTS,
        at_once: 7,
        threads: 2,
        deflate,
        subscription: Some(("notes".to_owned(), "[]".to_owned())),
        method: Some(("echo".to_owned(), r#"["x"]"#.to_owned())),
        pipeline: 3,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_message_to_every_client_is_counted() {
    let address = serve().await;
    let raw: Target = format!("ws://{address}/websocket").parse().unwrap();
    let sockjs: Target = format!("http://{address}/sockjs").parse().unwrap();
    for (target, deflate) in [(&raw, false), (&raw, true), (&sockjs, false), (&sockjs, true)] {
        let marks = Marks::default();
        let swarm = Swarm::start(plan(target.clone(), deflate), &marks).unwrap();
        swarm.wait_for_ready(CLIENTS).await.unwrap();
        assert_eq!(swarm.time_to_ready().len(), CLIENTS as u64);
        assert_eq!(swarm.messages(), CLIENTS as u64, "the first document");

        let mut report = Report::default();
        let params = r#"["$mark"]"#.to_owned();
        let mut driver = Driver::method(target, "change".to_owned(), params, 1).await.unwrap();
        let time = Duration::from_millis(200);
        for pace in [Pace::InFlight(1), Pace::InFlight(4), Pace::Rate(100.0)] {
            let before = report.changes;
            drive::run(&swarm, &mut driver, &marks, pace, time, &mut report, |_| {}).await.unwrap();
            assert!(report.changes > before);
        }
        assert_eq!(report.messages, report.changes * CLIENTS as u64, "{target:?} {deflate}");
        let latency = report.latency;
        assert!(0.0 < latency.p50 && latency.p50 <= latency.p99 && latency.p99 <= latency.max);

        assert!(drive::calls(&swarm, time).await.unwrap() > 0.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_wrong_is_told() {
    let address = serve().await;
    let wrong_path: Target = format!("ws://{address}/nowhere/websocket").parse().unwrap();
    let nobody: Target = "ws://127.0.0.1:1/websocket".parse().unwrap();
    let mut no_publication = plan(format!("ws://{address}/websocket").parse().unwrap(), false);
    no_publication.subscription = Some(("none".to_owned(), "[]".to_owned()));
    for (plan, expected) in [
        (plan(wrong_path, false), "no WebSocket: http/1.1 404"),
        (plan(nobody, false), "a connection: Connection refused"),
        (no_publication, "Subscription 'none' not found"),
    ] {
        let swarm = Swarm::start(plan, &Marks::default()).unwrap();
        let error = swarm.wait_for_ready(CLIENTS).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let target: Target = format!("ws://{address}/websocket").parse().unwrap();
    let marks = Marks::default();
    let swarm = Swarm::start(plan(target.clone(), false), &marks).unwrap();
    swarm.wait_for_ready(CLIENTS).await.unwrap();
    let mut driver = Driver::method(&target, "none".to_owned(), "[]".to_owned(), 1).await.unwrap();
    for pace in [Pace::InFlight(1), Pace::Rate(10.0)] {
        let mut report = Report::default();
        let time = Duration::from_secs(1);
        let run = drive::run(&swarm, &mut driver, &marks, pace, time, &mut report, |_| {});
        let error = run.await.unwrap_err().to_string();
        assert!(error.contains("Method 'none' not found"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_reports_as_a_table_and_as_json() {
    let address = serve().await;
    let run = async |format: &str, url: String| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_ddp-load"));
        program.args([&url, "-c", "5", "-s", "notes", "--method", "change", "--seconds", "0.2"]);
        program.args(["--pid", &std::process::id().to_string(), "--format", format]);
        tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap()
    };
    let output = run("json", format!("ws://{address}/websocket")).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| report[name].as_f64().unwrap();
    assert_eq!(number("messages"), 5.0 * number("changes"), "{report}");
    assert!(number("memory_before") > 0.0 && report["latency"]["p99"].as_f64().unwrap() > 0.0);
    let output = run("table", format!("http://{address}/sockjs")).await;
    let table = String::from_utf8(output.stdout).unwrap();
    for row in ["connections             5 (", "change to client        p50 ", "server's memory"] {
        assert!(table.contains(row), "{table}");
    }
    let output = run("table", "ws://127.0.0.1:1/websocket".to_owned()).await;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused"));
}
