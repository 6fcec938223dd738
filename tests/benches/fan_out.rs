//! Fan-out of one change to N sessions, beside the ceiling: the same bytes written to N raw sockets
//! by as many threads, with one `write` each and nothing else.
//!
//! Both share the machine with the sink that reads them. `cargo bench --bench fan_out -- 1000 4500`
//! chooses other numbers of sessions; each takes four file descriptors. Each number is measured
//! without compression and with it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use ddp_server::{Collection, Config, MemoryCollection, Server, State};
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The threads of the server, and of the ceiling.
const THREADS: usize = 2;
/// How long each of the two is measured in a round.
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

#[derive(Serialize, Deserialize)]
struct Note {
    text: String,
}

/// Most of a note's text.
const NOISE: &str = "The quick brown fox jumps over the lazy dog, while sphinx of black quartz judges \
    my vow at half past seven ";

const NOTES: Collection<Note> = Collection::new("notes");

fn main() {
    let counts: Vec<usize> =
        std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![100, 1_000, 4_500] } else { counts };
    println!(
        "sessions | deflate | bytes | ceiling msg/s | server msg/s | ratio (median of {ROUNDS})"
    );
    for sessions in counts {
        for deflate in [false, true] {
            measure(sessions, deflate);
        }
    }
}

fn measure(sessions: usize, deflate: bool) {
    let notes = MemoryCollection::new(&NOTES);
    notes.insert_with_id("note", &Note { text: String::new() }).expect("a new note");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()
        .expect("a runtime");
    let address = serve(&runtime, &notes);
    let clients: Vec<TcpStream> = (0..sessions).map(|_| subscribe(address, deflate)).collect();
    let (raw_writers, raw_readers) = pairs(sessions);
    // Every text is of one length, so that every frame is, compressed or not.
    change(&notes, 0);
    let frame_bytes = read_frame(&clients[0]);
    let server_sink = Sink::start(clients);
    let raw_sink = Sink::start(raw_readers);
    server_sink.wait_for(frame_bytes * (sessions as u64 - 1));
    let frame = vec![b'x'; usize::try_from(frame_bytes).expect("a frame fits into memory")];
    let writers = Writers::start(raw_writers, frame);
    let mut number = 0;
    let mut ratios = Vec::new();
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        let ceiling = rate(sessions, frame_bytes, &raw_sink, || writers.write());
        let server = rate(sessions, frame_bytes, &server_sink, || {
            // Never twice the same text, also from one round to the next.
            number += 1;
            change(&notes, number);
        });
        ratios.push(server / ceiling);
        rates.push((ceiling, server));
    }
    ratios.sort_by(f64::total_cmp);
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ceiling, server) = rates[ROUNDS / 2];
    println!(
        "{sessions:8} | {deflate:7} | {frame_bytes:5} | {ceiling:13.0} | {server:12.0} | {:.2}",
        ratios[ROUNDS / 2]
    );
    runtime.shutdown_background();
}

/// Messages per second if each step sends one to every session, and the next step begins when all
/// have it.
fn rate(sessions: usize, frame_bytes: u64, sink: &Sink, mut step: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut steps = 0;
    while start.elapsed() < ROUND {
        let target = sink.received() + frame_bytes * sessions as u64;
        step();
        sink.wait_for(target);
        steps += 1;
    }
    (steps * sessions as u64) as f64 / start.elapsed().as_secs_f64()
}

/// Reads the WebSocket frame that a change becomes. The answer is its length.
fn read_frame(mut client: &TcpStream) -> u64 {
    let mut header = [0; 4];
    client.read_exact(&mut header[..2]).expect("a frame");
    let (payload, header_bytes) = match header[1] {
        126 => {
            client.read_exact(&mut header[2..]).expect("a length");
            (u16::from_be_bytes([header[2], header[3]]).into(), 4)
        }
        short => (u64::from(short), 2),
    };
    std::io::copy(&mut client.take(payload), &mut std::io::sink()).expect("a payload");
    payload + header_bytes
}

fn change(notes: &MemoryCollection<Note>, number: u64) {
    // Texts that differ in the same number of equally likely bytes compress to the same length.
    let text = format!("{}{}", NOISE, number % 2);
    notes.update("note", |note| note.text = text).expect("the note is there");
}

fn serve(runtime: &tokio::runtime::Runtime, notes: &MemoryCollection<Note>) -> SocketAddr {
    let mut config = Config::default();
    // Nobody answers pings here.
    config.session.heartbeat_interval = Duration::from_secs(3600);
    let server = Server::builder()
        .config(config)
        .publish("notes", async |State(notes): State<MemoryCollection<Note>>| notes.find())
        .with_state(notes.clone());
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.expect("a free port");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(async move { server.serve(listener).await });
    address
}

