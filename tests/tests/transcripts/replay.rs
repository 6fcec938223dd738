//! Plays a transcript's client against one of this project's servers.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::compare::agree;
use crate::deviations::{DEVIATIONS, Deviation};
use crate::transcript::{Action, Name, Received, Transcript};
use crate::world::World;

/// How long to wait for a message that must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// Replays a transcript, and panics if anything differs from it.
pub(crate) async fn replay(name: &str) {
    let transcript = Transcript::read(name);
    let deviations = DEVIATIONS.iter().filter(|deviation| deviation.transcript == name);
    let deviations: BTreeMap<usize, &Deviation> =
        deviations.map(|deviation| (deviation.block, deviation)).collect();
    if let Some((block, _)) = deviations.last_key_value() {
        assert!(*block <= transcript.blocks.len(), "{name} has no block {block}");
    }
    let world = World::default();
    let address = ddp_tests::peer::serve(&world.server(&transcript.world)).await;
    let is_sockjs = transcript.is_sockjs;
    let mut clients = Clients { address, is_sockjs, open: BTreeMap::new() };
    clients.get("").await;
    let mut faults = Vec::new();
    for (index, block) in transcript.blocks.iter().enumerate() {
        for action in &block.actions {
            clients.act(&world, action).await;
        }
        let deviation = deviations.get(&(index + 1));
        let parse = |line: &&str| Received::parse(line).expect("a line as in transcripts");
        let ours: Option<Vec<Received>> =
            deviation.map(|deviation| deviation.ours.iter().map(parse).collect());
        let expected = ours.as_ref().unwrap_or(&block.received);
        let mut agrees_with_meteor = true;
        for (connection, client) in &mut clients.open {
            let of_connection = |all: &'_ [Received]| -> Vec<Received> {
                all.iter().filter(|one| one.connection == *connection).cloned().collect()
            };
            let (expected, meteor) = (of_connection(expected), of_connection(&block.received));
            let came = client.take(expected.len()).await;
            let expected: Vec<&Received> = expected.iter().collect();
            let lines = |all: &[&Received]| {
                all.iter().map(|one| one.text.clone()).collect::<Vec<_>>().join("\n  ")
            };
            if !agree(&expected, &came) {
                faults.push(format!(
                    "block {}, connection '{connection}': expected\n  {}\ncame\n  {}\n",
                    index + 1,
                    lines(&expected),
                    came.join("\n  "),
                ));
            }
            agrees_with_meteor &= agree(&meteor.iter().collect::<Vec<_>>(), &came);
        }
        if let Some(deviation) = deviation.filter(|_| agrees_with_meteor) {
            let reason = deviation.reason;
            faults.push(format!("block {} does not deviate any more: {reason}\n", index + 1));
        }
    }
    for (connection, client) in clients.open {
        let rest = client.finish().await;
        if !rest.is_empty() {
            faults.push(format!("connection '{connection}', after the end: {rest:#?}\n"));
        }
    }
    assert!(faults.is_empty(), "{name}\n{}", faults.concat());
}

struct Clients {
    address: SocketAddr,
    is_sockjs: bool,
    open: BTreeMap<Name, Client>,
}

impl Clients {
    /// The client with this name, which connects if it has not done so yet.
    async fn get(&mut self, name: &str) -> &mut Client {
        if !self.open.contains_key(name) {
            let client = Client::connect(self.address, self.is_sockjs).await;
            self.open.insert(name.to_owned(), client);
        }
        self.open.get_mut(name).expect("it has just been inserted")
    }

    async fn act(&mut self, world: &World, action: &Action) {
        match action {
            Action::Send(name, text) => self.get(name).await.send(text).await,
            Action::Close(name) => {
                self.get(name).await;
                let client = self.open.remove(name).expect("it is there");
                client.leave().await;
            }
            Action::Happens(words) => world.happen(words),
        }
    }
}

struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    is_sockjs: bool,
    /// Messages that have arrived, but were not asked for yet.
    came: VecDeque<String>,
    is_closed: bool,
    /// Version pre1 has no pings to show that no more messages are coming.
    has_pings: bool,
}

