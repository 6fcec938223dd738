//! What clients share, and that nobody takes more than their part of it.
//!
//! Where the clock jumps, clients speak `pre1`: sessions read the system's clock for heartbeats, which
//! that version does not have.

mod messages;
mod reruns;
mod room;
mod turns;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::http::Request;
use futures::{FutureExt, SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::config::ServerConfig;
use crate::connection;
use crate::extract::{Invocation, Params, State, Subscription};
use crate::testing::Client;
use crate::transport::in_process;
use crate::{Collection, Error, MemoryCollection, Server};

const HOSTILE: [u8; 4] = [192, 0, 2, 1];
const HONEST: [u8; 4] = [192, 0, 2, 2];
const SECOND: Duration = Duration::from_secs(1);

fn server(change: impl FnOnce(&mut ServerConfig)) -> Server {
    server_with(MemoryCollection::new(&Collection::new("notes")), change)
}

fn server_with(notes: MemoryCollection<Value>, change: impl FnOnce(&mut ServerConfig)) -> Server {
    let mut config = ServerConfig::default();
    change(&mut config);
    Server::builder()
        .config(config)
        .publish("notes", async |State(notes): State<MemoryCollection<Value>>| notes.find())
        .method("echo", async |Params((value,)): Params<(Value,)>| Ok::<_, Error>(value))
        .method("text", async |Params((bytes,)): Params<(usize,)>| {
            Ok::<_, Error>("x".repeat(bytes))
        })
        .with_state(notes)
}

/// A client that says what a test says.
struct Wire(WebSocketStream<DuplexStream>);

impl Wire {
    async fn connect(server: &Server, address: [u8; 4], version: &str) -> Self {
        let (io, client) = duplex(1 << 17);
        let registry = Arc::clone(server.registry());
        let config = registry.transport();
        let mut request = Request::new(());
        request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 40_000))));
        let (transport, info) = in_process::open(io, &request.into_parts().0, &config);
        tokio::spawn(connection::run(registry, transport, info));
        let mut wire = Self(WebSocketStream::from_raw_socket(client, Role::Client, None).await);
        let connect = r#"{"msg":"connect","version":"V","support":["V"]}"#;
        wire.say(&connect.replace('V', version)).await;
        assert!(wire.hear().await.contains("server_id"));
        assert!(wire.hear().await.contains("connected"));
        wire
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("an open connection");
    }

    /// The beginning of a message, and no more of it.
    async fn begin(&mut self, bytes: usize) {
        let text = "x".repeat(bytes).into_bytes();
        let frame = Frame::message(text, OpCode::Data(Data::Text), false);
        self.0.send(Message::Frame(frame)).await.expect("an open connection");
    }

    async fn sub(&mut self, id: &str, bytes: usize) {
        let params = "x".repeat(bytes);
        let sub = format!(r#"{{"msg":"sub","id":"{id}","name":"notes","params":["{params}"]}}"#);
        self.say(&sub).await;
    }

    /// A call of `echo`; returns how many bytes its result has.
    async fn echo(&mut self, bytes: usize) -> usize {
        let text = "x".repeat(bytes);
        self.say(&format!(r#"{{"msg":"method","id":"1","method":"echo","params":["{text}"]}}"#))
            .await;
        self.result().await
    }

    /// Reads up to a result; returns how many bytes it has.
    async fn result(&mut self) -> usize {
        loop {
            let text = self.hear().await;
            if text.contains(r#""msg":"result""#) {
                return text.len();
            }
        }
    }

    /// A call of a method that returns so many bytes.
    async fn want(&mut self, bytes: usize) {
        self.say(&format!(r#"{{"msg":"method","id":"1","method":"text","params":[{bytes}]}}"#))
            .await;
    }

    /// Takes some bytes of what the server sends, whatever they mean.
    async fn take(&mut self, bytes: usize) {
        let mut taken = vec![0; bytes];
        self.0.get_mut().read_exact(&mut taken).await.expect("an open connection");
    }

    async fn hear(&mut self) -> String {
        let next = timeout(120 * SECOND, self.0.next()).await.expect("a message in time");
        match next.expect("an open connection").expect("a sound frame") {
            Message::Text(text) => text.to_string(),
            other => panic!("no text but {other:?}"),
        }
    }
}

fn ready(id: &str) -> String {
    format!(r#"{{"msg":"ready","subs":["{id}"]}}"#)
}

/// What large messages and results have taken of their memory.
fn taken(server: &Server) -> usize {
    server.registry().large.memory().taken() + server.registry().results.taken()
}

/// Waits until nobody has anything of it.
async fn all_is_free(server: &Server) {
    let free = async {
        while taken(server) > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(60 * SECOND, free).await.expect("the memory is given back");
}
