//! Drivers that are polled by hand, for clients that read nothing.

use axum::http::Request;
use futures::channel::oneshot;
use futures::{FutureExt, SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Message, protocol::Role};

use super::*;
use crate::extract::{Connection, Params, State, UserId};
use crate::transport::Transport;
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

/// A publication that shows each user another field.
async fn fields(
    State(rows): State<MemoryCollection<Value>>,
    user: Option<UserId>,
) -> Cursor<Value> {
    rows.find().fields(["number", if user.is_some() { "two" } else { "one" }])
}

impl Slow {
    async fn connect() -> Self {
        let rows_of = MemoryCollection::new(&Collection::<Value>::new("rows"));
        for number in 0..ROWS {
            let row = json!({ "number": number, "one": TEXT, "two": TEXT });
            rows_of.insert_with_id(&format!("r{number:05}"), &row).expect("a new id");
        }
        let server = Server::builder().publish("rows", rows).publish("fields", fields);
        let server = server.with_state(rows_of.clone());
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
        self.driver.outbound.transport.kept_bytes()
    }

    /// Reads messages up to one with this text; returns how many there were.
    async fn read_to(&mut self, last: &str) -> usize {
        self.read(last, |driver, cx| {
            assert!(driver.poll(cx).is_pending(), "the connection goes on");
        })
        .await
    }

    /// The same while something is done besides.
    async fn read(
        &mut self,
        last: &str,
        mut poll: impl FnMut(&mut Driver, &mut Context<'_>),
    ) -> usize {
        let mut count = 0;
        loop {
            let mut next = self.client.next();
            let message = std::future::poll_fn(|cx| {
                poll(&mut self.driver, cx);
                next.poll_unpin(cx)
            });
            let message = message.await.expect("an open connection").expect("a sound frame");
            count += 1;
            if message.to_text().is_ok_and(|text| text.contains(last)) {
                return count;
            }
        }
    }

    /// A client that is about to get more of its own documents than there is room for.
    async fn with_more() -> Self {
        let mut slow = Self::connect().await;
        slow.sub("1", json!([1, "one"])).await;
        slow.read_to(r#""ready""#).await;
        slow.sub("2", json!([2, "two"])).await;
        assert!(slow.driver.session.has_more());
        slow
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

/// There is room again in the middle of documents, and mail: that comes after all of them.
#[tokio::test]
async fn mail_waits_while_documents_are_left() {
    let mut slow = Slow::with_more().await;
    slow.rows.update("r00000", |row| row["one"] = "new".into()).expect("a row");
    let write = |driver: &mut Driver, cx: &mut Context<'_>| {
        assert!(driver.outbound.poll_write(cx).is_pending());
    };
    slow.read(r#""id":"r01500""#, write).await;
    assert!(slow.driver.outbound.has_room() && slow.driver.session.has_more());
    let waiting = slow.driver.tray.mail.len();
    assert!(waiting > 0, "it is ready when its documents are sent");
    slow.driver.handle_mail(&mut Context::from_waker(Waker::noop()));
    assert!(slow.driver.session.has_more());
    assert_eq!(slow.driver.tray.mail.len(), waiting);
    assert!(slow.waiting() < BYTES_MAX, "{}", slow.waiting());
    slow.read_to(r#""ready""#).await;
    slow.read_to(r#""id":"r00000","fields":{"one":"new"}"#).await;
    assert!(!slow.driver.has_left());
}

#[tokio::test]
async fn another_user_is_told_in_pieces() {
    let mut slow = Slow::connect().await;
    slow.say(r#"{"msg":"sub","id":"1","name":"fields"}"#).await;
    slow.read_to(r#""ready""#).await;
    for user in [Some("ada"), None] {
        let (done, mut is_done) = oneshot::channel();
        slow.driver.mailbox.push(Mail::SetUser(user.map(UserId::from), done));
        slow.poll();
        assert!(slow.driver.session.has_more());
        assert!((256 * 1024..BYTES_MAX).contains(&slow.waiting()), "{}", slow.waiting());
        assert_eq!(is_done.try_recv(), Ok(None), "the client has not learned of it");
        assert_eq!(slow.read_to(r#""ready""#).await, ROWS + 1);
        slow.poll();
        assert_eq!(is_done.try_recv(), Ok(Some(())));
        assert!(!slow.driver.has_left());
    }
}

/// Who reads gets all of it, and then the end.
#[tokio::test]
async fn the_end_of_a_connection_comes_after_its_documents() {
    let mut slow = Slow::with_more().await;
    slow.driver.mailbox.request_end();
    slow.poll();
    assert!(slow.driver.session.has_more());
    assert!(slow.waiting() < BYTES_MAX, "{}", slow.waiting());
    let mut is_over = false;
    let read = slow.read(r#""ready""#, |driver, cx| {
        if is_over {
            assert!(driver.outbound.poll_write(cx).is_pending());
        } else {
            is_over = driver.poll(cx).is_ready();
        }
    });
    assert_eq!(read.await, ROWS + 1);
    assert!(is_over && matches!(slow.driver.end, End::Close(1000, _)));
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_ends_without_its_documents() {
    let mut slow = Slow::with_more().await;
    slow.driver.mailbox.request_end();
    slow.poll();
    let ended = std::future::poll_fn(|cx| slow.driver.poll(cx));
    let begun = tokio::time::Instant::now();
    ended.await;
    let close_timeout = slow.driver.registry.config.close_timeout;
    assert!(begun.elapsed().abs_diff(close_timeout) < std::time::Duration::from_secs(1));
    assert!(slow.waiting() < BYTES_MAX && slow.driver.session.has_more());
}
