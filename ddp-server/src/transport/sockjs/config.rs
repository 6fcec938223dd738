//! What an application may choose.

use std::time::Duration;

/// The longest period that is taken at its word; beyond it lies the end of the clock.
const PERIOD_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// No period may be zero, or a task would never rest.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// The options of a SockJS endpoint. Defaults are those of Meteor's stream server where it has
/// any, else those of sockjs-node 0.3.24.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SockJsConfig {
    /// How often an idle client gets an `h` frame; 45 s as in Meteor, whose clients give up after
    /// 100 s.
    pub heartbeat: Duration,
    /// A polling or streaming session without a request to answer ends after so long; 60 s as in
    /// Meteor. For as long after its end, and after each request that was told of it, a session
    /// that has ended tells later requests so.
    pub disconnect_delay: Duration,
    /// A streaming response ends after this many bytes, because browsers keep all of it in memory,
    /// and the client begins another; 128 KiB.
    pub response_bytes_max: usize,
    /// How many polling and streaming sessions there may be; 10,000. Further clients are answered
    /// with 503. Ended sessions count until no request has come for the disconnect delay.
    pub sessions_max: usize,
    /// Where the page behind the iframe transports loads the client library from.
    pub sockjs_url: String,
    /// Whether clients may use WebSocket; true. Without, `websocket` is 404 below the prefix, and
    /// `/info` tells clients not to try, as with Meteor's `DISABLE_WEBSOCKETS`. The endpoint
    /// `/websocket` of a [`Server`](crate::Server), outside the prefix, stays.
    pub websocket: bool,
    /// Whether scripts from other origins are kept out, by leaving away the headers that let them
    /// in; false. Meteor's `DISABLE_SOCKJS_CORS`.
    pub disable_cors: bool,
    /// Whether clients get a cookie `JSESSIONID`, by which some load balancers send all requests
    /// of a session to the same server; false. Meteor's `USE_JSESSIONID`.
    pub jsessionid: bool,
}

impl Default for SockJsConfig {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(45),
            disconnect_delay: Duration::from_secs(60),
            response_bytes_max: 128 * 1024,
            sessions_max: 10_000,
            sockjs_url: "https://cdn.jsdelivr.net/npm/sockjs-client@1/dist/sockjs.min.js"
                .to_owned(),
            websocket: true,
            disable_cors: false,
            jsessionid: false,
        }
    }
}

impl SockJsConfig {
    /// Brings the periods into the range in which a clock can work.
    pub(crate) fn bounded(mut self) -> Self {
        for period in [&mut self.heartbeat, &mut self.disconnect_delay] {
            *period = (*period).clamp(PERIOD_MIN, PERIOD_MAX);
        }
        self
    }
}
