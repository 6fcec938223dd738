//! siderite, driven by lines of JSON: requests on standard input, answers on standard output.
//!
//! A request is `{"id", "do", "params"}`; its answer is `{"id", "result"}` or `{"id", "error"}`.
//! The library passes on messages as they arrive and ends with its connection, so its users keep
//! documents and reconnect themselves, as this program does. It does not know EJSON.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde_json::{Map, Value, json};
use siderite::{Connection, Handle, ServerMessage};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

const RECONNECT: Duration = Duration::from_millis(200);

type Document = Map<String, Value>;
type Requests = Lines<BufReader<Stdin>>;

#[derive(Clone)]
struct Subscription {
    id: String,
    name: String,
    params: Vec<Value>,
}

#[derive(Default)]
struct Client {
    documents: HashMap<String, BTreeMap<String, Document>>,
    subscriptions: Vec<Subscription>,
    last_id: u64,
    /// The requests waiting for a subscription to become ready, by its id.
    waiting: HashMap<String, Value>,
    connection: Option<Handle>,
    /// The request waiting for the first connection.
    opening: Option<Value>,
}

fn answer(id: &Value, result: &Value) {
    println!("{}", json!({ "id": id, "result": result }));
}

fn refuse(id: &Value, error: &Value) {
    println!("{}", json!({ "id": id, "error": error }));
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().expect("a list").clone()
}

impl Client {
    fn document(&mut self, collection: String, id: String) -> &mut Document {
        self.documents.entry(collection).or_default().entry(id).or_default()
    }

    fn hear(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Added { collection, id, fields } => {
                let mut document = match fields {
                    Some(Value::Object(fields)) => fields,
                    _ => Document::new(),
                };
                document.insert("_id".to_owned(), id.clone().into());
                *self.document(collection, id) = document;
            }
            ServerMessage::Changed { collection, id, fields, cleared } => {
                let document = self.document(collection, id);
                if let Some(Value::Object(fields)) = fields {
                    document.extend(fields);
                }
                for field in cleared.unwrap_or_default() {
                    document.remove(&field);
                }
            }
            ServerMessage::Removed { collection, id } => {
                self.documents.entry(collection).or_default().remove(&id);
            }
            ServerMessage::Ready { subs } => {
                for request in subs.iter().filter_map(|id| self.waiting.remove(id)) {
                    answer(&request, &Value::Null);
                }
            }
            ServerMessage::Nosub { id, error: Some(error) } => {
                self.subscriptions.retain(|subscription| subscription.id != id);
                if let Some(request) = self.waiting.remove(&id) {
                    refuse(&request, &error);
                }
            }
            _ => {}
        }
    }

    /// Starts over on a new connection.
    async fn connected(&mut self, mut handle: Handle) {
        self.documents.clear();
        for Subscription { id, name, params } in self.subscriptions.clone() {
            // An error means that the connection has ended, which its stream reports, too.
            let _ = handle.subscribe(id, name, params).await;
        }
        self.connection = Some(handle);
        if let Some(request) = self.opening.take() {
            answer(&request, &Value::Null);
        }
    }

    async fn request(&mut self, line: &str) {
        let request: Value = serde_json::from_str(line).expect("JSON");
        let (id, params) = (request["id"].clone(), &request["params"]);
        match (request["do"].as_str(), &mut self.connection) {
            (Some("connect"), None) => self.opening = Some(id),
            (Some("connect" | "close"), _) => answer(&id, &Value::Null),
            (Some("connected"), connection) => answer(&id, &connection.is_some().into()),
            (Some("docs"), _) => {
                let documents = self.documents.entry(text(&params[0])).or_default();
                answer(&id, &documents.values().cloned().map(Value::Object).collect());
            }
            (Some("call"), Some(connection)) => {
                let mut connection = connection.clone();
                let (name, params) = (text(&params[0]), list(&params[1]));
                tokio::spawn(async move {
                    match connection.call(name, params).await {
                        Ok(Ok(result)) => answer(&id, &result),
                        Ok(Err(error)) => refuse(&id, &error.0),
                        Err(error) => refuse(&id, &json!({ "message": error.to_string() })),
                    }
                });
            }
            (Some("subscribe"), Some(connection)) => {
                self.last_id += 1;
                let subscription = Subscription {
                    id: format!("sub{}", self.last_id),
                    name: text(&params[0]),
                    params: list(&params[1]),
                };
                self.waiting.insert(subscription.id.clone(), id);
                self.subscriptions.push(subscription.clone());
                let Subscription { id, name, params } = subscription;
                let _ = connection.subscribe(id, name, params).await;
            }
            (Some("unsubscribe"), Some(connection)) => {
                let name = text(&params[0]);
                let at =
                    self.subscriptions.iter().position(|subscription| subscription.name == name);
                let subscription =
                    self.subscriptions.remove(at.expect("a subscription of this name"));
                let _ = connection.unsubscribe(subscription.id).await;
                answer(&id, &Value::Null);
            }
            (what, _) => refuse(&id, &json!({ "message": format!("cannot {what:?} now") })),
        }
    }

    /// Serves requests until the connection has ended; false once there are no more requests.
    async fn run(&mut self, connection: &mut Connection, requests: &mut Requests) -> bool {
        loop {
            tokio::select! {
                message = connection.recv() => match message {
                    Some(message) => self.hear(message),
                    None => return true,
                },
                line = requests.next_line() => match line {
                    Ok(Some(line)) => self.request(&line).await,
                    _ => return false,
                },
            }
        }
    }

    /// Connects, however long it takes; returns nothing if there are no more requests.
    async fn connect(&mut self, url: &str, requests: &mut Requests) -> Option<Connection> {
        let connecting = async {
            loop {
                match Connection::connect(url).await {
                    Ok(connection) => return connection,
                    Err(_) => tokio::time::sleep(RECONNECT).await,
                }
            }
        };
        tokio::pin!(connecting);
        loop {
            tokio::select! {
                connection = &mut connecting => return Some(connection),
                line = requests.next_line() => self.request(&line.ok()??).await,
            }
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::args().nth(1).expect("the URL of a server");
    let mut requests = BufReader::new(tokio::io::stdin()).lines();
    let mut client = Client::default();
    while let Some(mut connection) = client.connect(&url, &mut requests).await {
        client.connected(connection.handle()).await;
        if !client.run(&mut connection, &mut requests).await {
            break;
        }
        client.connection = None;
    }
    // A pending read of standard input would keep the runtime alive.
    std::process::exit(0);
}
