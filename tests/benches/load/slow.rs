//! How a client that hardly reads affects the others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ddp_tests::load::drive::{self, Driver, Pace};
use ddp_tests::load::{Marks, Report, Swarm};

use super::figures::{Rounds, tell};
use super::lanes::need_clients;
use super::servers::{Kind, Server};
use super::{Bench, Result};

/// A client that reads 1 KB per second, among this many others.
pub(crate) async fn beside_a_slow_client(bench: &Bench, clients: usize, rate: f64) -> Result<()> {
    need_clients(clients, 1)?;
    let server = Server::start(bench, Kind::Ours)?;
    let marks = Marks::default();
    let swarm = server.subscribers("note", clients, false, &marks).await?;
    // More than the server's queue and the kernel's buffers hold.
    let params = format!(r#"["$mark {}"]"#, "x".repeat(2_000));
    let mut driver = Driver::method(&server.target, "change".to_owned(), params, 1).await?;
    let mut report = Report::default();
    let (mut without, mut with) = (Rounds::default(), Rounds::default());
    let time = bench.round * 2;
    for _ in 0..bench.rounds {
        without.push(p99(&swarm, &mut driver, &marks, rate, time, &mut report).await?);
        let slow = SlowClient::start(server.target.address)?;
        with.push(p99(&swarm, &mut driver, &marks, rate, time, &mut report).await?);
        let last = Marks::text(report.changes);
        let seen = tokio::task::spawn_blocking(move || slow.catch_up(&last)).await??;
        let changes = rate * time.as_secs_f64();
        assert!((seen as f64) < 0.8 * changes, "it was sent {seen} of {changes} changes");
    }
    let (ours, alone) = (with.median(), without.median());
    let figures = format!("others' p99 {ours:.2} ms, {alone:.2} ms without; it ends right");
    tell(&format!("1 KB/s among {clients}"), &figures, with.ratio(&without), "about 1");
    Ok(())
}

async fn p99(
    swarm: &Swarm,
    driver: &mut Driver,
    marks: &Marks,
    rate: f64,
    time: Duration,
    report: &mut Report,
) -> Result<f64> {
    drive::run(swarm, driver, marks, Pace::Rate(rate), time, report, |_| {}).await?;
    Ok(report.latency.p99)
}

/// Reads slowly until told to catch up.
struct SlowClient {
    is_over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<std::io::Result<TcpStream>>,
}

impl SlowClient {
    fn start(address: std::net::SocketAddr) -> Result<Self> {
        // Small buffers, or the kernel would read for it.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_recv_buffer_size(2048)?;
        socket.connect(&address.into())?;
        let mut socket = TcpStream::from(socket);
        socket.write_all(
            b"GET /websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
        )?;
        for message in [
            r#"{"msg":"connect","version":"1","support":["1"]}"#,
            r#"{"msg":"sub","id":"1","name":"note"}"#,
        ] {
            // A mask of zeros.
            let mut frame = vec![0x81, 0x80 | message.len() as u8, 0, 0, 0, 0];
            frame.extend(message.as_bytes());
            socket.write_all(&frame)?;
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 102];
            while !ends.load(Ordering::SeqCst) {
                socket.read_exact(&mut buffer)?;
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(socket)
        });
        Ok(Self { is_over, thread })
    }

    /// Reads on until the last change arrives. Returns how many changes arrived.
    fn catch_up(self, last: &str) -> std::io::Result<usize> {
        self.is_over.store(true, Ordering::SeqCst);
        let mut socket = self.thread.join().expect("it reads")?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
        while memchr::memmem::find(&seen, last.as_bytes()).is_none() {
            let count = socket.read(&mut buffer)?;
            assert!(count > 0, "the slow client was disconnected");
            seen.extend_from_slice(&buffer[..count]);
        }
        Ok(memchr::memmem::find_iter(&seen, b"\"changed\"").count())
    }
}
