//! A server started the way its user does it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program, killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// What a process prints, line by line, as it comes.
#[derive(Debug)]
struct Lines {
    receiver: Receiver<String>,
    seen: Vec<String>,
}

impl Program {
    /// Starts a program on a free port, with these environment variables.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(program: &str, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        for variable in ["BIND", "DATABASE_URL", "HTTP_FORWARDED_COUNT", "RUST_LOG"] {
            command.env_remove(variable);
        }
        command.env("PORT", "0").env("NO_COLOR", "1").envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program is there");
        let stdout = Lines::of(child.stdout.take().expect("its output is a pipe"));
        let stderr = Lines::of(child.stderr.take().expect("its log is a pipe"));
        Self { child, stdout, stderr }
    }

    /// Waits for the line with the address; the next one if called before.
    ///
    /// # Panics
    /// If the program ends, or does not listen in time.
    pub fn address(&mut self) -> SocketAddr {
        let line = self.stdout.next(|line| line.starts_with("listening on "));
        line.unwrap_or_else(|| panic!("it does not listen: {:?}", self.stderr.rest()))
            .trim_start_matches("listening on ")
            .parse()
            .expect("an address")
    }

    /// Waits for a line with this text on standard output.
    ///
    /// # Panics
    /// If it does not come.
    pub fn prints(&mut self, text: &str) {
        let line = self.stdout.next(|line| line.contains(text));
        assert!(line.is_some(), "{text:?} is not printed: {:?}", self.stdout.seen);
    }

    /// Waits for a line with these texts in the log.
    ///
    /// # Panics
    /// If it does not come.
    pub fn logs(&mut self, texts: &[&str]) {
        let line = self.stderr.next(|line| texts.iter().all(|text| line.contains(text)));
        assert!(line.is_some(), "{texts:?} is not logged: {:?}", self.stderr.seen);
    }

    /// Waits for the end of a program that must refuse to run. Returns its output.
    ///
    /// # Panics
    /// If it succeeds.
    #[must_use]
    pub fn refuses(mut self) -> String {
        let said = self.stderr.rest().join("\n");
        let status = self.child.wait().expect("it can be waited for");
        assert!(!status.success(), "it ended well: {said}");
        said
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Lines {
    fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The test may be over.
                let _ = sender.send(line);
            }
        });
        Self { receiver, seen: Vec::new() }
    }

    /// The next such line; `None` if the output ends or nothing more comes in time.
    fn next(&mut self, fits: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.receiver.recv_timeout(left).ok()?;
            self.seen.push(line.clone());
            if fits(&line) {
                return Some(line);
            }
        }
    }

    /// Waits for the end of the output.
    fn rest(&mut self) -> &[String] {
        let _ = self.next(|_| false);
        &self.seen
    }
}

/// Makes an HTTP request, and returns the whole response, with status and headers.
///
/// # Panics
/// If the server does not answer.
#[must_use]
pub fn http(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    let length = body.len();
    write!(
        socket,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .expect("the server reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer in UTF-8");
    answer
}
