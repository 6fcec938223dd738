//! How late changes come.

use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ddp_tests::load::drive::{self, Driver, Pace};
use ddp_tests::load::{Latency, Marks, Report, Swarm};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio_postgres::{AsyncMessage, NoTls};

use super::servers::{self, Server};
use super::{ROUND, ROUNDS, Result, median, tell};

/// Hears the marks of commits by a bare LISTEN, in a thread of its own as the clients are.
struct Listener {
    heard: Arc<Mutex<Histogram<u64>>>,
}

impl Listener {
    async fn start(url: &str, marks: &Marks) -> Result<Self> {
        let heard = Arc::new(Mutex::new(Histogram::new_with_bounds(1, 60_000_000, 3)?));
        let (url, marks, writes) = (url.to_owned(), marks.clone(), Arc::clone(&heard));
        let (sender, begun) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let (client, mut connection) =
                    tokio_postgres::connect(&url, NoTls).await.expect("the database runs");
                let mut listening = Box::pin(client.batch_execute("LISTEN bare"));
                let mut begun = Some(sender);
                loop {
                    tokio::select! {
                        done = &mut listening, if begun.is_some() => {
                            done.expect("it listens");
                            begun.take().map(|sender| sender.send(()));
                        }
                        message = poll_fn(|cx| connection.poll_message(cx)) => match message {
                            Some(Ok(AsyncMessage::Notification(notification))) => {
                                let now = Instant::now();
                                let age = marks.age(notification.payload().as_bytes(), now);
                                let micros = age.expect("a mark");
                                writes.lock().saturating_record(micros);
                            }
                            Some(Ok(_)) => {}
                            // The cluster is gone.
                            _ => return,
                        },
                    }
                }
            });
        });
        begun.await?;
        Ok(Self { heard })
    }

    fn take(&self) -> Latency {
        let mut heard = self.heard.lock();
        let latency = Latency::of(&heard);
        heard.reset();
        latency
    }
}

/// So many commits a second, of which each client is told, beside a bare LISTEN that hears the same.
pub(crate) async fn beside_listen(clients: usize, rate: f64) -> Result<()> {
    let cluster = servers::cluster(20)?;
    let server = Server::ours_over(&cluster)?;
    let marks = Marks::default();
    let swarm = server.subscribers("tasks", clients, false, &marks).await?;
    let listener = Listener::start(&cluster.url(), &marks).await?;
    let statement = format!("{}; SELECT pg_notify('bare', '$mark')", servers::UPDATE);
    let mut driver = Driver::sql(&cluster.url(), statement, 1).await?;
    let mut report = Report::default();
    let mut both = Vec::new();
    for _ in 0..ROUNDS {
        let pace = Pace::Rate(rate);
        drive::run(&swarm, &mut driver, &marks, pace, ROUND, &mut report, |_| {}).await?;
        both.push((report.latency, listener.take()));
    }
    let p99 = |of: fn(&(Latency, Latency)) -> f64| median(both.iter().map(of));
    let figures = format!(
        "p99 {:.2} ms (p50 {:.2}) beside {:.2} ms ({:.2}) of LISTEN",
        p99(|(ours, _)| ours.p99),
        p99(|(ours, _)| ours.p50),
        p99(|(_, bare)| bare.p99),
        p99(|(_, bare)| bare.p50),
    );
    let ratio = p99(|(ours, bare)| ours.p99 / bare.p99);
    tell(&format!("{rate} commits/s to {clients}"), &figures, ratio, "at most 2");
    Ok(())
}

/// A client that reads 1 KB in a second, among so many others.
pub(crate) async fn beside_a_slow_client(clients: usize, rate: f64) -> Result<()> {
    let server = Server::ours()?;
    let marks = Marks::default();
    let swarm = server.subscribers("note", clients, false, &marks).await?;
    // More than the server's queue and the kernel's buffers hold.
    let params = format!(r#"["$mark {}"]"#, "x".repeat(2_000));
    let mut driver = Driver::method(&server.target, "change".to_owned(), params, 1).await?;
    let mut report = Report::default();
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.push(round(&swarm, &mut driver, &marks, rate, &mut report).await?);
        let slow = SlowClient::start(server.target.address)?;
        with.push(round(&swarm, &mut driver, &marks, rate, &mut report).await?);
        let last = Marks::text(report.changes);
        let seen = tokio::task::spawn_blocking(move || slow.catch_up(&last)).await??;
        let changes = rate * (ROUND * 2).as_secs_f64();
        assert!((seen as f64) < 0.8 * changes, "it was sent {seen} of {changes} changes");
    }
    let ratio = median(with.iter().zip(&without).map(|(with, without)| with / without));
    let (with, without) = (median(with), median(without));
    let figures = format!("others' p99 {with:.2} ms, {without:.2} ms without; it ends right");
    tell(&format!("1 KB/s among {clients}"), &figures, ratio, "about 1");
    Ok(())
}

async fn round(
    swarm: &Swarm,
    driver: &mut Driver,
    marks: &Marks,
    rate: f64,
    report: &mut Report,
) -> Result<f64> {
    drive::run(swarm, driver, marks, Pace::Rate(rate), ROUND * 2, report, |_| {}).await?;
    Ok(report.latency.p99)
}

/// Reads slowly until it is told to catch up.
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

    /// Reads on until it is told the last change. The answer is how many it was told then.
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
