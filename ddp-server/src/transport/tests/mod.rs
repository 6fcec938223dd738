//! Transports as clients meet them: over TCP through the routes, and over pipes where a test
//! needs to fill a buffer or to stop the clock.

mod closing;
#[cfg(feature = "compression")]
mod compression;
mod cookies;
mod effort;
mod http;
mod large;
mod messages;
#[cfg(feature = "sockjs")]
pub(crate) mod polling;
mod pressure;
#[cfg(feature = "sockjs")]
mod sockjs;

use std::{future::poll_fn, io, net::SocketAddr, time::Duration};

use futures::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::Role},
};

use super::{
    AnyTransport, Framing, Transport, TransportConfig, TransportError, open::ConnectionInfo,
    routes::router, websocket::WebSocket,
};

/// Limits tests that would otherwise hang when they fail.
const PATIENCE: Duration = Duration::from_secs(20);

/// Each message unchanged in its own frame.
const RAW: Framing = Framing::raw(None);

type Client<Io = MaybeTlsStream<TcpStream>> = WebSocketStream<Io>;

async fn recv(transport: &mut impl Transport) -> Result<Option<String>, TransportError> {
    poll_fn(|cx| transport.poll_recv(cx)).await
}

async fn flush(transport: &mut impl Transport) -> io::Result<()> {
    poll_fn(|cx| transport.poll_flush(cx)).await
}

async fn closed(transport: &mut impl Transport) -> io::Result<()> {
    let closed = poll_fn(|cx| transport.poll_closed(cx));
    tokio::time::timeout(PATIENCE, closed).await?
}

/// Sends each message back, then ends the connection. Reports how reception ended.
async fn echo(transport: &mut impl Transport) -> Result<(), TransportError> {
    let received = loop {
        match recv(transport).await {
            Ok(Some(text)) => {
                let frames = transport.framing().encode([text.as_str()]);
                transport.queue(frames);
                flush(transport).await?;
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    closed(transport).await?;
    received
}

/// Serves the routes over TCP.
async fn serve<F, Fut>(config: TransportConfig, on_open: F) -> SocketAddr
where
    F: Fn(AnyTransport, ConnectionInfo) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let addr = listener.local_addr().expect("a bound address");
    let app = router(config, on_open).into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
    addr
}

/// An echo server and the ends of its connections.
async fn serve_echo(
    config: TransportConfig,
) -> (SocketAddr, mpsc::UnboundedReceiver<Result<(), TransportError>>) {
    let (ends, ended) = mpsc::unbounded_channel();
    let addr = serve(config, move |mut transport, _| {
        let ends = ends.clone();
        async move {
            let end = echo(&mut transport).await;
            // A test that does not check the ends has dropped the receiver.
            let _ = ends.send(end);
        }
    })
    .await;
    (addr, ended)
}

async fn connect(addr: SocketAddr, path: &str) -> Client {
    let url = format!("ws://{addr}{path}");
    connect_async(url).await.expect("a WebSocket").0
}

/// Both ends of a WebSocket over a pipe that holds this many bytes in each direction.
async fn pipe(bytes: usize) -> (WebSocket<DuplexStream>, Client<DuplexStream>) {
    let (server, client) = duplex(bytes);
    let limit = TransportConfig::default().message_bytes_max;
    let client = WebSocketStream::from_raw_socket(client, Role::Client, None).await;
    (WebSocket::new(server, Default::default(), limit), client)
}

async fn send<Io: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<Io>, message: Message) {
    client.send(message).await.expect("an open connection");
}

async fn next<Io: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<Io>) -> Message {
    let next = tokio::time::timeout(PATIENCE, client.next()).await;
    let message = next.expect("a message in time").expect("an open connection");
    message.expect("a sound frame")
}

async fn next_text<Io: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<Io>) -> String {
    match next(client).await {
        Message::Text(text) => text.to_string(),
        other => panic!("no text but {other:?}"),
    }
}

/// The code and reason of the next close frame.
async fn next_close<Io: AsyncRead + AsyncWrite + Unpin>(client: &mut Client<Io>) -> (u16, String) {
    match next(client).await {
        Message::Close(Some(frame)) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("no close frame but {other:?}"),
    }
}
