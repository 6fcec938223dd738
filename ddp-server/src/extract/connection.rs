//! The client's connection.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::connection::mailbox::Mailbox;
use crate::handler::callbacks::{Callbacks, guard};
use crate::transport::Headers;
use crate::transport::cookies::Cookies;
use crate::transport::open::ConnectionInfo;

/// A client's connection, Meteor's `this.connection`: handlers take it as an argument, and
/// [`on_connection`](crate::ServerBuilder::on_connection) is given it. Cheap to clone; it may be
/// kept and used anywhere.
///
/// A method that the server itself called has no connection: there `Option<Connection>` is `None`,
/// and `Connection` is an error.
///
/// ```
/// use ddp_server::Server;
///
/// let server = Server::builder::<()>()
///     .on_connection(|connection| {
///         println!("{} from {:?}", connection.id(), connection.client_address());
///         let id = connection.id().to_owned();
///         connection.on_close(move || println!("{id} is gone"));
///     })
///     .build();
/// # let _ = server;
/// ```
#[derive(Clone)]
pub struct Connection(Arc<Inner>);

struct Inner {
    id: Arc<str>,
    remote_addr: Option<SocketAddr>,
    client_address: Option<Box<str>>,
    is_secure: bool,
    headers: Headers,
    cookies: Cookies,
    cookies_are_forgotten: AtomicBool,
    mailbox: Arc<Mailbox>,
    on_close: Callbacks,
}

impl Connection {
    pub(crate) fn new(id: &str, info: ConnectionInfo, mailbox: Arc<Mailbox>) -> Self {
        let ConnectionInfo { remote_addr, client_address, is_secure, headers, cookies, .. } = info;
        Self(Arc::new(Inner {
            id: id.into(),
            client_address,
            remote_addr,
            is_secure,
            headers,
            cookies,
            cookies_are_forgotten: AtomicBool::new(false),
            mailbox,
            on_close: Callbacks::default(),
        }))
    }

    /// The session's id, 17 characters.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The address of the other end of the socket, perhaps a proxy's, if the server was given it.
    #[must_use]
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.0.remote_addr
    }

    /// The client's IP address, Meteor's `clientAddress`: that of the other end of the socket or,
    /// behind as many proxies as
    /// [`ServerConfig::forwarded_count`](crate::ServerConfig::forwarded_count) says, what the first
    /// of them put into `x-forwarded-for`. It is unknown if the header is missing or has fewer
    /// addresses.
    #[must_use]
    pub fn client_address(&self) -> Option<&str> {
        self.0.client_address.as_deref()
    }

    /// Whether the client's connection has TLS, so that nobody between can listen: that of this
    /// server's own listener or, behind as many proxies as
    /// [`ServerConfig::forwarded_count`](crate::ServerConfig::forwarded_count) says, what the first of
    /// them put into `x-forwarded-proto`.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.0.is_secure
    }

    /// Whether the client is on this machine, by its [address](Self::client_address). It is not if
    /// `x-forwarded-for` has another address: a proxy on this machine that
    /// [`ServerConfig::forwarded_count`](crate::ServerConfig::forwarded_count) does not tell of speaks
    /// for clients elsewhere.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let is_loopback = |address: &str| {
            address
                .trim()
                .parse::<IpAddr>()
                .is_ok_and(|address| address.to_canonical().is_loopback())
        };
        let mut forwarded =
            self.headers().get("x-forwarded-for").into_iter().flat_map(|all| all.split(','));
        self.client_address().is_some_and(is_loopback) && forwarded.all(is_loopback)
    }

    /// Headers of the request that opened the connection, Meteor's `httpHeaders`: those that SockJS
    /// lets an application see. No cookies are among them; see [`cookie`](Self::cookie).
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.0.headers
    }

    /// A cookie of the request that opened the connection, if
    /// [`keep_cookie`](crate::ServerBuilder::keep_cookie) names it and a page that is allowed to connect
    /// sent it. The method `logout` of [`Accounts`](crate::accounts::Accounts) forgets all of them: nobody
    /// is to be logged in again by what was sent before.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let is_forgotten = self.0.cookies_are_forgotten.load(Ordering::Relaxed);
        self.0.cookies.get(name).filter(|_| !is_forgotten)
    }

    /// The other program's session may have ended together with ours.
    #[cfg(feature = "accounts")]
    pub(crate) fn forget_cookies(&self) {
        self.0.cookies_are_forgotten.store(true, Ordering::Relaxed);
    }

    /// Disconnects the client once everything queued for it has been sent. It may connect again.
    pub fn close(&self) {
        self.0.mailbox.request_end();
    }

    /// Calls a function when the connection has ended, after its subscriptions have been stopped; if
    /// it has ended already, at once. It runs on the connection's task and must not block.
    pub fn on_close(&self, callback: impl FnOnce() + Send + 'static) {
        self.0.on_close.add(callback);
    }

    /// Disconnects the client once its methods have ended; it can begin no others.
    pub(crate) fn drain(&self) {
        self.0.mailbox.drain();
    }

    pub(crate) fn shared_id(&self) -> &Arc<str> {
        &self.0.id
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.0.mailbox
    }

    /// The connection has ended.
    pub(crate) fn closed(&self) {
        guard("closing", || self.0.mailbox.close());
        self.0.on_close.call("on_close");
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("id", &self.0.id)
            .field("client_address", &self.0.client_address)
            .finish_non_exhaustive()
    }
}
