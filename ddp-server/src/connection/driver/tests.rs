//! Drivers that are polled by hand, for clients that read nothing.

use axum::http::Request;
use futures::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

use super::*;
use crate::extract::{Connection, Params, State};
use crate::transport::{TransportConfig, in_process};
use crate::{Collection, Cursor, MemoryCollection, Server, field};

const ROWS: usize = 5000;
const TEXT: &str =
    "The quick brown fox jumps over the lazy dog, while sphinx of black quartz judges";

/// What a client has of an outbox that is full: the bound, the last piece, and the rest of a message.
const BYTES_MAX: usize = (256 + 64) * 1024 + 1000;

struct Slow {
    driver: Box<Driver>,
    client: WebSocketStream<DuplexStream>,
    rows: MemoryCollection<Value>,
}

/// A publication whose queries all differ, with some of the fields.
async fn rows(
    State(rows): State<MemoryCollection<Value>>,
    Params((number, name)): Params<(i64, String)>,
) -> Cursor<Value> {
    rows.find().filter(field("number").gt(-1 - number)).fields(["number", name.as_str()])
}

impl Slow {
    async fn connect() -> Self {
        let rows_of = MemoryCollection::new(&Collection::<Value>::new("rows"));
        for number in 0..ROWS {
            let row = json!({ "number": number, "one": TEXT, "two": TEXT });
            rows_of.insert_with_id(&format!("r{number:05}"), &row).expect("a new id");
        }
        let server = Server::builder().publish("rows", rows).with_state(rows_of.clone());
        let registry = Arc::clone(server.registry());
        let (io, client) = tokio::io::duplex(8192);
        let request = Request::new(()).into_parts().0;
        let (transport, info) = in_process::open(io, &request, &TransportConfig::default());
        let mailbox = Arc::new(Mailbox::new(64, 10_000, Arc::default()));
        let connection = Connection::new("abcdefghijklmnopq", info, Arc::clone(&mailbox));
        let config = Arc::clone(&registry.session_config);
        let session = Session::new(connection.id().to_owned(), config, Instant::now());
        let running = Running::new(Arc::clone(&registry), connection, None);
        let driver = Driver::new(session, running, transport, mailbox, registry, None);
        let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
        let mut slow = Self { driver: Box::new(driver), client, rows: rows_of };
        slow.say(r#"{"msg":"connect","version":"1","support":["1"]}"#).await;
        slow
    }

    async fn say(&mut self, text: &str) {
        self.client.send(Message::text(text)).await.expect("room for it");
        self.poll();
    }

    async fn sub(&mut self, id: &str, params: Value) {
        let sub = json!({"msg": "sub", "id": id, "name": "rows", "params": params});
        self.say(&sub.to_string()).await;
    }

    /// Lets the connection's task run until it has nothing to do.
    fn poll(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..20 {
            assert!(self.driver.poll(&mut cx).is_pending(), "the connection goes on");
        }
    }

    fn waiting(&self) -> usize {
        self.driver.outbound.transport.queued_bytes()
    }

    /// Reads messages up to one with this text; returns how many there were.
    async fn read_to(&mut self, last: &str) -> usize {
        let mut count = 0;
        loop {
            let mut next = self.client.next();
            let message = std::future::poll_fn(|cx| {
                assert!(self.driver.poll(cx).is_pending(), "the connection goes on");
                next.poll_unpin(cx)
            });
            let message = message.await.expect("an open connection").expect("a sound frame");
            count += 1;
            if message.to_text().is_ok_and(|text| text.contains(last)) {
                return count;
            }
        }
    }
}

#[tokio::test]
async fn no_more_is_made_for_one_client_than_there_is_room_for() {
    let mut slow = Slow::connect().await;
    slow.sub("1", json!([1, "one"])).await;
    assert_eq!(
        slow.read_to(r#""ready""#).await,
        2 + ROWS + 1,
        "server_id and connected come first"
    );
    assert!(!slow.driver.has_left());
    // The first step of the other has another field, which is a message of the client's own each.
    slow.sub("2", json!([2, "two"])).await;
    assert!(slow.driver.session.has_more());
    assert!((256 * 1024..BYTES_MAX).contains(&slow.waiting()), "{}", slow.waiting());
    // What happens meanwhile is not made, either.
    for number in 0..200 {
        slow.rows.update(&format!("r{number:05}"), |row| row["one"] = "new".into()).expect("a row");
        slow.poll();
    }
    assert!(slow.waiting() < BYTES_MAX, "{}", slow.waiting());
    assert_eq!(slow.read_to(r#""ready""#).await, ROWS + 1);
    slow.read_to(r#""id":"r00199","fields":{"one":"new"}"#).await;
    assert!(!slow.driver.has_left());

    // Nor is the end of a subscription.
    slow.say(r#"{"msg":"unsub","id":"2"}"#).await;
    slow.say(r#"{"msg":"unsub","id":"1"}"#).await;
    assert!(slow.waiting() < BYTES_MAX, "{}", slow.waiting());
    assert_eq!(slow.read_to(r#"{"msg":"nosub","id":"2"}"#).await, ROWS + 1);
    assert_eq!(slow.read_to(r#"{"msg":"nosub","id":"1"}"#).await, ROWS + 1);
}

/// Steps that came together are handled one after the other, and those for which there is no room wait.
#[tokio::test]
async fn a_courier_leaves_what_there_is_no_room_for() {
    const QUERIES: usize = 40;
    let mut slow = Slow::connect().await;
    for number in 0..QUERIES {
        slow.sub(&number.to_string(), json!([number, format!("field{number}")])).await;
        slow.read_to(r#""ready""#).await;
    }
    // Each query has a field of its own that changes.
    slow.rows
        .update("r00000", |row| {
            for number in 0..QUERIES {
                row[format!("field{number}")] = "x".repeat(50_000).into();
            }
        })
        .expect("a row");
    assert!(!slow.driver.deliver(), "the task does the rest");
    assert!(slow.waiting() < BYTES_MAX, "{}", slow.waiting());
    assert!(slow.driver.has_left() && !slow.driver.deliver());
    slow.poll();
    assert!(slow.waiting() < BYTES_MAX, "{}", slow.waiting());
    assert_eq!(slow.read_to(&format!("field{}", QUERIES - 1)).await, QUERIES);
    assert!(!slow.driver.has_left());
}
