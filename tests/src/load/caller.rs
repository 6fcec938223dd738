//! The client whose calls make the changes.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::Error;
use super::drive::MARK;
use super::target::{Target, Transport};

/// How long the server may take to shake hands.
const PATIENCE: Duration = Duration::from_secs(10);

/// No connection of a swarm has this number.
const NUMBER: usize = 99_999_999;

/// A client that calls a method of a server, and does not wait for results.
#[derive(Debug)]
pub struct Caller {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    transport: Transport,
    method: String,
    params: String,
}

impl Caller {
    /// Connects as the target's other clients do. The parameters are JSON with [`MARK`] in it.
    pub(super) async fn connect(
        target: &Target,
        method: String,
        params: String,
    ) -> Result<Self, Error> {
        let url = format!("ws://{}{}", target.address, target.path(NUMBER));
        let (socket, _) = connect_async(url).await.map_err(failed)?;
        let mut caller = Self { socket, transport: target.transport, method, params };
        let connected = async {
            caller.send(r#"{"msg":"connect","version":"1","support":["1"]}"#.to_owned()).await?;
            while !caller.receive().await?.iter().any(|message| message["msg"] == "connected") {}
            Ok::<_, Error>(())
        };
        let late =
            |_| Error::Late("the server does not shake hands".to_owned(), PATIENCE.as_secs());
        tokio::time::timeout(PATIENCE, connected).await.map_err(late)??;
        Ok(caller)
    }

    pub(super) async fn call(&mut self, id: u64, mark: &str) -> Result<(), Error> {
        let (method, params) = (Value::from(&*self.method), self.params.replace(MARK, mark));
        self.send(format!(r#"{{"msg":"method","id":"{id}","method":{method},"params":{params}}}"#))
            .await
    }

    /// Reads results and answers pings until something goes wrong. Cancel-safe.
    pub(super) async fn fails(&mut self) -> Error {
        loop {
            if let Err(error) = self.receive().await {
                return error;
            }
        }
    }

    async fn send(&mut self, text: String) -> Result<(), Error> {
        let text = match self.transport {
            Transport::Raw => text,
            Transport::SockJs => Value::from([text]).to_string(),
        };
        self.socket.send(Message::text(text)).await.map_err(failed)
    }

    /// The messages of the next frame.
    async fn receive(&mut self) -> Result<Vec<Value>, Error> {
        let text = match self.socket.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => return Ok(Vec::new()),
            Some(Err(error)) => return Err(failed(error)),
            None => return Err(Error::Client("the server closed it".to_owned())),
        };
        let texts: Vec<String> = match self.transport {
            Transport::Raw => vec![text.to_string()],
            Transport::SockJs => match text.strip_prefix('a') {
                Some(array) => serde_json::from_str(array).map_err(failed)?,
                None => Vec::new(),
            },
        };
        let mut messages = Vec::new();
        for text in texts {
            let mut message: Value = serde_json::from_str(&text).map_err(failed)?;
            match message["msg"].as_str() {
                Some("ping") => {
                    message["msg"] = "pong".into();
                    self.send(message.to_string()).await?;
                }
                Some("failed" | "error") => return Err(Error::Client(text)),
                Some("result") if !message["error"].is_null() => return Err(Error::Client(text)),
                _ => messages.push(message),
            }
        }
        Ok(messages)
    }
}

fn failed(error: impl ToString) -> Error {
    Error::Client(error.to_string())
}
