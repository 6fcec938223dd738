//! Thousands of connections in a few threads.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token, Waker};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::client::{Client, Inflated};
use super::{Error, Marks, Target};

const WAKE: Token = Token(usize::MAX);
/// The most that one read takes.
const READ_BYTES: usize = 64 * 1024;
/// How long anything that must happen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What each connection is and does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Target,
    /// How many connections there are.
    pub connections: usize,
    /// How many of them are being made at a time.
    pub at_once: usize,
    /// In how many threads.
    pub threads: usize,
    /// Whether compression is offered.
    pub deflate: bool,
    /// A publication, and its parameters as JSON.
    pub subscription: Option<(String, String)>,
    /// A method to be called over and over, and its parameters as JSON.
    pub method: Option<(String, String)>,
    /// How many calls of it a connection makes without waiting for results.
    pub pipeline: usize,
}

/// What a thread has seen since its last report.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) messages: u64,
    pub(super) results: u64,
    pub(super) bytes: u64,
    /// Microseconds.
    pub(super) ages: Vec<u64>,
    pub(super) marks: Marks,
    pub(super) is_calling: bool,
    pub(super) inflated: Inflated,
}

/// Connections that are open until this is dropped.
#[derive(Debug)]
pub struct Swarm {
    shared: Arc<Shared>,
    threads: Vec<(Arc<Waker>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Shared {
    messages: AtomicU64,
    results: AtomicU64,
    bytes: AtomicU64,
    ready: AtomicUsize,
    /// Somebody is waiting for this many messages.
    target: AtomicU64,
    reached: Notify,
    is_calling: AtomicBool,
    is_over: AtomicBool,
    /// Microseconds from a change to its message.
    latency: Mutex<Histogram<u64>>,
    /// Microseconds from a connection's start to its `ready`.
    time_to_ready: Mutex<Histogram<u64>>,
    failure: Mutex<Option<Error>>,
}

/// A histogram of up to a minute in microseconds, with three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("these bounds are valid")
}

impl Swarm {
    /// Starts making the connections. Messages with one of the marks have a latency.
    ///
    /// # Errors
    /// If the system has no more threads or event queues.
    pub fn start(plan: Plan, marks: &Marks) -> Result<Self, Error> {
        let plan = Arc::new(plan);
        let shared = Arc::new(Shared {
            messages: AtomicU64::new(0),
            results: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            ready: AtomicUsize::new(0),
            target: AtomicU64::new(u64::MAX),
            reached: Notify::new(),
            is_calling: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            latency: Mutex::new(histogram()),
            time_to_ready: Mutex::new(histogram()),
            failure: Mutex::new(None),
        });
        let mut threads = Vec::with_capacity(plan.threads);
        for index in 0..plan.threads {
            let (first, last) = (
                share(plan.connections, plan.threads, index),
                share(plan.connections, plan.threads, index + 1),
            );
            let poll = Poll::new().map_err(|error| Error::Io("an event queue", error))?;
            let waker = Waker::new(poll.registry(), WAKE);
            let waker = Arc::new(waker.map_err(|error| Error::Io("an event queue", error))?);
            let worker =
                Worker::new(Arc::clone(&plan), Arc::clone(&shared), poll, first..last, marks);
            let thread = std::thread::Builder::new().name(format!("load {index}"));
            let thread = thread.spawn(move || worker.run());
            threads.push((waker, thread.map_err(|error| Error::Io("a thread", error))?));
        }
        Ok(Self { shared, threads })
    }

    /// How many connections are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.shared.ready.load(Ordering::Relaxed)
    }

    /// How many messages about documents have come so far.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// How many method results have come so far.
    #[must_use]
    pub fn results(&self) -> u64 {
        self.shared.results.load(Ordering::Relaxed)
    }

    /// How many bytes have come so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Latencies since the last call, in microseconds.
    #[must_use]
    pub fn take_latency(&self) -> Histogram<u64> {
        std::mem::replace(&mut *self.shared.latency.lock(), histogram())
    }

    /// How long connections took from their start to their `ready`, in microseconds.
    #[must_use]
    pub fn time_to_ready(&self) -> Histogram<u64> {
        self.shared.time_to_ready.lock().clone()
    }