/// A client that has subscribed and seen `ready`.
fn subscribe(address: SocketAddr, deflate: bool) -> TcpStream {
    let mut socket = TcpStream::connect(address).expect("the server listens");
    let handshake = "GET /websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let offer = if deflate { "Sec-WebSocket-Extensions: permessage-deflate\r\n" } else { "" };
    let handshake = format!("{handshake}{offer}\r\n");
    socket.write_all(handshake.as_bytes()).expect("written");
    for message in [
        r#"{"msg":"connect","version":"1","support":["1"]}"#,
        r#"{"msg":"sub","id":"1","name":"notes"}"#,
    ] {
        let length = u8::try_from(message.len()).expect("a short message");
        assert!(length < 126, "a length of one byte");
        // A masking key of zeros leaves the payload as it is.
        let mut frame = vec![0x81, 0x80 | length, 0, 0, 0, 0];
        frame.extend_from_slice(message.as_bytes());
        socket.write_all(&frame).expect("written");
    }
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !seen.windows(7).any(|window| window == b"\"ready\"") {
        let count = socket.read(&mut buffer).expect("read");
        assert!(count > 0, "the server closed");
        seen.extend_from_slice(&buffer[..count]);
    }
    // `ready` is the last for now; its frame ends with it.
    assert!(seen.ends_with(b"}"), "a whole frame");
    socket
}

/// Connected sockets: one end to write to, one to read from.
fn pairs(count: usize) -> (Vec<TcpStream>, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let pair = |_| {
        let reader = TcpStream::connect(address).expect("it listens");
        let (writer, _) = listener.accept().expect("a connection");
        writer.set_nodelay(true).expect("an option");
        (writer, reader)
    };
    (0..count).map(pair).unzip()
}

/// Threads that wait to write a frame to their part of the sockets.
struct Writers(Vec<mpsc::Sender<()>>);

impl Writers {
    fn start(sockets: Vec<TcpStream>, frame: Vec<u8>) -> Self {
        let mut parts: Vec<Vec<TcpStream>> = (0..THREADS).map(|_| Vec::new()).collect();
        for (index, socket) in sockets.into_iter().enumerate() {
            parts[index % THREADS].push(socket);
        }
        let start = |mut sockets: Vec<TcpStream>| {
            let (sender, receiver) = mpsc::channel();
            let frame = frame.clone();
            thread::spawn(move || {
                while receiver.recv().is_ok() {
                    for socket in &mut sockets {
                        socket.write_all(&frame).expect("written");
                    }
                }
            });
            sender
        };
        Self(parts.into_iter().map(start).collect())
    }

    fn write(&self) {
        for thread in &self.0 {
            thread.send(()).expect("the thread waits");
        }
    }
}

/// Reads everything from many sockets, in a thread of its own, and counts it.
struct Sink {
    state: Arc<SinkState>,
}

struct SinkState {
    received: AtomicU64,
    target: AtomicU64,
    waiting: Thread,
    is_closed: AtomicBool,
}

impl Sink {
    fn start(sockets: Vec<TcpStream>) -> Self {
        let state = Arc::new(SinkState {
            received: AtomicU64::new(0),
            target: AtomicU64::new(u64::MAX),
            waiting: thread::current(),
            is_closed: AtomicBool::new(false),
        });
        let for_thread = Arc::clone(&state);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let readers = sockets.into_iter().map(|socket| {
                    socket.set_nonblocking(true).expect("an option");
                    let socket = tokio::net::TcpStream::from_std(socket).expect("a socket");
                    read(socket, &for_thread)
                });
                futures::future::join_all(readers).await
            });
        });
        Self { state }
    }

    fn received(&self) -> u64 {
        self.state.received.load(Ordering::SeqCst)
    }

    fn wait_for(&self, target: u64) {
        self.state.target.store(target, Ordering::SeqCst);
        while self.received() < target {
            thread::park_timeout(Duration::from_millis(100));
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.state.is_closed.store(true, Ordering::SeqCst);
    }
}

async fn read(socket: tokio::net::TcpStream, state: &SinkState) {
    let mut buffer = [0; 1024];
    while !state.is_closed.load(Ordering::SeqCst) {
        socket.readable().await.expect("a socket");
        match socket.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                let count = count as u64;
                let received = state.received.fetch_add(count, Ordering::SeqCst) + count;
                if received >= state.target.load(Ordering::SeqCst) {
                    state.waiting.unpark();
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
