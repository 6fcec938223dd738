//! A client that has nothing to do with the attack.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use hdrhistogram::Histogram;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Error, Victim};

/// How often it pings.
const PERIOD: Duration = Duration::from_millis(10);

/// How often it calls.
const CALL_PERIOD: Duration = Duration::from_millis(500);

/// How long it waits for an answer to anything.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection from another address than the attack's, where this machine has one: the whole of
/// 127.0.0.0/8 is its own.
async fn from_elsewhere(victim: Victim) -> io::Result<TcpStream> {
    if victim.address().is_ipv6() {
        return TcpStream::connect(victim.address()).await;
    }
    let socket = TcpSocket::new_v4()?;
    if let Err(error) = socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))) {
        // Not on every system.
        tracing::debug!(%error, "127.0.0.2 cannot be used");
    }
    socket.connect(victim.address()).await
}

/// A DDP client that pings all the time, and notes how long each answer takes.
#[derive(Debug)]
pub(super) struct Bystander {
    socket: WebSocketStream<TcpStream>,
    number: u64,
}

impl Bystander {
    /// Connects by WebSocket and shakes hands.
    pub(super) async fn connect(victim: Victim) -> Result<Self, Error> {
        let wrong = |why: String| Error::Server(victim.address(), why);
        let connect = async {
            let socket = from_elsewhere(victim).await?;
            socket.set_nodelay(true)?;
            let url = format!("ws://{}/websocket", victim.address());
            let (mut socket, _) = client_async(url, socket).await?;
            let connect = r#"{"msg":"connect","version":"1","support":["1"]}"#;
            socket.send(Message::text(connect)).await?;
            Ok::<_, tokio_tungstenite::tungstenite::Error>(socket)
        };
        let connected = timeout(PATIENCE, connect).await.map_err(|_| wrong("no answer".into()))?;
        let mut client =
            Self { socket: connected.map_err(|error| wrong(error.to_string()))?, number: 0 };
        if !client.wait_for(r#""msg":"connected""#).await {
            return Err(wrong("it does not say connected".into()));
        }
        Ok(client)
    }

    /// Pings for ever. What a ping took is noted in microseconds; one that is not answered in time
    /// counts as the longest.
    pub(super) async fn ping(&mut self, noted: &mut Histogram<u64>) {
        let mut due = interval(PERIOD);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            self.number += 1;
            let id = self.number;
            let ping = format!(r#"{{"msg":"ping","id":"{id}"}}"#);
            self.ask(ping, &format!(r#""id":"{id}""#), noted).await;
        }
    }

    /// Calls `echo` with so many bytes twice a second, for ever. What a call took until its result is
    /// noted as that of a ping is.
    pub(super) async fn call(&mut self, bytes: usize, noted: &mut Histogram<u64>) {
        let mut due = interval(CALL_PERIOD);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let text = "x".repeat(bytes);
        loop {
            due.tick().await;
            self.number += 1;
            let id = self.number;
            let call =
                format!(r#"{{"msg":"method","id":"{id}","method":"echo","params":["{text}"]}}"#);
            self.ask(call, &format!(r#""msg":"result","id":"{id}""#), noted).await;
        }
    }

    /// Sends a message, waits for a message with this text, and notes how long that took.
    async fn ask(&mut self, message: String, answer: &str, noted: &mut Histogram<u64>) {
        let begun = Instant::now();
        let is_sent = self.socket.send(Message::text(message)).await.is_ok();
        let took = if is_sent && self.wait_for(answer).await { begun.elapsed() } else { PATIENCE };
        noted.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Sends a message.
    ///
    /// # Errors
    /// If the connection has broken.
    pub(super) async fn say(&mut self, message: String) -> Result<(), Error> {
        let sent = self.socket.send(Message::text(message)).await;
        sent.map_err(|error| crate::load::Error::Client(error.to_string()).into())
    }

    /// Reads until a message with this text. False if none comes.
    async fn wait_for(&mut self, text: &str) -> bool {
        self.read(|message| message.contains(text)).await.is_some()
    }

    /// Reads up to the last of some messages; returns how many bytes they had, or nothing if it does
    /// not come.
    pub(super) async fn read(&mut self, mut is_last: impl FnMut(&str) -> bool) -> Option<usize> {
        let mut bytes = 0;
        let wait = async {
            while let Some(Ok(message)) = self.socket.next().await {
                let Ok(text) = message.to_text() else { continue };
                bytes += text.len();
                if is_last(text) {
                    return true;
                }
            }
            false
        };
        let is_read = timeout(PATIENCE, wait).await.unwrap_or(false);
        is_read.then_some(bytes)
    }
}
