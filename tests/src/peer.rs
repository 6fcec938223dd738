//! A scripted peer: sends what a test says, and returns every message unchanged.

use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connected peer that knows only the handshake of the protocol. Its functions panic, as tests
/// do.
#[derive(Debug)]
pub struct Peer {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The session's id from the server.
    pub session: String,
}

impl Peer {
    /// Connects by raw WebSocket and shakes hands.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::connect_with(address, &[]).await
    }

    /// Connects with these headers.
    pub async fn connect_with(address: SocketAddr, headers: &[(&'static str, &str)]) -> Self {
        let mut request = format!("ws://{address}/websocket").into_client_request().unwrap();
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).unwrap();
            request.headers_mut().append(HeaderName::from_static(name), value);
        }
        let mut peer = Self::open_with(request).await;
        peer.send(json!({"msg": "connect", "version": "1", "support": ["1"]})).await;
        let connected = peer.recv().await;
        assert_eq!(connected["msg"], "connected", "{connected}");
        connected["session"].as_str().unwrap().clone_into(&mut peer.session);
        peer
    }

    /// Connects by raw WebSocket, and leaves `connect` to the test.
    pub async fn open(address: SocketAddr) -> Self {
        let request = format!("ws://{address}/websocket").into_client_request().unwrap();
        Self::open_with(request).await
    }

    async fn open_with(request: Request) -> Self {
        let (socket, _) = connect_async(request).await.expect("the server accepts connections");
        let mut peer = Self { socket, session: String::new() };
        assert_eq!(peer.recv().await, json!({"server_id": "0"}));
        peer
    }

    /// Sends a message.
    pub async fn send(&mut self, message: Value) {
        self.socket.send(Message::text(message.to_string())).await.expect("the socket is open");
    }

    /// Sends `sub`.
    pub async fn sub(&mut self, id: &str, name: &str, params: Value) {
        self.send(json!({"msg": "sub", "id": id, "name": name, "params": params})).await;
    }

    /// Sends `method`.
    pub async fn method(&mut self, id: &str, method: &str, params: Value) {
        self.send(json!({"msg": "method", "id": id, "method": method, "params": params})).await;
    }

    /// Calls a method, and returns its `result` message. Anything else before `updated` is ignored,
    /// but both must come.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        self.method("call", method, params).await;
        let (mut result, mut is_updated) = (None, false);
        while result.is_none() || !is_updated {
            let message = self.recv().await;
            is_updated |= message == json!({"msg": "updated", "methods": ["call"]});
            if message["msg"] == "result" && message["id"] == "call" {
                result = Some(message);
            }
        }
        result.expect("the loop ended with a result")
    }

    /// The next message; `None` at the end of the connection.
    pub async fn try_recv(&mut self) -> Option<Value> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match message.expect("a message in time") {
                Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                None | Some(Ok(Message::Close(_)) | Err(Error::ConnectionClosed)) => return None,
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The next message.
    pub async fn recv(&mut self) -> Value {
        self.try_recv().await.expect("an open connection")
    }

    /// The next messages must be these, in this order.
    pub async fn expect<const N: usize>(&mut self, messages: [Value; N]) {
        for (index, expected) in messages.into_iter().enumerate() {
            assert_eq!(self.recv().await, expected, "message {index}");
        }
    }

    /// Everything that the server has to say by now must already have arrived.
    pub async fn expect_nothing(&mut self) {
        self.send(json!({"msg": "ping", "id": "nothing"})).await;
        self.expect([json!({"msg": "pong", "id": "nothing"})]).await;
    }

    /// The rest of the messages, and the code with which the server closes.
    pub async fn end(mut self) -> (Vec<Value>, u16) {
        let mut messages = Vec::new();
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match message.expect("the end in time").expect("a close frame").expect("a close frame")
            {
                Message::Text(text) => messages.push(serde_json::from_str(&text).unwrap()),
                Message::Close(frame) => {
                    return (messages, frame.expect("a code").code.into());
                }
                _ => {}
            }
        }
    }

    /// Leaves without a closing handshake.
    pub fn leave(self) {
        drop(self);
    }
}

/// Serves a server's routes on a port of its own, for as long as the runtime lives.
pub async fn serve(server: &ddp_server::Server) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = server.clone();
    tokio::spawn(async move { server.serve(listener).await });
    address
}
