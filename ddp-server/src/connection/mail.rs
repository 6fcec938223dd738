//! Messages to a session's mailbox.

use std::sync::Arc;

use ddp_core::merge_box::{Direct, Placement, Source};
use ddp_core::session::CallKey;
use ddp_core::{DdpError, Delta, LiveQueryKey, SubscriptionKey};
use futures::channel::oneshot;

use crate::extract::UserId;
use crate::live_query::Observation;
use crate::transport::Share;

/// Something for a session, in the order of events. Kept small, because most mail is steps of live
/// queries, and there are many.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Documents; a later delta of the same source may replace it.
    Delta(SubscriptionKey, Source, Arc<Delta>),
    /// A step of a live query, for all subscriptions that show it; a later one may replace it.
    Step(LiveQueryKey, Arc<Delta>),
    /// Documents handled by hand; no step may be skipped.
    Exact(SubscriptionKey, Arc<Delta>),
    Placed(SubscriptionKey, Option<Arc<Delta>>, Box<Placement>),
    Direct(SubscriptionKey, Box<Direct>),
    Ready(SubscriptionKey),
    Observing(SubscriptionKey, Box<[Observation]>),
    Stop(SubscriptionKey, Option<Box<DdpError>>),
    SubscriptionUnblocked(SubscriptionKey),
    SubscriptionReturned(SubscriptionKey),
    MethodUnblocked(CallKey),
    Result(CallKey, Result<Option<String>, Box<DdpError>>),
    /// The memory of a large result that is before it.
    Room(Box<Share>),
    Updated(CallKey),
    /// Both in one: there is no write to wait for.
    Finished(CallKey, Result<Option<String>, Box<DdpError>>),
    /// A method logged the connection in or out, and waits until the client knows.
    SetUser(Option<UserId>, oneshot::Sender<()>),
    /// There is a new universal publication.
    Universal,
}

const _: () = assert!(size_of::<Mail>() <= 40, "large contents must be boxed");

/// How mail is limited.
pub(super) enum Kind {
    Delta,
    Exact,
    Other,
}

impl Mail {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Delta(..) | Self::Step(..) => Kind::Delta,
            Self::Exact(..) | Self::Placed(..) | Self::Direct(..) => Kind::Exact,
            _ => Kind::Other,
        }
    }

    /// The subscription that it concerns, if any.
    pub(super) fn subscription(&self) -> Option<SubscriptionKey> {
        match self {
            Self::Delta(subscription, ..)
            | Self::Exact(subscription, _)
            | Self::Placed(subscription, ..)
            | Self::Direct(subscription, _)
            | Self::Ready(subscription)
            | Self::Observing(subscription, _)
            | Self::Stop(subscription, _)
            | Self::SubscriptionUnblocked(subscription)
            | Self::SubscriptionReturned(subscription) => Some(*subscription),
            Self::Step(..)
            | Self::MethodUnblocked(_)
            | Self::Result(..)
            | Self::Room(_)
            | Self::Updated(_)
            | Self::Finished(..)
            | Self::SetUser(..)
            | Self::Universal => None,
        }
    }
}