    /// Makes every connection call the plan's method until [`stop_calls`](Self::stop_calls).
    pub fn start_calls(&self) {
        self.shared.is_calling.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Ends the calls; those in progress still get results.
    pub fn stop_calls(&self) {
        self.shared.is_calling.store(false, Ordering::SeqCst);
        self.wake();
    }

    /// Waits until this many messages have come since the start.
    ///
    /// # Errors
    /// If a connection failed, or the messages do not come.
    pub async fn wait_for_messages(&self, target: u64) -> Result<(), Error> {
        self.shared.target.store(target, Ordering::SeqCst);
        self.wait(|swarm| swarm.messages() >= target, || format!("{target} messages did not come"))
            .await
    }

    /// Waits until this many connections are ready.
    ///
    /// # Errors
    /// If a connection failed, or they do not get ready.
    pub async fn wait_for_ready(&self, count: usize) -> Result<(), Error> {
        self.wait(|swarm| swarm.ready() >= count, || format!("not {count} connections were ready"))
            .await
    }

    /// Checks that no connection has failed.
    ///
    /// # Errors
    /// The first failure of any connection.
    pub fn check(&self) -> Result<(), Error> {
        self.shared.failure.lock().take().map_or(Ok(()), Err)
    }

    async fn wait(
        &self,
        is_done: impl Fn(&Self) -> bool,
        what: impl Fn() -> String,
    ) -> Result<(), Error> {
        let began = Instant::now();
        loop {
            let reached = self.shared.reached.notified();
            self.check()?;
            if is_done(self) {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(Error::Late(what(), PATIENCE.as_secs()));
            }
            // Readiness and failures notify nobody, so check now and then.
            let _ = tokio::time::timeout(Duration::from_millis(20), reached).await;
        }
    }

    fn wake(&self) {
        for (waker, _) in &self.threads {
            // It fails only if the thread has ended.
            let _ = waker.wake();
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.wake();
        for (_, thread) in self.threads.drain(..) {
            // It has reported its failure, if it had one.
            let _ = thread.join();
        }
    }
}

/// The first connection of a thread.
fn share(connections: usize, threads: usize, index: usize) -> usize {
    connections * index / threads
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    client: Client,
    began: Instant,
    is_ready: bool,
}

/// A thread's share of the connections.
struct Worker {
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    poll: Poll,
    connections: Vec<Option<Connection>>,
    /// The numbers of those still to be made.
    to_come: Range<usize>,
    opening: usize,
    tally: Tally,
    buffer: Vec<u8>,
}

impl Worker {
    fn new(
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        poll: Poll,
        numbers: Range<usize>,
        marks: &Marks,
    ) -> Self {
        let tally = Tally {
            messages: 0,
            results: 0,
            bytes: 0,
            ages: Vec::new(),
            marks: marks.clone(),
            is_calling: false,
            inflated: Inflated::default(),
        };
        Self {
            plan,
            shared,
            poll,
            connections: Vec::with_capacity(numbers.len()),
            to_come: numbers,
            opening: 0,
            tally,
            buffer: vec![0; READ_BYTES],
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        while !self.shared.is_over.load(Ordering::SeqCst) {
            if let Err(error) = self.step(&mut events) {
                self.fail(error);
            }
        }
    }

    fn step(&mut self, events: &mut Events) -> Result<(), Error> {
        self.open_more()?;
        match self.poll.poll(events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            polled => polled.map_err(|error| Error::Io("an event queue", error))?,
        }
        for event in events.iter() {
            if event.token() == WAKE {
                self.take_orders();
            } else if let Err(error) = self.serve(event) {
                self.connections[event.token().0] = None;
                self.fail(error);
            }
        }
        self.tell();
        Ok(())
    }

    fn open_more(&mut self) -> Result<(), Error> {
        let at_once = self.plan.at_once.div_ceil(self.plan.threads);
        while self.opening < at_once
            && let Some(number) = self.to_come.next()
        {
            let began = Instant::now();
            let mut socket = TcpStream::connect(self.plan.target.address)
                .map_err(|error| Error::Io("a connection", error))?;
            let token = Token(self.connections.len());
            self.poll
                .registry()
                .register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)
                .map_err(|error| Error::Io("an event queue", error))?;
            let client = Client::new(Arc::clone(&self.plan), number);
            self.connections.push(Some(Connection { socket, client, began, is_ready: false }));
            self.opening += 1;
        }
        Ok(())
    }

    fn serve(&mut self, event: &Event) -> Result<(), Error> {
        let Some(connection) = &mut self.connections[event.token().0] else { return Ok(()) };
        if event.is_readable() {
            connection.read(&mut self.buffer, &mut self.tally)?;
            if connection.client.is_ready() && !connection.is_ready {
                connection.is_ready = true;
                let micros =
                    u64::try_from(connection.began.elapsed().as_micros()).unwrap_or(u64::MAX);
                self.shared.time_to_ready.lock().saturating_record(micros);
                self.shared.ready.fetch_add(1, Ordering::Relaxed);
                self.opening -= 1;
            }
        }
        connection.write()
    }

    fn take_orders(&mut self) {
        let is_calling = self.shared.is_calling.load(Ordering::SeqCst);
        if std::mem::replace(&mut self.tally.is_calling, is_calling) || !is_calling {
            return;
        }
        for connection in self.connections.iter_mut().flatten() {
            (0..self.plan.pipeline).for_each(|_| connection.client.call());
            if let Err(error) = connection.write() {
                self.shared.failure.lock().get_or_insert(error);
            }
        }
    }

    /// Adds what this thread has seen to the shared totals.
    fn tell(&mut self) {
        let (tally, shared) = (&mut self.tally, &self.shared);
        if !tally.ages.is_empty() {
            let mut latency = shared.latency.lock();
            for micros in tally.ages.drain(..) {
                latency.saturating_record(micros);
            }
        }
        shared.bytes.fetch_add(std::mem::take(&mut tally.bytes), Ordering::Relaxed);
        shared.results.fetch_add(std::mem::take(&mut tally.results), Ordering::Relaxed);
        let more = std::mem::take(&mut tally.messages);
        let messages = shared.messages.fetch_add(more, Ordering::SeqCst) + more;
        let target = shared.target.load(Ordering::SeqCst);
        if messages >= target && messages - more < target {
            shared.reached.notify_waiters();
        }
    }

    fn fail(&self, error: Error) {
        self.shared.failure.lock().get_or_insert(error);
        self.shared.reached.notify_waiters();
    }
}

impl Connection {
    fn read(&mut self, buffer: &mut [u8], tally: &mut Tally) -> Result<(), Error> {
        loop {
            match self.socket.read(buffer) {
                Ok(0) => return Err(Error::Client("the server hung up".to_owned())),
                Ok(count) => {
                    self.client.feed(&buffer[..count], Instant::now(), tally)?;
                    // A short read means that there is no more for now.
                    if count < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Io("a connection", error)),
            }
        }
    }

    fn write(&mut self) -> Result<(), Error> {
        let output = &mut self.client.output;
        while !output.is_empty() {
            match self.socket.write(output) {
                Ok(count) => drop(output.drain(..count)),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
                    ) =>
                {
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Io("a connection", error)),
            }
        }
        Ok(())
    }
}
