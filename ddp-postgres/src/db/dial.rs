//! Making connections. Each host has one deadline for all that takes, since whoever accepts a
//! connection may never say a word: a proxy whose server is away, a pooler that is paused.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use deadpool_postgres::Connect;
use futures::future::BoxFuture;
use futures::{FutureExt, select_biased};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::lookup_host;
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode};
use tokio_postgres::{Client, Config, Connection, NoTls, Socket};

use super::tls::{Tls, TlsStream};

pub(crate) const PORT: u16 = 5432;

/// How long it may take unless the connection string says something else.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Connects to the first host that is to be had, and begins the session with this SQL, within
/// `connect_timeout` for each of the hosts' addresses. What is heard meanwhile is dropped.
///
/// The caller has to poll the connection.
pub(crate) async fn dial(
    config: &Config,
    tls: &Tls,
    sql: &str,
) -> Result<(Client, Connection<Socket, TlsStream>), tokio_postgres::Error> {
    first(config, |place| dial_one(place, tls, sql)).await
}

/// The first place for which this does not fail, within `connect_timeout` for each.
///
/// # Errors
/// That of the last place.
pub(crate) async fn first<T, E: From<tokio_postgres::Error>, F: Future<Output = Result<T, E>>>(
    config: &Config,
    connect: impl Fn(Config) -> F,
) -> Result<T, E> {
    let mut places = Places::new(config);
    loop {
        let place = places.next().await;
        match within(&place, Box::pin(connect(place.clone()))).await {
            Err(_) if !places.is_last() => {}
            outcome => return outcome,
        }
    }
}

async fn dial_one(
    place: Config,
    tls: &Tls,
    sql: &str,
) -> Result<(Client, Connection<Socket, TlsStream>), tokio_postgres::Error> {
    let (client, mut connection) = place.connect(tls.clone()).await?;
    {
        let mut begun = pin!(client.batch_execute(sql).fuse());
        loop {
            let message = std::future::poll_fn(|cx| connection.poll_message(cx)).fuse();
            let mut message = pin!(message);
            select_biased! {
                outcome = begun => break outcome?,
                message = message => match message {
                    Some(message) => drop(message?),
                    // Then the statement fails as well, and says so better.
                    None => break begun.await?,
                },
            }
        }
    }
    Ok((client, connection))
}

/// Waits for something at one place no longer than its `connect_timeout`.
///
/// # Errors
/// Those of what is waited for, or one that says what took too long and what may be done.
async fn within<T, E: From<tokio_postgres::Error>>(
    place: &Config,
    connecting: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let limit = place.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
    match tokio::time::timeout(limit, connecting).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let text = format!(
                "{} was not ready for statements within {limit:?}: if it is a proxy, a pooler or a tunnel, is the \
                 server behind it there? If it only takes long, raise connect_timeout in the connection string",
                names(place).join(", ")
            );
            Err(failed(io::Error::new(io::ErrorKind::TimedOut, text)).await.into())
        }
    }
}

/// The hosts with their ports, for error texts.
pub(super) fn names(config: &Config) -> Vec<String> {
    let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
    let name = |index| {
        let port = port(config, index);
        match (hosts.get(index), addresses.get(index)) {
            (Some(Host::Unix(folder)), _) => format!("{}/.s.PGSQL.{port}", folder.display()),
            (Some(Host::Tcp(name)), _) => format!("{name}:{port}"),
            (None, Some(address)) => format!("{address}:{port}"),
            (None, None) => format!("port {port}"),
        }
    };
    (0..hosts.len().max(addresses.len())).map(name).collect()
}

fn port(config: &Config, index: usize) -> u16 {
    let ports = config.get_ports();
    ports.get(index).or(ports.first()).copied().unwrap_or(PORT)
}

/// The places at which a server may be: each of the hosts, and each of their addresses.
struct Places<'c> {
    config: &'c Config,
    hosts: VecDeque<usize>,
    /// Of the host that is being tried.
    addresses: VecDeque<Config>,
}

impl<'c> Places<'c> {
    fn new(config: &'c Config) -> Self {
        let count = config.get_hosts().len().max(config.get_hostaddrs().len());
        let mut hosts: VecDeque<usize> = (0..count).collect();
        if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            shuffle(hosts.make_contiguous());
        }
        Self { config, hosts, addresses: VecDeque::new() }
    }

    /// How to connect to the next of them: one host, at one address if it is known. Without any
    /// it is the whole configuration, which says what is wrong with it.
    async fn next(&mut self) -> Config {
        if self.addresses.is_empty()
            && let Some(index) = self.hosts.pop_front()
        {
            self.addresses = addresses(self.config, index).await;
        }
        self.addresses.pop_front().unwrap_or_else(|| self.config.clone())
    }

    /// Whether there are no more.
    fn is_last(&self) -> bool {
        self.hosts.is_empty() && self.addresses.is_empty()
    }
}

