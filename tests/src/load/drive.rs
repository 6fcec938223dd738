//! What makes the messages that clients are sent.

use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_postgres::NoTls;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::target::{Target, Transport};
use super::{Error, Marks, Report, Swarm};

/// What stands in a statement or in parameters for the mark of the change.
pub const MARK: &str = "$mark";
/// What stands for the number of the change within its transaction, from 0.
pub const NUMBER: &str = "$number";

/// Makes changes.
#[derive(Debug)]
pub enum Driver {
    /// By a connection to the database: `burst` statements in each transaction.
    Sql {
        /// The connection.
        client: Box<tokio_postgres::Client>,
        /// With [`MARK`] and [`NUMBER`] in it.
        statement: String,
        /// How many of them.
        burst: usize,
    },
    /// By a connection to the server that calls a method for each change, and waits for its result.
    Method {
        /// The connection.
        socket: Box<WebSocketStream<MaybeTlsStream<TcpStream>>>,
        /// Its name.
        method: String,
        /// As JSON, with [`MARK`] in it.
        params: String,
        /// How many messages each call makes for a client.
        burst: usize,
    },
}

impl Driver {
    /// Connects to a database.
    ///
    /// # Errors
    /// If it cannot be reached.
    pub async fn sql(url: &str, statement: String, burst: usize) -> Result<Self, Error> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        // What goes wrong with it fails the next statement.
        tokio::spawn(connection);
        Ok(Self::Sql { client: Box::new(client), statement, burst })
    }

    /// Connects to a server.
    ///
    /// # Errors
    /// If it cannot be reached, or speaks no raw DDP: then changes can be made by SQL only.
    pub async fn method(
        target: &Target,
        method: String,
        params: String,
        burst: usize,
    ) -> Result<Self, Error> {
        let path = match target.transport {
            Transport::Raw => target.path(0),
            Transport::SockJs => "/websocket".to_owned(),
        };
        let url = format!("ws://{}{path}", target.address);
        let connected = connect_async(url).await;
        let (socket, _) = connected.map_err(|error| Error::Client(error.to_string()))?;
        let mut driver = Self::Method { socket: Box::new(socket), method, params, burst };
        driver.send(r#"{"msg":"connect","version":"1","support":["1"]}"#.to_owned()).await?;
        driver.until("connected").await?;
        Ok(driver)
    }

    /// How many messages one step makes for each client.
    #[must_use]
    pub fn burst(&self) -> usize {
        match self {
            Self::Sql { burst, .. } | Self::Method { burst, .. } => *burst,
        }
    }

    /// Makes the changes of a step that was due at this time, with marks from `first` on.
    ///
    /// # Errors
    /// If they could not be made.
    pub async fn step(&mut self, marks: &Marks, first: u64, due: Instant) -> Result<(), Error> {
        match self {
            Self::Sql { client, statement, burst } => {
                let mut sql = String::new();
                for (number, mark) in (first..).take(*burst).enumerate() {
                    let filled = statement.replace(MARK, &Marks::text(mark));
                    sql += &filled.replace(NUMBER, &number.to_string());
                    sql.push(';');
                    marks.made(mark, due);
                }
                // Without a semicolon between two of them, it is a transaction all the same.
                Ok(client.batch_execute(&sql).await?)
            }
            Self::Method { method, params, .. } => {
                let params = params.replace(MARK, &Marks::text(first));
                let method = Value::from(method.as_str());
                let call = format!(
                    r#"{{"msg":"method","id":"{first}","method":{method},"params":{params}}}"#
                );
                marks.made(first, due);
                self.send(call).await?;
                self.until("result").await
            }
        }
    }

    async fn send(&mut self, text: String) -> Result<(), Error> {
        let Self::Method { socket, .. } = self else { return Ok(()) };
        let sent = socket.send(Message::text(text)).await;
        sent.map_err(|error| Error::Client(error.to_string()))
    }

    /// Reads until a message of this kind, and answers pings.
    async fn until(&mut self, kind: &str) -> Result<(), Error> {
        loop {
            let Self::Method { socket, .. } = self else { return Ok(()) };
            let text = match socket.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Err(Error::Client(error.to_string())),
                None => return Err(Error::Client("the server closed it".to_owned())),
            };
            let message: Value = serde_json::from_str(&text).unwrap_or_default();
            match message["msg"].as_str() {
                Some("ping") => {
                    let mut pong = message.clone();
                    pong["msg"] = "pong".into();
                    self.send(pong.to_string()).await?;
                }
                Some("failed" | "error") => return Err(Error::Client(text.to_string())),
                Some("result") if !message["error"].is_null() => {
                    return Err(Error::Client(text.to_string()));
                }
                Some(found) if found == kind => return Ok(()),
                _ => {}
            }
        }
    }
}

