//! The loop that accepts connections.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::ServeConfig;
use super::connection::{Connections, Phase};
use super::places::Places;
use crate::arrivals::Arrivals;
use crate::log::{Count, Log};
use crate::transport::{Place, keep_alive};

/// How long to wait when the system has nothing left for another connection.
const RETRY: Duration = Duration::from_millis(100);

/// After so many connections everything else has its turn before more are accepted.
const IN_A_ROW: usize = 16;

/// Trouble that comes again within this time is the same.
const SAME_TROUBLE: Duration = Duration::from_secs(10);

/// When serving ends.
pub(super) struct End {
    /// Then nothing more is accepted.
    pub(super) stop: BoxFuture<'static, ()>,
    /// Then nothing but requests under way is waited for.
    pub(super) drained: BoxFuture<'static, ()>,
    /// Then these are not waited for either.
    pub(super) grace: BoxFuture<'static, ()>,
}

/// Serves until it is to stop and connections have ended or been given up.
pub(super) async fn run(
    listener: TcpListener,
    router: Router,
    config: ServeConfig,
    arrivals: Arc<Arrivals>,
    end: End,
) -> io::Result<()> {
    let End { stop, drained, grace } = end;
    listener.local_addr()?;
    prepare(&listener, config.backlog);
    let places = Places::new(&config);
    let connections = Arc::new(Connections::new(router, config, arrivals));
    let (phase, watching) = watch::channel(Phase::Serving);
    let open = |stream, address, place| {
        let connections = Arc::clone(&connections);
        tokio::spawn(connections.serve(stream, address, place, watching.clone()));
    };
    tokio::select! {
        never = accept(&listener, &places, open) => match never {},
        () = stop => {}
    }
    drop((listener, watching));
    phase.send_replace(Phase::Ending);
    drained.await;
    tokio::select! {
        () = phase.closed() => {}
        () = grace => {}
    }
    phase.send_replace(Phase::Over);
    phase.closed().await;
    Ok(())
}

/// Sets what the system does for a listener and for the connections that it accepts.
fn prepare(listener: &TcpListener, backlog: u32) {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    if let Err(error) = socket2::SockRef::from(listener).listen(backlog) {
        tracing::debug!(%error, backlog, "the backlog stays as it was");
    }
    // What it accepts has the same.
    keep_alive(listener);
}

/// Accepts one connection after the other, each when there is a place for it. Until then they wait
/// in the backlog.
async fn accept(
    listener: &TcpListener,
    places: &Places,
    mut open: impl FnMut(TcpStream, SocketAddr, Place),
) -> Infallible {
    let (log, mut full, mut refused) = (Log::default(), Trouble::default(), Trouble::default());
    let (connections_max, per_address_max) = places.max();
    let mut in_a_row = 0;
    loop {
        if in_a_row == IN_A_ROW {
            in_a_row = 0;
            yield_now().await;
        }
        in_a_row += 1;
        let free = places.free(|| {
            if full.is_new() {
                tracing::warn!(
                    connections_max,
                    "no more connections are accepted until one ends; the limits are \
                     `connections_max` and the process's open files (ulimit -n)"
                );
            }
        });
        let free = free.await;
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                if refused.is_new() {
                    tracing::warn!(%error, "the system has no more connections; trying again");
                }
                sleep(RETRY).await;
                continue;
            }
        };
        let ip = address.ip().to_canonical();
        match free.take(ip) {
            Some(place) => open(stream, address, place),
            None => tell_of_share(&log, &ip.to_string(), per_address_max),
        }
    }
}

fn tell_of_share(log: &Log, address: &str, connections_per_address_max: usize) {
    // One kind for all addresses: somebody may have many.
    let count: Count = |_, address, count| {
        tracing::warn!(
            address,
            count,
            "connections were closed: their addresses have their shares"
        );
    };
    if log.admits("an address has its share", "", address, count) {
        tracing::warn!(
            address,
            connections_per_address_max,
            "a connection was closed: the address has its share; if it is a proxy, set \
             `forwarded_count`"
        );
    }
}

/// Errors of a client that has left before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Something that may come again and again, and is told once.
#[derive(Default)]
struct Trouble(Option<Instant>);

impl Trouble {
    fn is_new(&mut self) -> bool {
        let last = self.0.replace(Instant::now());
        last.is_none_or(|last| last.elapsed() > SAME_TROUBLE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listeners_have_keepalive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        prepare(&listener, ServeConfig::default().backlog);
        assert!(socket2::SockRef::from(&listener).keepalive().expect("an option"));
    }

    #[tokio::test(start_paused = true)]
    async fn trouble_that_lasts_is_told_once() {
        let mut trouble = Trouble::default();
        assert!(trouble.is_new());
        for _ in 0..1000 {
            sleep(RETRY).await;
            assert!(!trouble.is_new());
        }
        sleep(2 * SAME_TROUBLE).await;
        assert!(trouble.is_new());
    }
}
