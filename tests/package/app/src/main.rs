//! An application of the published packages: serves a collection, and subscribes to it as a client.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use ddp_postgres::Table;
use ddp_server::{Collection, MemoryCollection, Server, State};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(serde::Serialize, serde::Deserialize)]
struct Task {
    text: String,
}
const TASKS: Collection<Task> = Collection::new("tasks");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // It is enough here that PostgreSQL is linked.
    let _table = Table::new("tasks").columns(["text"]).camel_case();

    let tasks = MemoryCollection::new(&TASKS);
    tasks.insert(&Task { text: "Water the plants".to_owned() }).expect("a document of text");
    let server = Server::builder()
        .publish("tasks", async |State(tasks): State<MemoryCollection<Task>>| tasks.find())
        .with_state(tasks);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { server.serve(listener).await });

    let plain =
        request(address, "GET /websocket HTTP/1.1\r\nHost: x\r\n\r\n", &[], "request").await?;
    assert!(plain.starts_with("HTTP/1.1 400 "), "{plain}");

    let handshake = "GET /websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let messages = [
        r#"{"msg":"connect","version":"1","support":["1"]}"#,
        r#"{"msg":"sub","id":"s","name":"tasks"}"#,
    ];
    let answer = request(address, handshake, &messages, r#"{"msg":"ready","subs":["s"]}"#).await?;
    assert!(answer.contains(r#""fields":{"text":"Water the plants"}"#), "{answer}");
    println!("an application of the packages serves a subscription");
    Ok(())
}

/// Sends a request, followed by messages in WebSocket frames. Returns everything received up to
/// `end`.
async fn request(
    address: SocketAddr,
    head: &str,
    messages: &[&str],
    end: &str,
) -> Result<String, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(head.as_bytes()).await?;
    for message in messages {
        // A final text frame with a mask of zeros.
        let length = u8::try_from(message.len()).ok().filter(|length| *length < 126);
        let length = length.ok_or("a message of at most 125 bytes")?;
        stream.write_all(&[0x81, 0x80 | length, 0, 0, 0, 0]).await?;
        stream.write_all(message.as_bytes()).await?;
    }
    let mut answer = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&answer).contains(end) {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
            }
        }
        Ok(())
    };
    let read = tokio::time::timeout(Duration::from_secs(20), reading).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match read {
        Ok(Ok(())) => Ok(answer),
        _ => Err(format!("{end:?} did not come, but {answer:?}").into()),
    }
}
