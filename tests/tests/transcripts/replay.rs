//! Plays a transcript's client against a server of this project.

use std::collections::BTreeMap;
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

/// Replays a transcript and panics if anything else comes than it says.
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
    let mut clients = Clients { address, open: BTreeMap::new() };
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
    open: BTreeMap<Name, Client>,
}

impl Clients {
    /// The client of this name, which connects if it has not yet.
    async fn get(&mut self, name: &str) -> &mut Client {
        if !self.open.contains_key(name) {
            self.open.insert(name.to_owned(), Client::connect(self.address).await);
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
    is_closed: bool,
    /// Version pre1 has no pings, so that nothing shows that no more will come.
    has_pings: bool,
}

impl Client {
    async fn connect(address: SocketAddr) -> Self {
        let (socket, _) = connect_async(format!("ws://{address}/websocket")).await.unwrap();
        let mut client = Self { socket, is_closed: false, has_pings: true };
        // Meteor 3 does not send this any more; several clients wait for it.
        assert_eq!(client.recv().await.as_deref(), Some(r#"{"server_id":"0"}"#));
        client
    }

    async fn send(&mut self, text: &str) {
        self.has_pings &= !text.contains(r#""version":"pre1""#);
        // A server that has closed the connection hears no more.
        let _ = self.socket.send(Message::text(text)).await;
    }

    /// The next message or the end of the connection, `None` if nothing comes.
    async fn recv(&mut self) -> Option<String> {
        if self.is_closed {
            return None;
        }
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.ok()?;
            let closed = match message {
                // On a busy machine a server may ask whether the client is still there.
                Some(Ok(Message::Text(text))) if text == r#"{"msg":"ping"}"# => {
                    self.send(r#"{"msg":"pong"}"#).await;
                    continue;
                }
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) => {
                    format!("closed {code} {reason}")
                }
                None | Some(Ok(Message::Close(None)) | Err(Error::ConnectionClosed)) => {
                    "closed 1005".to_owned()
                }
                Some(other) => panic!("unexpected {other:?}"),
            };
            self.is_closed = true;
            return Some(closed.trim().to_owned());
        }
    }

    /// So many messages, and what else comes before the answer to a ping.
    async fn take(&mut self, count: usize) -> Vec<String> {
        let mut came = Vec::new();
        while came.len() < count
            && let Some(text) = self.recv().await
        {
            came.push(text);
        }
        if self.is_closed || !self.has_pings || came.len() < count {
            return came;
        }
        self.send(r#"{"msg":"ping","id":"barrier"}"#).await;
        while let Some(text) = self.recv().await {
            if is_barrier(&text) {
                break;
            }
            came.push(text);
        }
        came
    }

    /// Closes the connection; what comes until then is the answer.
    async fn finish(mut self) -> Vec<String> {
        let mut rest = Vec::new();
        if self.is_closed || self.socket.close(None).await.is_err() {
            return rest;
        }
        while let Some(text) = self.recv().await
            && !self.is_closed
        {
            rest.push(text);
        }
        rest
    }

    async fn leave(self) {
        self.finish().await;
    }
}

/// Whether this answers the ping that is sent when all should have come.
fn is_barrier(text: &str) -> bool {
    let message: Value = serde_json::from_str(text).unwrap_or_default();
    let ping = json!({"msg": "ping", "id": "barrier"});
    message == json!({"msg": "pong", "id": "barrier"}) || message["offendingMessage"] == ping
}
