//! Rules of the rate limiter: the requests they apply to, and their answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ddp_core::DdpError;

/// The kind of a client's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A client's call of a method. The server's own calls are not limited.
    Method,
    /// A subscription to a named publication.
    Subscription,
}

/// One request of a client, as rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The user who is logged in.
    pub user_id: Option<&'a str>,
    /// The client's IP address.
    pub client_address: Option<&'a str>,
    /// Whether it is a call or a subscription.
    pub kind: Kind,
    /// The name of the method or publication.
    pub name: &'a str,
    /// The session's id.
    pub connection_id: &'a str,
}

/// A rule's answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verdict {
    /// Whether the request may run.
    pub is_allowed: bool,
    /// Time until the rule's counters restart.
    pub time_to_reset: Duration,
    /// How many more such requests may run until then.
    pub requests_left: u32,
}

/// Allows a number of requests in an interval.
///
/// A rule applies to requests that satisfy all its conditions. Requests with the same values of
/// everything that the conditions look at share a counter: `per_connection()` keeps one for each
/// connection; a rule without conditions keeps one for all clients.
///
/// ```
/// use std::time::Duration;
///
/// use ddp_server::rate_limit::Rule;
///
/// // Ten inserts a minute for each user; the user "admin" has no limit.
/// let inserts = Rule::new(10, Duration::from_secs(60))
///     .name_where(|name| name.ends_with(".insert"))
///     .user_where(|user| user != Some("admin"))
///     .message(|verdict| format!("Try again in {} seconds", verdict.time_to_reset.as_secs()));
/// # let _ = inserts;
/// ```
#[derive(Clone)]
pub struct Rule {
    pub(super) requests_max: u32,
    pub(super) interval: Duration,
    kind: Option<Kind>,
    conditions: [Option<Condition>; 4],
    message: Option<Message>,
    pub(super) callback: Option<Callback>,
}

type Condition = Arc<dyn Fn(Option<&str>) -> bool + Send + Sync>;
type Message = Arc<dyn Fn(&Verdict) -> String + Send + Sync>;
type Callback = Arc<dyn Fn(&Verdict, &Request<'_>) + Send + Sync>;

const USER: usize = 0;
const ADDRESS: usize = 1;
const NAME: usize = 2;
const CONNECTION: usize = 3;

impl Rule {
    /// Allows this many requests in each interval. Meteor's defaults are 10 and one second.
    #[must_use]
    pub fn new(requests_max: u32, interval: Duration) -> Self {
        let (conditions, message, callback) = Default::default();
        Self { requests_max, interval, kind: None, conditions, message, callback }
    }

    fn condition(
        mut self,
        field: usize,
        condition: impl Fn(Option<&str>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.conditions[field] = Some(Arc::new(condition));
        self
    }

    /// Only calls, or only subscriptions.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Only calls of this method.
    #[must_use]
    pub fn method(self, name: impl Into<String>) -> Self {
        self.kind(Kind::Method).name(name)
    }

    /// Only subscriptions to this publication.
    #[must_use]
    pub fn publication(self, name: impl Into<String>) -> Self {
        self.kind(Kind::Subscription).name(name)
    }

    /// Only the method or publication of this name.
    #[must_use]
    pub fn name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.name_where(move |other| other == name)
    }

    /// Only methods and publications whose names satisfy this; each name has its own counter.
    #[must_use]
    pub fn name_where(self, condition: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.condition(NAME, move |name| name.is_some_and(&condition))
    }

    /// Keeps a counter for each user; everyone who is not logged in shares one.
    #[must_use]
    pub fn per_user(self) -> Self {
        self.user_where(|_| true)
    }

    /// Only users that satisfy this, with a counter for each; `None` stands for everyone who is not
    /// logged in.
    #[must_use]
    pub fn user_where(
        self,
        condition: impl Fn(Option<&str>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.condition(USER, condition)
    }

    /// Counts each client address apart.
    #[must_use]
    pub fn per_address(self) -> Self {
        self.address_where(|_| true)
    }

    /// Only such client addresses, each counted apart; `None` is one that is not known.
    #[must_use]
    pub fn address_where(
        self,
        condition: impl Fn(Option<&str>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.condition(ADDRESS, condition)
    }

    /// Counts each connection apart.
    #[must_use]
    pub fn per_connection(self) -> Self {
        self.connection_where(|_| true)
    }

    /// Only such connections, by the session's id, each counted apart.
    #[must_use]
    pub fn connection_where(
        self,
        condition: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.condition(CONNECTION, move |id| id.is_some_and(&condition))
    }

    /// The reason that a client is given, in place of Meteor's text with the seconds to wait.
    #[must_use]
    pub fn message(mut self, message: impl Fn(&Verdict) -> String + Send + Sync + 'static) -> Self {
        self.message = Some(Arc::new(message));
        self
    }

    /// Calls a function for each request that the rule concerns, allowed or not. It runs on the
    /// connection's task and must not block.
    #[must_use]
    pub fn on_request(
        mut self,
        callback: impl Fn(&Verdict, &Request<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.callback = Some(Arc::new(callback));
        self
    }

    /// The counter of a request, if the rule concerns it.
    pub(super) fn counter(&self, request: &Request<'_>) -> Option<Counter> {
        if self.kind.is_some_and(|kind| kind != request.kind) {
            return None;
        }
        let mut fields: [Option<Option<Box<str>>>; 4] = Default::default();
        for (field, condition) in self.conditions.iter().enumerate() {
            let Some(condition) = condition else { continue };
            let value = match field {
                USER => request.user_id,
                ADDRESS => request.client_address,
                NAME => Some(request.name),
                _ => Some(request.connection_id),
            };
            if !condition(value) {
                return None;
            }
            fields[field] = Some(value.map(Into::into));
        }
        Some(Counter(fields))
    }
}

impl Rule {
    /// What a client gets when its request is refused.
    pub(super) fn refusal(&self, verdict: &Verdict) -> DdpError {
        let reason = match &self.message {
            Some(message) => message(verdict),
            None => {
                let seconds = verdict.time_to_reset.as_millis().div_ceil(1000);
                format!(
                    "Error, too many requests. Please slow down. You must wait {seconds} seconds before \
                 trying again."
                )
            }
        };
        let details = format!(r#"{{"timeToReset":{}}}"#, verdict.time_to_reset.as_millis());
        DdpError { details: Some(details), ..DdpError::new("too-many-requests", reason) }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("requests_max", &self.requests_max)
            .field("interval", &self.interval)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// What requests that are counted together have in common.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct Counter([Option<Option<Box<str>>>; 4]);
