//! The options that an application may set.

use std::time::Duration;

/// Longer periods are shortened to this, because the clock cannot represent everything.
const PERIOD_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// No period may be zero, or a task would never rest.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// The options of a SockJS endpoint. Defaults are Meteor's if it has one, otherwise those of
/// sockjs-node 0.3.24.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SockJsConfig {
    /// How often an idle client gets an `h` frame; 45 s as in Meteor, whose clients give up after
    /// 100 s.
    pub heartbeat: Duration,
    /// A polling or streaming session ends if no request has been receiving for this long; 60 s as
    /// in Meteor. An ended session is remembered just as long after its end, and after each later
    /// request, which is answered that it has ended.
    pub disconnect_delay: Duration,
    /// The same for a session whose client has not sent anything yet; 10 s.
    pub silent_delay: Duration,
    /// A streaming response ends after this many bytes, because browsers keep all of it in memory;
    /// the client then makes another request; 128 KiB.
    pub response_bytes_max: usize,
    /// How many polling and streaming sessions there may be; 10,000. Further clients get 503. Ended
    /// sessions count until no request has come for the disconnect delay.
    pub sessions_max: usize,
    /// How many of them one client's address may have; three quarters of all, unless set. Further
    /// ones get 429.
    pub sessions_per_address_max: Option<usize>,
    /// Where the page of the iframe transports loads the client library from.
    pub sockjs_url: String,
    /// Whether clients may use WebSocket; true. If not, `websocket` below the prefix is 404, and
    /// `/info` tells clients not to try, as with Meteor's `DISABLE_WEBSOCKETS`. The endpoint
    /// `/websocket` of a [`Server`](crate::Server), outside the prefix, stays.
    pub websocket: bool,
    /// Whether scripts from other origins are kept out, by omitting the headers that let them in;
    /// false. Meteor's `DISABLE_SOCKJS_CORS`.
    pub disable_cors: bool,
    /// Whether clients get a cookie `JSESSIONID`, which some load balancers use to send all
    /// requests of a session to the same server; false. Meteor's `USE_JSESSIONID`.
    pub jsessionid: bool,
}

impl Default for SockJsConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(45),
            disconnect_delay: Duration::from_secs(60),
            silent_delay: Duration::from_secs(10),
            response_bytes_max: 128 * 1024,
            sessions_max: 10_000,
            sessions_per_address_max: None,
            sockjs_url: "https://cdn.jsdelivr.net/npm/sockjs-client@1/dist/sockjs.min.js"
                .to_owned(),
            websocket: true,
            disable_cors: false,
            jsessionid: false,
        }
    }
}

impl SockJsConfig {
    /// Limits the periods to what the clock can handle.
    pub(crate) fn bounded(mut self) -> Self {
        let periods = [&mut self.heartbeat, &mut self.silent_delay, &mut self.disconnect_delay];
        for period in periods {
            *period = (*period).clamp(PERIOD_MIN, PERIOD_MAX);
        }
        self
    }
}
