//! More connections than there may be.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use ddp_tests::load::Process;
use ddp_tests::{Client, Peer};

use super::*;

/// Whether the server closes a connection of its own accord.
async fn is_closed(mut socket: TcpStream) -> bool {
    let read = tokio::time::timeout(PATIENCE, socket.read_u8()).await;
    read.expect("it is still open").is_err()
}

#[tokio::test]
async fn an_address_has_its_share_and_others_have_theirs() {
    let server = server(|config| config.serve.connections_per_address_max = Some(3));
    let address = serve(&server).await;
    let mut mine = Vec::new();
    for _ in 0..3 {
        mine.push(Peer::connect(address).await);
    }
    assert!(is_closed(TcpStream::connect(address).await.unwrap()).await);
    // The whole of 127.0.0.0/8 is this machine.
    let other = tokio::net::TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(address).await.unwrap();
    assert!(ask(&mut other, "/websocket", HANDSHAKE).await.starts_with("HTTP/1.1 101"));
    // An upgraded socket counts until it is closed.
    mine.pop().unwrap().leave();
    let begun = Instant::now();
    while status(address, "/sockjs/info", "").await != 200 {
        assert!(begun.elapsed() < PATIENCE, "no place again");
    }
    drop(mine);
}

#[tokio::test]
async fn behind_a_proxy_websockets_of_a_clients_address_count() {
    let server = server(|config| {
        config.forwarded_count = 1;
        config.serve.connections_per_address_max = Some(2);
    });
    let address = serve(&server).await;
    let from = |client: &str| format!("X-Forwarded-For: 6.6.6.6, {client}\r\n{HANDSHAKE}");
    let mut open = Vec::new();
    for (client, expected) in [
        ("192.0.2.1", "101"),
        ("192.0.2.1", "101"),
        ("192.0.2.1", "429"),
        ("192.0.2.2", "101"),
        ("192.0.2.1:4711", "429"),
    ] {
        for path in
            ["/websocket", "/sockjs/000/a/websocket"].iter().skip(usize::from(expected == "101"))
        {
            let mut socket = TcpStream::connect(address).await.unwrap();
            let head = ask(&mut socket, path, &from(client)).await;
            assert!(head.starts_with(&format!("HTTP/1.1 {expected}")), "{client}: {head}");
            open.push(socket);
        }
    }
    // More sockets of one proxy than a client may have.
    for _ in 0..5 {
        let mut socket = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut socket, "/sockjs/info", "").await.starts_with("HTTP/1.1 200"));
        open.push(socket);
    }
    open.clear();
    let begun = Instant::now();
    while status(address, "/websocket", &from("192.0.2.1")).await != 101 {
        assert!(begun.elapsed() < PATIENCE, "no place again");
    }
}

#[tokio::test]
async fn beyond_the_last_place_connections_wait() {
    let server = server(|config| {
        config.serve.connections_max = 2;
        config.serve.connections_per_address_max = Some(10);
    });
    let address = serve(&server).await;
    let first = Peer::connect(address).await;
    let _second = Peer::connect(address).await;
    let mut third = TcpStream::connect(address).await.expect("the backlog has it");
    let asked = tokio::spawn(async move { ask(&mut third, "/sockjs/info", "").await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!asked.is_finished(), "there is no place for it");
    first.leave();
    let answer = tokio::time::timeout(PATIENCE, asked).await.expect("an answer").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn as_many_wait_as_the_backlog_says() {
    assert_eq!(ServerConfig::default().serve.backlog, 4096);
    let server = server(|config| {
        config.serve.connections_max = 1;
        config.serve.backlog = 8;
    });
    // Made with a backlog of 1,024.
    let address = serve(&server).await;
    let _only = Peer::connect(address).await;
    let mut waiting = Vec::new();
    for _ in 0..30 {
        let connecting = TcpStream::connect(address);
        let connected = tokio::time::timeout(Duration::from_millis(200), connecting).await;
        waiting.extend(connected.ok());
    }
    // The system rounds, and keeps one more.
    assert!((8..20).contains(&waiting.len()), "{}", waiting.len());
}

/// A server in a process of its own.
struct Server {
    child: Child,
    address: SocketAddr,
    log: mpsc::Receiver<String>,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ddp-load-server"))
            .env("LOG", "1")
            .env("NO_COLOR", "1")
            .env_remove("DATABASE_URL")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (sender, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            // The test may be over.
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { child, address: line.trim().parse().unwrap(), log }
    }

    /// How many files it may have open from now on.
    fn limit_files(&self, count: u32) {
        let status = Command::new("prlimit")
            .args(["--pid", &self.child.id().to_string(), &format!("--nofile={count}:{count}")])
            .status();
        assert!(status.expect("prlimit of util-linux").success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn without_files_it_waits_tells_once_and_goes_on() {
    let server = Server::start();
    let mut client = Client::connect(server.address).await;
    server.limit_files(40);
    let mut sockets = Vec::new();
    for _ in 0..80 {
        sockets.push(TcpStream::connect(server.address).await.expect("the backlog has it"));
    }
    let mut last = TcpStream::connect(server.address).await.unwrap();
    let request = b"GET /sockjs/info HTTP/1.1\r\nHost: x\r\n\r\n";
    last.write_all(request).await.unwrap();
    let mut process = Process::new(server.child.id()).unwrap();
    // Who is there is served meanwhile, and nothing spins.
    for _ in 0..20 {
        client.call("echo", serde_json::json!(["a"])).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let cores = process.take_cpu().unwrap();
    assert!(cores < 0.5, "{cores} cores");
    let lines: Vec<String> = server.log.try_iter().collect();
    let told = lines.iter().filter(|line| line.contains("no more connections")).count();
    assert_eq!(told, 1, "{lines:#?}");

    drop(sockets);
    let mut answer = [0; 12];
    let read = tokio::time::timeout(PATIENCE, last.read_exact(&mut answer)).await;
    read.expect("an answer").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}