impl Client {
    async fn connect(address: SocketAddr, is_sockjs: bool) -> Self {
        let path = if is_sockjs { "sockjs/000/abcdefgh/websocket" } else { "websocket" };
        let (socket, _) = connect_async(format!("ws://{address}/{path}")).await.unwrap();
        let came = VecDeque::new();
        let mut client = Self { socket, is_sockjs, came, is_closed: false, has_pings: true };
        let opening = if is_sockjs { client.recv().await } else { None };
        // Meteor 3 no longer sends this, but several clients wait for it.
        assert_eq!(client.recv().await.as_deref(), Some(r#"{"server_id":"0"}"#));
        client.came.extend(opening);
        client
    }

    async fn send(&mut self, text: &str) {
        self.has_pings &= !text.contains(r#""version":"pre1""#);
        // A server that has closed the connection does not listen any more.
        let _ = self.socket.send(Message::text(text)).await;
    }

    /// Sends one of the replay's own messages.
    async fn send_own(&mut self, text: &str) {
        let framed = json!([text]).to_string();
        self.send(if self.is_sockjs { &framed } else { text }).await;
    }

    /// The next message or the end of the connection, `None` if nothing comes.
    async fn recv(&mut self) -> Option<String> {
        loop {
            if let Some(text) = self.came.pop_front() {
                if text != r#"{"msg":"ping"}"# {
                    return Some(text);
                }
                // On a busy machine a server may check whether the client is still there.
                self.send_own(r#"{"msg":"pong"}"#).await;
            } else if self.is_closed {
                return None;
            } else {
                self.read().await?;
            }
        }
    }

    /// Waits for the next message on the socket; `None` if nothing comes.
    async fn read(&mut self) -> Option<()> {
        let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.ok()?;
        let closed = match message {
            Some(Ok(Message::Text(text))) => {
                match text.strip_prefix('a').filter(|_| self.is_sockjs) {
                    Some(array) => {
                        let messages: Vec<String> = serde_json::from_str(array).unwrap();
                        self.came.extend(messages);
                    }
                    None => self.came.push_back(text.to_string()),
                }
                return Some(());
            }
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Some(()),
            Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                format!("closed {code} {reason}")
            }
            None | Some(Ok(Message::Close(None)) | Err(Error::ConnectionClosed)) => {
                "closed 1005".to_owned()
            }
            Some(other) => panic!("unexpected {other:?}"),
        };
        self.is_closed = true;
        self.came.push_back(closed.trim().to_owned());
        Some(())
    }

    /// This many messages, and whatever else arrives before the answer to a ping.
    async fn take(&mut self, count: usize) -> Vec<String> {
        let mut came = Vec::new();
        while came.len() < count
            && let Some(text) = self.recv().await
        {
            came.push(text);
        }
        if self.is_closed || !self.has_pings || came.len() < count {
            came.extend(self.came.drain(..));
            return came;
        }
        self.send_own(r#"{"msg":"ping","id":"barrier"}"#).await;
        while let Some(text) = self.recv().await {
            if is_barrier(&text) {
                break;
            }
            came.push(text);
        }
        came
    }

    /// Closes the connection, and returns what arrives until then.
    async fn finish(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        let was_closed = self.is_closed || self.socket.close(None).await.is_err();
        while !was_closed && let Some(text) = self.recv().await {
            rest.push(text);
        }
        // Nothing but the peer's close frame may come.
        rest.pop_if(|last| last.starts_with("closed"));
        rest
    }

    async fn leave(self) {
        self.finish().await;
    }
}

/// Whether this answers the ping that is sent when everything should have arrived.
fn is_barrier(text: &str) -> bool {
    let message: Value = serde_json::from_str(text).unwrap_or_default();
    let ping = json!({"msg": "ping", "id": "barrier"});
    message == json!({"msg": "pong", "id": "barrier"}) || message["offendingMessage"] == ping
}
