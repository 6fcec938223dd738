//! A minimal HTTP client: one connection per request.

use std::net::SocketAddr;

use tokio::io::AsyncBufReadExt;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::io::BufReader;
use tokio::net::TcpStream;

use crate::PATIENCE;

/// A response whose body is read chunk by chunk. Dropped, its connection breaks off.
pub(crate) struct Response {
    pub(crate) status: u16,
    head: String,
    stream: BufReader<TcpStream>,
    /// Bytes still to come of a body with a known length; `None` with chunks.
    length: Option<usize>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub(crate) async fn chunk(&mut self) -> Option<String> {
        tokio::time::timeout(PATIENCE, self.read_chunk()).await.expect("a chunk in time")
    }

    async fn read_chunk(&mut self) -> Option<String> {
        let (length, tail) = match self.length.take() {
            Some(length) => {
                self.length = Some(0);
                (length, 0)
            }
            None => {
                let mut line = String::new();
                self.stream.read_line(&mut line).await.unwrap();
                (usize::from_str_radix(line.trim(), 16).unwrap(), 2)
            }
        };
        let mut bytes = vec![0; length + tail];
        self.stream.read_exact(&mut bytes).await.unwrap();
        bytes.truncate(length);
        if length == 0 {
            self.length = Some(0);
            return None;
        }
        Some(String::from_utf8(bytes).unwrap())
    }

    pub(crate) async fn body(&mut self) -> String {
        let mut body = String::new();
        while let Some(chunk) = self.chunk().await {
            body.push_str(&chunk);
        }
        body
    }
}

/// Sends a request and reads the head of its answer.
pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> Response {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let text = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    let read = async { while stream.read_line(&mut head).await.unwrap() > 2 {} };
    tokio::time::timeout(PATIENCE, read).await.expect("an answer in time");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut response = Response { status, head, stream, length: None };
    if response.header("transfer-encoding").is_none() {
        let length = response.header("content-length").map_or(0, |length| length.parse().unwrap());
        response.length = Some(length);
    }
    response
}

pub(crate) async fn get(address: SocketAddr, path: &str) -> Response {
    request(address, "GET", path, "", "").await
}

pub(crate) async fn post(address: SocketAddr, path: &str, body: &str) -> Response {
    request(address, "POST", path, "", body).await
}

pub(crate) async fn answer(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, String) {
    let mut response = request(address, method, path, "", body).await;
    (response.status, response.body().await)
}

pub(crate) async fn poll(address: SocketAddr, path: &str) -> String {
    answer(address, "POST", path, "").await.1
}
