//! The first app guide, walked from its first step to its last by what it gives to copy.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ddp_guides::{block, replaced};
use ddp_tests::database::{psql, shared_cluster};
use ddp_tests::program::Program;

const GUIDE: &str = "first-app.md";
const PROGRAM: &str = env!("CARGO_BIN_EXE_ddp-first-app");
/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Commands as a reader's terminal runs them.
fn shell(commands: &str) -> Command {
    let mut command = Command::new("bash");
    command.args(["-ec", commands]).stdin(Stdio::null());
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program starts");
    let (printed, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{printed}\n{said}");
}

/// Step 1, for another database's name. Returns its URL.
fn make_table(name: &str) -> String {
    let commands = block(GUIDE, "1. A table", "sh", 0);
    let commands = replaced(&commands, "createdb guestbook", &format!("createdb {name}"));
    let commands = replaced(&commands, "postgres:///guestbook", &format!("postgres:///{name}"));
    let (port, url) = {
        let cluster = shared_cluster().lock().expect("the cluster");
        (cluster.port(), cluster.database_url(name))
    };
    // The guide's URL leaves these out, as that of a reader's own machine may.
    let mut command = shell(&commands);
    command.env("PGHOST", "127.0.0.1").env("PGPORT", port.to_string()).env("PGUSER", "postgres");
    run(&mut command);
    url
}

/// What the client of step 3 prints.
struct Client {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    printed: String,
}

impl Client {
    fn start(commands: &str) -> Self {
        let mut child = shell(commands).stdout(Stdio::piped()).spawn().expect("bash starts");
        let output = child.stdout.take().expect("its output is a pipe");
        Self { child, lines: BufReader::new(output).lines(), printed: String::new() }
    }

    /// Waits until it has printed this. The server sends something every 25 seconds at the latest.
    fn prints(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.printed.contains(text) {
            assert!(Instant::now() < deadline, "there is no {text} in\n{}", self.printed);
            let line = self.lines.next().expect("the client goes on").expect("a line of text");
            self.printed.push_str(&line);
            self.printed.push('\n');
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_manifest_names_what_the_program_is_built_from() {
    let names = |manifest: &str| -> BTreeSet<String> {
        let (_, below) = manifest.split_once("[dependencies]\n").expect("dependencies");
        let section = below.split("\n[").next().unwrap_or(below);
        let names = section.lines().filter_map(|line| line.split(['.', ' ']).next());
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let guide = block(GUIDE, "2. A program", "toml", 0);
    assert_eq!(names(&guide), names(include_str!("../Cargo.toml")));
}

#[test]
fn the_program_shows_its_table_to_curl() {
    let url = make_table("guestbook");
    let mut program = Program::start(PROGRAM, &[("DATABASE_URL", &url)]);
    let address = program.address().to_string();
    let triggers =
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'entries'::regclass AND NOT tgisinternal";
    assert_eq!(psql("guestbook", triggers).trim(), "4", "the guide tells of four triggers");

    let heading = "3. Look, without a client";
    let look = replaced(&block(GUIDE, heading, "sh", 0), "127.0.0.1:3000", &address);
    let mut client = Client::start(&look);
    // A SockJS frame has its messages as strings.
    client.prints("o\n");
    client.prints(r#"{\"msg\":\"connected\""#);
    client.prints(r#"\"author\":\"Ada\",\"text\":\"First!\""#);
    client.prints(r#"{\"msg\":\"ready\",\"subs\":[\"s1\"]}"#);
    run(shell(&block(GUIDE, heading, "sh", 1)).env("DATABASE_URL", &url));
    client.prints(r#"\"author\":\"Alan\",\"text\":\"With psql\""#);
    client.prints(r#"{\"msg\":\"removed\",\"collection\":\"entries\",\"id\":\"1\"}"#);
    for column in ["ip_address", "ipAddress"] {
        assert!(
            !client.printed.contains(column),
            "{column} left the database:\n{}",
            client.printed
        );
    }
}

#[test]
fn the_test_of_the_last_step_passes() {
    let url = make_table("guestbook_test");
    run(Command::new(PROGRAM).arg("--test").env("DATABASE_URL", &url));
    let hidden = "SELECT is_hidden, ip_address FROM entries WHERE text = 'By a test'";
    assert_eq!(psql("guestbook_test", hidden).trim(), "t|127.0.0.1");
}