/// When the next step is due.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as it goes: when so many steps less one are on their way to clients at most.
    InFlight(u32),
    /// So many times a second, whether clients keep up or not.
    Rate(f64),
}

/// Makes changes for so long. What the swarm was sent meanwhile, and how late, is added to the report.
///
/// # Errors
/// If a change cannot be made, a connection fails or, with [`Pace::InFlight`], a client lacks a
/// message.
pub async fn run(
    swarm: &Swarm,
    driver: &mut Driver,
    marks: &Marks,
    pace: Pace,
    time: Duration,
    report: &mut Report,
    mut progress: impl FnMut(Duration),
) -> Result<(), Error> {
    let mut mark = report.changes + 1;
    let (messages, bytes) = (swarm.messages(), swarm.bytes());
    drop(swarm.take_latency());
    let clients = swarm.ready() as u64;
    let burst = driver.burst() as u64;
    let began = Instant::now();
    let mut steps = 0_u32;
    while began.elapsed() < time {
        let due = match pace {
            Pace::InFlight(_) => Instant::now(),
            Pace::Rate(rate) => began + Duration::from_secs_f64(f64::from(steps) / rate),
        };
        // What a stall of the driver or of the server delays counts as late from here on.
        tokio::time::sleep_until(due.into()).await;
        driver.step(marks, mark, due).await?;
        (mark, steps) = (mark + burst, steps + 1);
        match pace {
            Pace::InFlight(window) => {
                let done = u64::from(steps.saturating_sub(window.saturating_sub(1)));
                swarm.wait_for_messages(messages + done * clients * burst).await?;
            }
            Pace::Rate(_) => swarm.check()?,
        }
        progress(began.elapsed());
    }
    if matches!(pace, Pace::InFlight(_)) {
        swarm.wait_for_messages(messages + u64::from(steps) * clients * burst).await?;
    }
    let elapsed = began.elapsed();
    if matches!(pace, Pace::Rate(_)) {
        // The last ones are on their way.
        settle(swarm).await?;
    }
    report.add(
        mark - 1,
        steps.into(),
        swarm.messages() - messages,
        swarm.bytes() - bytes,
        elapsed,
        &swarm.take_latency(),
    );
    Ok(())
}

/// Lets every connection call its method for so long. The answer is calls for each second.
///
/// # Errors
/// If a connection fails.
pub async fn calls(swarm: &Swarm, time: Duration) -> Result<f64, Error> {
    let (began, before) = (Instant::now(), swarm.results());
    swarm.start_calls();
    tokio::time::sleep(time).await;
    let (elapsed, results) = (began.elapsed(), swarm.results() - before);
    swarm.stop_calls();
    swarm.check()?;
    Ok(results as f64 / elapsed.as_secs_f64())
}

/// Waits until nothing has come for a while.
async fn settle(swarm: &Swarm) -> Result<(), Error> {
    let mut before = swarm.messages();
    loop {
        tokio::time::sleep(Duration::from_millis(300)).await;
        swarm.check()?;
        if std::mem::replace(&mut before, swarm.messages()) == swarm.messages() {
            return Ok(());
        }
    }
}
