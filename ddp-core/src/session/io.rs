//! A session's input and output.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::ejson::RawParams;
use crate::error::DdpError;
use crate::id::{CallKey, LiveQueryKey, SubscriptionKey};
use crate::merge_box::{Direct, Outgoing, Placement, Source};
use crate::snapshot::Delta;
use crate::version::Version;

/// What happens to a session.
#[derive(Debug)]
pub enum Input<'a> {
    /// A message came from the client.
    Message(Instant, &'a str),
    /// The time named by [`Output::Timeout`] has come.
    Timeout(Instant),
    /// The client is taking output, or is not read from because it does not: its silence means
    /// nothing. The driver ends sessions that take nothing for too long.
    Backlogged,
    /// Documents of a subscription changed, or a subscription begins to show a live query.
    Delta(SubscriptionKey, Source, Arc<Delta>),
    /// A live query made a step. One input does for all subscriptions that show it.
    Step(LiveQueryKey, Arc<Delta>),
    /// A publication put a document in its place in an ordered collection, and added or changed it
    /// with the delta, if there is one. See [`MergeBox::place`](crate::MergeBox::place).
    Placed(SubscriptionKey, Option<Arc<Delta>>, Placement),
    /// A publication changed a document of a collection for which nothing is remembered.
    Direct(SubscriptionKey, Direct),
    /// All initial documents of a subscription have been handed over.
    Ready(SubscriptionKey),
    /// The server ended a subscription: with `stop`, or with an error.
    Stop(SubscriptionKey, Option<DdpError>),
    /// The publication lets the next messages start before its function returns.
    SubscriptionUnblocked(SubscriptionKey),
    /// The publication's function returned.
    SubscriptionReturned(SubscriptionKey),
    /// A method lets the next messages start before it returns.
    MethodUnblocked(CallKey),
    /// A method returned: EJSON text, `None` for `undefined`.
    Result(CallKey, Result<Option<String>, DdpError>),
    /// A method's write fence fired.
    Updated(CallKey),
    /// A method returned, and there is no write to wait for: [`Updated`](Self::Updated) and
    /// [`Result`](Self::Result) in one. Both answers may share a frame.
    Finished(CallKey, Result<Option<String>, DdpError>),
    /// The user changed: run all subscriptions again.
    Rerun,
}

/// What a session wants done. A driver handles every variant, so new ones will only come with a new
/// major version.
#[derive(Debug)]
pub enum Output {
    /// Send this.
    Send(Outgoing),
    /// What follows must not share a frame with what was sent so far, or could overtake it in
    /// Meteor's client. Only for transports that put several messages into one frame, as SockJS.
    EndFrame,
    /// Do this.
    Event(Event),
    /// Close the transport after everything before this has been sent. The last output.
    Close(CloseReason),
    /// Nothing more for now. Come back with [`Input::Timeout`] at this time, if any.
    Timeout(Option<Instant>),
}

/// What a client asks of the application. As with [`Output`], a driver handles every variant: a
/// client waits for the answer to most of them.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The client and the server agreed on a version.
    Connected(Version),
    /// A message's turn has come, if the session
    /// [reports](super::SessionConfig::reports_messages) them.
    Message(String),
    /// Run a publication.
    Subscribe {
        /// The subscription's key from now on.
        subscription: SubscriptionKey,
        /// The publication.
        name: String,
        /// Its arguments.
        params: RawParams,
    },
    /// The client asked for a subscription with an id that is in use. It is ignored unless the
    /// publication does not exist: see [`Session::refuse`](super::Session::refuse).
    SubscribeAgain {
        /// The client's id of the subscription.
        id: String,
        /// The publication.
        name: String,
    },
    /// Stop a publication; its documents are already gone.
    Unsubscribe(SubscriptionKey),
    /// Stop all these publications, then run each again with the same arguments under the other
    /// key.
    Rerun(BTreeMap<SubscriptionKey, SubscriptionKey>),
    /// All publications have run again, and the client has been sent the difference.
    RerunDone,
    /// Run a method.
    Call {
        /// The call's key from now on.
        call: CallKey,
        /// The method.
        method: String,
        /// Its arguments.
        params: RawParams,
        /// The client's `randomSeed`.
        random_seed: Option<String>,
    },
}

/// Why a session closes its transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// There is no common version.
    #[error("version negotiation failed")]
    VersionMismatch,
    /// No `connect` came in time.
    #[error("no connect in time")]
    ConnectTimeout,
    /// A `ping` was not answered in time.
    #[error("heartbeat timeout")]
    HeartbeatTimeout,
    /// The client sent `disconnect`.
    #[error("the client leaves")]
    Disconnect,
}
