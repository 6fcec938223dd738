//! A connection while it speaks HTTP.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::ServeConfig;
use super::body::TimedBody;
use crate::arrivals::{Arrivals, Stage};
use crate::transport::open::OverTls;
use crate::transport::{Place, Socket, Stream};

/// How much is read of a request's head, which is what Node takes, or waits to be written.
const BUFFER_BYTES_MAX: usize = 16 * 1024;

/// How a server's life goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Serving,
    /// Requests under way are answered, and no others.
    Ending,
    Over,
}

/// What all connections share.
pub(super) struct Connections {
    router: Router,
    http: http1::Builder,
    config: ServeConfig,
    arrivals: Arc<Arrivals>,
}

impl Connections {
    pub(super) fn new(router: Router, config: ServeConfig, arrivals: Arc<Arrivals>) -> Self {
        let config = config.bounded();
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(config.idle_timeout)
            .max_buf_size(BUFFER_BYTES_MAX);
        Self { router: router.with_state(()), http, config, arrivals }
    }

    /// Serves a connection until it ends, or speaks something else than HTTP.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        place: Place,
        mut phase: watch::Receiver<Phase>,
    ) {
        let deadline = Instant::now() + self.config.header_timeout;
        let opened = tokio::select! {
            opened = timeout_at(deadline, self.open(stream)) => opened,
            // It has not asked for anything yet.
            _ = phase.changed() => return,
        };
        let stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%address, %error, "no TLS"),
            Err(_) => return,
        };
        let arrival = self.arrivals.arrive(Stage::Http);
        // On the heap, so that whoever has only connected takes little.
        let has_asked = Arc::new(AtomicBool::new(false));
        let timeout = self.config.response_timeout;
        let socket = Socket::new(stream, Some(place)).with_write_timeout(timeout);
        let spoken = Box::pin(self.speak(socket, address, Arc::clone(&has_asked), deadline, phase));
        arrival.run(spoken, || has_asked.load(Ordering::Relaxed)).await;
    }

    /// Speaks HTTP.
    async fn speak(
        &self,
        socket: Socket,
        address: SocketAddr,
        has_asked: Arc<AtomicBool>,
        deadline: Instant,
        mut phase: watch::Receiver<Phase>,
    ) {
        let socket = TokioIo::new(socket);
        let service = service_fn(self.service(address, Arc::clone(&has_asked)));
        let mut connection = pin!(self.http.serve_connection(socket, service).with_upgrades());
        let mut late = pin!(sleep_until(deadline));
        let mut is_watched = true;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::trace!(%address, %error, "an HTTP connection broke off");
                    }
                    return;
                }
                () = &mut late, if !has_asked.load(Ordering::Relaxed) => {
                    if !has_asked.load(Ordering::Relaxed) {
                        return;
                    }
                }
                changed = phase.changed(), if is_watched => {
                    // If nobody is left to change it, the listener is gone.
                    is_watched = changed.is_ok();
                    if *phase.borrow_and_update() == Phase::Over {
                        return;
                    }
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    /// Shakes hands, if there is TLS; otherwise waits for the first byte, because from then on hyper
    /// has a buffer for it.
    async fn open(&self, stream: TcpStream) -> io::Result<Stream> {
        // A failure only costs latency.
        let _ = stream.set_nodelay(true);
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.config.tls {
            // On the heap for as long as it lasts.
            let shaken = Box::pin(tls.acceptor().accept(stream));
            let stream = self.arrivals.arrive(Stage::Http).run(shaken, || false).await?;
            return Ok(Stream::Tls(Box::new(stream)));
        }
        // Not `readable`, which may be told before there is anything.
        stream.peek(&mut [0]).await?;
        Ok(Stream::Plain(stream))
    }

    /// Answers the requests of a connection.
    fn service(
        &self,
        address: SocketAddr,
        has_asked: Arc<AtomicBool>,
    ) -> impl Fn(
        Request<Incoming>,
    ) -> <TowerToHyperService<Router> as Service<Request<Body>>>::Future
    + use<> {
        let router = TowerToHyperService::new(self.router.clone());
        let body_timeout = self.config.body_timeout;
        #[cfg(feature = "tls")]
        let is_over_tls = self.config.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let is_over_tls = false;
        move |mut request| {
            has_asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(ConnectInfo(address));
            if is_over_tls {
                request.extensions_mut().insert(OverTls);
            }
            router.call(request.map(|body| {
                if body.is_end_stream() {
                    return Body::empty();
                }
                Body::new(TimedBody::new(body, body_timeout))
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::routing::get;
    use bytes::Bytes;
    use parking_lot::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpSocket};
    use tokio::sync::oneshot;
    use tokio::time::sleep;

    use super::super::places::Places;
    use super::*;

    #[tokio::test]
    async fn a_connection_takes_little_before_its_first_byte() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let stream = TcpStream::connect(address).await.expect("a connection");
        let config = ServeConfig::default();
        let places = Places::new(&config);
        let place = places.free(|| ()).await.take(address.ip()).expect("a place");
        let arrivals = Arrivals::new(config.arrivals_at_once);
        let connections = Arc::new(Connections::new(Router::new(), config, arrivals));
        let phase = watch::Sender::new(Phase::Serving);
        let deadline = Instant::now();
        let waiting = Arc::clone(&connections).serve(stream, address, place, phase.subscribe());
        let bytes = size_of_val(&waiting);
        assert!(bytes <= 1024, "{bytes} bytes while it waits");
        drop(waiting);
        let stream = TcpStream::connect(address).await.expect("a connection");
        let socket = Socket::new(Stream::Plain(stream), None);
        let phase = phase.subscribe();
        let bytes =
            size_of_val(&connections.speak(socket, address, Arc::default(), deadline, phase));
        assert!(bytes <= 4096, "{bytes} bytes while it speaks HTTP");
    }

    const LARGE: usize = 16 * 1024 * 1024;

    /// Tells when it is freed.
    struct Large(Vec<u8>, Option<oneshot::Sender<()>>);

    impl AsRef<[u8]> for Large {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Large {
        fn drop(&mut self) {
            let _ = self.1.take().map(|freed| freed.send(()));
        }
    }

    /// A client that has asked for a large response, and what tells when the response is freed.
    async fn large_response(buffer_bytes: u32) -> (TcpStream, oneshot::Receiver<()>) {
        let (freed, is_freed) = oneshot::channel();
        let freed = Mutex::new(Some(freed));
        let large = move || Bytes::from_owner(Large(vec![b'x'; LARGE], freed.lock().take()));
        let large = Arc::new(large);
        let router = Router::new().route("/", get(async move || large()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        tokio::spawn(crate::serve(listener, router).into_future());
        let client = TcpSocket::new_v4().expect("a socket");
        client.set_recv_buffer_size(buffer_bytes).expect("a small buffer");
        let mut client = client.connect(address).await.expect("a connection");
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.expect("a request");
        (client, is_freed)
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_nobody_reads_is_given_up() {
        let begun = Instant::now();
        let (mut client, is_freed) = large_response(4096).await;
        is_freed.await.expect("a response");
        let took = begun.elapsed();
        assert!(took >= ServeConfig::default().response_timeout, "{took:?}");
        let mut rest = Vec::new();
        // It may be reset.
        let _ = client.read_to_end(&mut rest).await;
        assert!(rest.len() < LARGE, "it is not whole");
    }

    #[tokio::test(start_paused = true)]
    async fn a_response_that_is_read_slowly_is_not() {
        let begun = Instant::now();
        let (mut client, _is_freed) = large_response(64 * 1024).await;
        let (mut read, mut buffer) = (0, vec![0; 64 * 1024]);
        loop {
            match client.read(&mut buffer).await.expect("it goes on") {
                0 => break,
                bytes => read += bytes,
            }
            sleep(Duration::from_secs(2)).await;
        }
        assert!(read > LARGE, "{read} bytes");
        assert!(begun.elapsed() > 10 * ServeConfig::default().response_timeout);
    }
}
