//! What the sockets alone can do: a server with just enough DDP to be loaded, which handles a
//! change by writing the same bytes once to each socket, from two threads.
//!
//! It prints its address. The method `change` sends a message with its text to all subscribers;
//! `MESSAGES` of them in one write, if that is set. With `DATABASE_URL` a notification on the channel
//! `bare` does the same with its payload.

use std::future::poll_fn;
use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;

use futures::{SinkExt, StreamExt};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio_postgres::{AsyncMessage, NoTls};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, accept_async};

const THREADS: usize = 2;

/// As long as the messages of the other server.
const TEXT: &str = "The quick brown fox jumps over the lazy dog, while sphinx of black quartz judges \
    my vow at half past seven";

enum Order {
    Add(TcpStream),
    Write(Vec<u8>),
}

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Writes to its share of the sockets.
fn write(orders: &mpsc::Receiver<Order>) {
    let mut sockets = Vec::new();
    for order in orders {
        match order {
            Order::Add(socket) => sockets.push(socket),
            Order::Write(frame) => {
                sockets.retain_mut(|socket: &mut TcpStream| socket.write_all(&frame).is_ok());
            }
        }
    }
}

/// A frame of less than 64 KiB, as sent for each message.
fn frame(text: &str, messages: usize) -> Vec<u8> {
    let message = format!(
        r#"{{"msg":"changed","collection":"note","id":"note","fields":{{"text":"{text} {TEXT}"}}}}"#
    );
    let mut frame = vec![0x81, 126];
    frame.extend(u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes());
    frame.extend(message.as_bytes());
    frame.repeat(messages)
}

/// Has all threads write a frame.
fn write_all(text: &str, messages: usize, threads: &[mpsc::Sender<Order>]) -> Result<(), Error> {
    let frame = frame(text, messages);
    for thread in threads {
        thread.send(Order::Write(frame.clone()))?;
    }
    Ok(())
}

/// Writes a frame for each notification, until the database is gone.
async fn listen(
    url: String,
    threads: &[mpsc::Sender<Order>],
    messages: usize,
    begun: oneshot::Sender<()>,
) -> Result<(), Error> {
    let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await?;
    let mut listening = Box::pin(client.batch_execute("LISTEN bare"));
    let mut begun = Some(begun);
    loop {
        tokio::select! {
            done = &mut listening, if begun.is_some() => {
                done?;
                begun.take().map(|begun| begun.send(()));
            }
            message = poll_fn(|cx| connection.poll_message(cx)) => match message {
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    write_all(notification.payload(), messages, threads)?;
                }
                Some(message) => drop(message?),
                None => return Ok(()),
            },
        }
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    threads: &[mpsc::Sender<Order>],
    next: &Mutex<usize>,
    messages: usize,
) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let mut socket: WebSocketStream<_> = accept_async(stream).await?;
    while let Some(message) = socket.next().await {
        let message: Value = serde_json::from_str(message?.to_text()?)?;
        match message["msg"].as_str() {
            Some("connect") => {
                socket.send(Message::text(r#"{"msg":"connected","session":"x"}"#)).await?;
            }
            Some("sub") => {
                let ready = format!(r#"{{"msg":"ready","subs":[{}]}}"#, message["id"]);
                socket.send(Message::text(ready)).await?;
                let socket = socket.into_inner().into_std()?;
                socket.set_nonblocking(false)?;
                let mut next = next.lock();
                *next += 1;
                threads[*next % THREADS].send(Order::Add(socket))?;
                return Ok(());
            }
            Some("method") => {
                let text = message["params"][0].as_str().unwrap_or_default();
                write_all(text, messages, threads)?;
                let result = format!(r#"{{"msg":"result","id":{}}}"#, message["id"]);
                socket.send(Message::text(result)).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let messages = std::env::var("MESSAGES").map_or(Ok(1), |text| text.parse())?;
    let start = |_| {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || write(&receiver));
        sender
    };
    let threads: &'static [mpsc::Sender<Order>] =
        (0..THREADS).map(start).collect::<Vec<_>>().leak();
    let next: &'static Mutex<usize> = Box::leak(Box::new(Mutex::new(0)));
    if let Ok(url) = std::env::var("DATABASE_URL") {
        let (sender, begun) = oneshot::channel();
        tokio::spawn(async move {
            if let Err(error) = listen(url, threads, messages, sender).await {
                eprintln!("{error}");
            }
        });
        begun.await?;
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = serve(stream, threads, next, messages).await {
                eprintln!("{error}");
            }
        });
    }
}