/// Each address of a host, or the host alone if it has none, or nobody says in time.
async fn addresses(config: &Config, index: usize) -> VecDeque<Config> {
    let port = port(config, index);
    let mut place = without_hosts(config);
    place.port(port);
    let host = config.get_hosts().get(index);
    match host {
        Some(Host::Tcp(name)) => drop(place.host(name)),
        Some(Host::Unix(folder)) => drop(place.host_path(folder)),
        None => {}
    }
    if let Some(address) = config.get_hostaddrs().get(index) {
        place.hostaddr(*address);
        return [place].into();
    }
    let Some(Host::Tcp(name)) = host else { return [place].into() };
    let limit = place.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT);
    let found = tokio::time::timeout(limit, lookup_host((name.as_str(), port))).await;
    let mut found: Vec<_> = match found {
        Ok(Ok(found)) => found.map(|socket| socket.ip()).collect(),
        _ => Vec::new(),
    };
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        shuffle(&mut found);
    }
    if found.is_empty() {
        return [place].into();
    }
    let at = |address| {
        let mut place = place.clone();
        place.hostaddr(address);
        place
    };
    found.into_iter().map(at).collect()
}

/// Everything but where the server is.
fn without_hosts(config: &Config) -> Config {
    let mut other = Config::new();
    if let Some(user) = config.get_user() {
        other.user(user);
    }
    if let Some(password) = config.get_password() {
        other.password(password);
    }
    if let Some(name) = config.get_dbname() {
        other.dbname(name);
    }
    if let Some(options) = config.get_options() {
        other.options(options);
    }
    if let Some(name) = config.get_application_name() {
        other.application_name(name);
    }
    other.ssl_mode(config.get_ssl_mode());
    other.ssl_negotiation(config.get_ssl_negotiation());
    other.connect_timeout(config.get_connect_timeout().copied().unwrap_or(CONNECT_TIMEOUT));
    if let Some(timeout) = config.get_tcp_user_timeout() {
        other.tcp_user_timeout(*timeout);
    }
    other.keepalives(config.get_keepalives());
    other.keepalives_idle(config.get_keepalives_idle());
    if let Some(interval) = config.get_keepalives_interval() {
        other.keepalives_interval(interval);
    }
    if let Some(retries) = config.get_keepalives_retries() {
        other.keepalives_retries(retries);
    }
    other.target_session_attrs(config.get_target_session_attrs());
    other.channel_binding(config.get_channel_binding());
    other.load_balance_hosts(config.get_load_balance_hosts());
    other
}

/// Puts hosts into any order.
fn shuffle<T>(items: &mut [T]) {
    for end in (1..items.len()).rev() {
        // An id is as random as anything here, and evenly enough spread over a few hosts.
        let sum: usize = ddp_server::random::id().bytes().map(usize::from).sum();
        items.swap(end, sum % (end + 1));
    }
}

/// An error of `tokio_postgres`, which only it can make: that of a socket which fails so.
async fn failed(error: io::Error) -> tokio_postgres::Error {
    let mut config = Config::new();
    config.user("nobody").ssl_mode(SslMode::Disable);
    let connected = config.connect_raw(Failing(Some(error)), NoTls).await;
    connected.err().expect("a socket that takes nothing makes no connection")
}

/// A socket that fails.
struct Failing(Option<io::Error>);

impl Failing {
    fn fail<T>(&mut self) -> Poll<io::Result<T>> {
        Poll::Ready(Err(self.0.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())))
    }
}

impl AsyncRead for Failing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.fail()
    }
}

impl AsyncWrite for Failing {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.fail()
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail()
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Makes the connections of a pool, whose sessions begin with this SQL.
pub(super) struct Dialler {
    pub(super) tls: Tls,
    pub(super) sql: String,
}

impl Connect for Dialler {
    fn connect(
        &self,
        config: &Config,
    ) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let config = config.clone();
        async move {
            let (client, connection) = dial(&config, &self.tls, &self.sql).await?;
            let running = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(%error, "a connection to the database was lost");
                }
            });
            Ok((client, running))
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_host_and_address_is_a_place_of_its_own_with_all_that_was_set() {
        let text = "host=127.0.0.1,db.invalid,/run/pg hostaddr=127.0.0.1,10.0.0.2,10.0.0.3 port=1,2,3 user=u \
            password=p dbname=d options=o application_name=a sslmode=require sslnegotiation=direct \
            connect_timeout=3 tcp_user_timeout=4 keepalives=0 keepalives_idle=5 keepalives_interval=6 \
            keepalives_retries=7 target_session_attrs=read-write channel_binding=require \
            load_balance_hosts=disable";
        let config: Config = text.parse().unwrap();
        let mut places = Places::new(&config);
        for (host, address, port) in [
            ("127.0.0.1", "127.0.0.1", "1"),
            ("db.invalid", "10.0.0.2", "2"),
            ("/run/pg", "10.0.0.3", "3"),
        ] {
            assert!(!places.is_last());
            let place = places.next().await;
            let alone = text
                .replace("127.0.0.1,db.invalid,/run/pg", host)
                .replace("127.0.0.1,10.0.0.2,10.0.0.3", address)
                .replace("1,2,3", port);
            assert_eq!(place, alone.parse().unwrap(), "{host}");
        }
        assert!(places.is_last());
    }

    #[tokio::test]
    async fn a_place_that_is_late_is_told_by_its_name() {
        let config: Config =
            "host=a.example port=7 user=u password=geheim connect_timeout=1".parse().unwrap();
        let never = std::future::pending::<Result<(), tokio_postgres::Error>>();
        let error = within(&config, never).await.unwrap_err();
        let text = crate::causes::of_database(&error);
        assert!(text.contains("a.example:7 was not ready for statements within 1s"), "{text}");
        assert!(!text.contains("geheim"), "{text}");
    }
}
