//! A DDP client that is as strict as minimongo with stubs: every message must fit what it has.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// How long a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A collection's documents by id.
pub type Documents = BTreeMap<String, Map<String, Value>>;

/// A connected client. It reads only while it waits for something.
#[derive(Debug)]
pub struct Client<S = MaybeTlsStream<TcpStream>> {
    socket: WebSocketStream<S>,
    /// The session's id from the server.
    pub session: String,
    /// What the subscriptions show, by collection.
    pub collections: HashMap<String, Documents>,
    /// The subscriptions that are ready.
    pub ready: BTreeSet<String>,
    /// The subscriptions that ended, with the error.
    pub nosub: BTreeMap<String, Value>,
    /// The results of methods, by the call's id.
    pub results: HashMap<String, Value>,
    /// The calls whose writes have been seen.
    pub updated: BTreeSet<String>,
    /// How many messages came.
    pub messages: usize,
    /// Whether it is an error if a document's field `revision` decreases.
    pub revisions_rise: bool,
    /// The newest `revision` seen of each existing document.
    revisions: HashMap<String, i64>,
    /// The last messages in both directions, for error messages.
    recent: Vec<String>,
    last_id: usize,
}

impl Client {
    /// Connects by raw WebSocket and shakes hands.
    ///
    /// # Panics
    /// If the server does not answer as it must; all functions here panic, as tests do.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.expect("the server accepts connections")
    }

    /// Connects, unless the server does not listen.
    ///
    /// # Errors
    /// That of the socket or of the WebSocket handshake.
    ///
    /// # Panics
    /// If the server does not shake hands as it must.
    pub async fn try_connect(
        address: SocketAddr,
    ) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let (socket, _) = connect_async(format!("ws://{address}/websocket")).await?;
        Ok(Self::over(socket).await)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    /// Shakes hands over a WebSocket that is open.
    ///
    /// # Panics
    /// If the server does not shake hands as it must.
    pub async fn over(socket: WebSocketStream<S>) -> Self {
        let mut client = Self {
            socket,
            session: String::new(),
            collections: HashMap::new(),
            ready: BTreeSet::new(),
            nosub: BTreeMap::new(),
            results: HashMap::new(),
            updated: BTreeSet::new(),
            messages: 0,
            revisions_rise: true,
            revisions: HashMap::new(),
            recent: Vec::new(),
            last_id: 0,
        };
        assert_eq!(client.next().await, r#"{"server_id":"0"}"#);
        client.send(&json!({"msg": "connect", "version": "1", "support": ["1"]})).await;
        client.until("connected", |client| !client.session.is_empty()).await;
        assert_eq!(client.session.len(), 17, "a session id as Meteor makes them");
        client
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &Value) {
        self.send_text(message.to_string()).await;
    }

    /// Sends any text.
    pub async fn send_text(&mut self, text: String) {
        self.remember(format!("> {text}"));
        self.socket.send(Message::text(text)).await.expect("the socket is open");
    }

    fn remember(&mut self, text: String) {
        if self.recent.len() >= 30 {
            self.recent.remove(0);
        }
        self.recent.push(text);
    }

    /// The text of the next message, whatever it is. Not interpreted.
    pub async fn next(&mut self) -> String {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await;
            match message.expect("a message in time").expect("an open socket") {
                Ok(Message::Text(text)) => return text.to_string(),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("unexpected {other:?} after {:#?}", self.recent),
            }
        }
    }

    /// Reads messages until the condition holds.
    pub async fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !condition(self) {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(text) => self.handle(&text).await,
                Err(_) => panic!("waited in vain for {what}; last came {:#?}", self.recent),
            }
        }
    }

    /// Reads whatever arrives in this time.
    pub async fn read_for(&mut self, time: Duration) {
        let deadline = tokio::time::Instant::now() + time;
        while let Ok(text) = tokio::time::timeout_at(deadline, self.next()).await {
            self.handle(&text).await;
        }
    }

    /// Reads for this time, at most this many bytes per second.
    pub async fn read_slowly(&mut self, bytes_per_second: u32, time: Duration) {
        let deadline = tokio::time::Instant::now() + time;
        while let Ok(text) = tokio::time::timeout_at(deadline, self.next()).await {
            self.handle(&text).await;
            let cost = Duration::from_secs(1) * u32::try_from(text.len()).unwrap_or(u32::MAX);
            tokio::time::sleep_until(
                deadline.min(tokio::time::Instant::now() + cost / bytes_per_second),
            )
            .await;
        }
    }

    /// Subscribes and waits for `ready`. Returns the subscription's id.
    pub async fn subscribe(&mut self, name: &str, params: Value) -> String {
        let id = self.send_sub(name, params).await;
        self.until("ready", |client| client.ready.contains(&id) || client.nosub.contains_key(&id))
            .await;
        assert!(self.ready.contains(&id), "{name} was refused: {:?}", self.nosub[&id]);
        id
    }

    /// Subscribes. Returns the subscription's id.
    pub async fn send_sub(&mut self, name: &str, params: Value) -> String {
        let id = self.next_id();
        self.send(&json!({"msg": "sub", "id": id, "name": name, "params": params})).await;
        id
    }

    /// Unsubscribes and waits for `nosub`.
    pub async fn unsubscribe(&mut self, id: &str) {
        self.send(&json!({"msg": "unsub", "id": id})).await;
        self.until("nosub", |client| client.nosub.contains_key(id)).await;
    }

    /// Calls a method and waits for `result` and `updated`. Returns the `result` message.
    pub async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.next_id();
        self.send(&json!({"msg": "method", "id": id, "method": method, "params": params})).await;
        let what = format!("the result of {method}");
        self.until(&what, |client| client.results.contains_key(&id)).await;
        self.until(&format!("`updated` of {method}"), |client| client.updated.contains(&id)).await;
        self.results.remove(&id).unwrap_or_default()
    }

    /// The documents of a collection.
    #[must_use]
    pub fn documents(&self, collection: &str) -> Documents {
        self.collections.get(collection).cloned().unwrap_or_default()
    }

    /// Closes the connection properly.
    pub async fn close(mut self) {
        // The server may already be gone.
        let _ = self.socket.close(None).await;
    }

    fn next_id(&mut self) -> String {
        self.last_id += 1;
        self.last_id.to_string()
    }

    /// Applies a message as minimongo does, and fails if it does not fit.
    pub async fn handle(&mut self, text: &str) {
        self.messages += 1;
        self.remember(text.chars().take(300).collect());
        let message: Value = serde_json::from_str(text).expect("messages are JSON");
        let id = message["id"].as_str().unwrap_or_default().to_owned();
        match message["msg"].as_str().expect("messages have a msg") {
            "connected" => {
                self.session = message["session"].as_str().unwrap_or_default().to_owned()
            }
            "ping" => self.send(&json!({"msg": "pong"})).await,
            "pong" => {}
            "ready" => {
                for id in message["subs"].as_array().expect("subs") {
                    self.ready.insert(id.as_str().expect("an id").to_owned());
                }
            }
            "nosub" => {
                self.ready.remove(&id);
                self.nosub.insert(id, message["error"].clone());
            }
            "result" => {
                assert!(self.results.insert(id, message).is_none(), "a second result: {text}");
            }
            "updated" => {
                for id in message["methods"].as_array().expect("methods") {
                    let is_new = self.updated.insert(id.as_str().expect("an id").to_owned());
                    assert!(is_new, "updated twice: {text}");
                }
            }
            "added" | "changed" | "removed" => self.apply(&message, &id, text),
            _ => panic!("unexpected {text}"),
        }
    }

    fn apply(&mut self, message: &Value, id: &str, text: &str) {
        let recent = &self.recent;
        let collection = message["collection"].as_str().expect("a collection");
        let documents = self.collections.entry(collection.to_owned()).or_default();
        match message["msg"].as_str() {
            Some("added") => {
                let old = documents.insert(id.to_owned(), Map::new());
                assert!(old.is_none(), "added what it has: {text} after {recent:#?}");
            }
            Some("removed") => {
                let old = documents.remove(id);
                assert!(old.is_some(), "removed what it lacks: {text} after {recent:#?}");
                // The next row with this key may have drawn its revision before the last one did.
                self.revisions.remove(id);
                return;
            }
            _ => {}
        }
        let document = documents.get_mut(id);
        let document =
            document.unwrap_or_else(|| panic!("changed what it lacks: {text} after {recent:#?}"));
        for (name, value) in message["fields"].as_object().into_iter().flatten() {
            let old = document.insert(name.clone(), value.clone());
            assert_ne!(
                old.as_ref(),
                Some(value),
                "changed to what it was: {text} after {recent:#?}"
            );
        }
        let revision = message["fields"]["revision"].as_i64();
        if let Some(revision) = revision.filter(|_| self.revisions_rise) {
            let newest = self.revisions.entry(id.to_owned()).or_insert(revision);
            assert!(*newest <= revision, "back from {newest}: {text} after {recent:#?}");
            *newest = revision;
        }
        for name in message["cleared"].as_array().into_iter().flatten() {
            let old = document.remove(name.as_str().expect("a name"));
            assert!(old.is_some(), "cleared what it lacks: {text} after {recent:#?}");
        }
    }
}
