//! Limits how often clients may call methods and subscribe, like Meteor's `ddp-rate-limiter`.
//!
//! ```
//! use std::time::Duration;
//!
//! use ddp_server::Server;
//! use ddp_server::rate_limit::Rule;
//!
//! let login = Rule::new(5, Duration::from_secs(10)).method("login").per_connection();
//! let server = Server::builder().rate_limit(login).build();
//! # let _ = server;
//! ```

mod rule;

pub use rule::{Kind, Request, Rule, Verdict};

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ddp_core::DdpError;
use parking_lot::Mutex;

use crate::handler::callbacks::guard;
use rule::Counter;

/// A rule with this many counters in one interval forgets them all and starts over, which bounds its
/// memory.
const COUNTERS_MAX: usize = 1_000_000;

/// Names a rule, to remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RuleId(u64);

/// The rules of a server. Rules can be added and removed while it runs.
///
/// ```
/// use std::time::Duration;
///
/// use ddp_server::Server;
/// use ddp_server::rate_limit::Rule;
///
/// let server = Server::builder().build();
/// let limiter = server.rate_limiter();
/// let maintenance = limiter.add_rule(Rule::new(0, Duration::from_secs(1)).method("import"));
/// assert!(limiter.remove_rule(maintenance));
/// assert!(!limiter.remove_rule(maintenance), "it is gone already");
/// ```
#[derive(Default)]
pub struct RateLimiter {
    state: Mutex<State>,
    /// Changed with the state; without a rule nobody needs its lock.
    has_rules: AtomicBool,
}

#[derive(Default)]
struct State {
    rules: Vec<Running>,
    last_id: u64,
}

struct Running {
    id: RuleId,
    rule: Arc<Rule>,
    since: Option<Instant>,
    counters: HashMap<Counter, u32>,
}

impl RateLimiter {
    /// Adds a rule, Meteor's `DDPRateLimiter.addRule`.
    pub fn add_rule(&self, rule: Rule) -> RuleId {
        let mut state = self.state.lock();
        state.last_id += 1;
        let id = RuleId(state.last_id);
        let rule = Arc::new(rule);
        state.rules.push(Running { id, rule, since: None, counters: HashMap::new() });
        self.has_rules.store(true, Ordering::Release);
        id
    }

    /// Removes a rule with its counters. Returns false if it is already gone.
    pub fn remove_rule(&self, id: RuleId) -> bool {
        let mut state = self.state.lock();
        let index = state.rules.iter().position(|running| running.id == id);
        let removed = index.map(|index| state.rules.remove(index));
        self.has_rules.store(!state.rules.is_empty(), Ordering::Release);
        // Drops the application's conditions outside the lock.
        drop(state);
        removed.is_some()
    }

    /// Whether there is a rule.
    pub(crate) fn has_rules(&self) -> bool {
        self.has_rules.load(Ordering::Acquire)
    }

    /// Counts a request.
    ///
    /// # Errors
    /// `too-many-requests`, with `timeToReset` in milliseconds, if a rule does not allow it. If
    /// several rules refuse, the error of the longest wait.
    pub(crate) fn check(&self, now: Instant, request: &Request<'_>) -> Result<(), DdpError> {
        let rules: Vec<(RuleId, Arc<Rule>)> = {
            let state = self.state.lock();
            state.rules.iter().map(|running| (running.id, Arc::clone(&running.rule))).collect()
        };
        // Conditions are the application's: no lock is held while they run.
        let concerned: Vec<_> = rules
            .iter()
            .filter_map(|(id, rule)| Some((*id, rule, rule.counter(request)?)))
            .collect();
        let mut verdicts = Vec::with_capacity(concerned.len());
        if !concerned.is_empty() {
            let mut state = self.state.lock();
            for (id, rule, counter) in concerned {
                // A rule that has been removed since limits nothing.
                if let Some(running) = state.rules.iter_mut().find(|running| running.id == id) {
                    verdicts.push((rule, running.count(now, counter)));
                }
            }
        }
        let mut refusal: Option<(&Rule, Verdict)> = None;
        for (rule, verdict) in verdicts {
            if let Some(callback) = &rule.callback {
                guard("rate limit", || callback(&verdict, request));
            }
            let longest = refusal.as_ref().map(|(_, refused)| refused.time_to_reset);
            if !verdict.is_allowed && longest.is_none_or(|longest| verdict.time_to_reset > longest)
            {
                refusal = Some((rule, verdict));
            }
        }
        refusal.map_or(Ok(()), |(rule, verdict)| Err(rule.refusal(&verdict)))
    }
}

impl Running {
    fn count(&mut self, now: Instant, counter: Counter) -> Verdict {
        let since = *self.since.get_or_insert(now);
        let mut elapsed = now.saturating_duration_since(since);
        if elapsed > self.rule.interval || self.counters.len() >= COUNTERS_MAX {
            self.counters.clear();
            self.since = Some(now);
            elapsed = Duration::ZERO;
        }
        let count = self.counters.entry(counter).or_default();
        *count = count.saturating_add(1);
        Verdict {
            is_allowed: *count <= self.rule.requests_max,
            time_to_reset: self.rule.interval.saturating_sub(elapsed),
            requests_left: self.rule.requests_max.saturating_sub(*count),
        }
    }
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_list().entries(state.rules.iter().map(|running| &running.rule)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn call<'a>(user_id: Option<&'a str>, name: &'a str, connection_id: &'a str) -> Request<'a> {
        let client_address = Some("127.0.0.1");
        Request { user_id, client_address, kind: Kind::Method, name, connection_id }
    }

    #[test]
    fn requests_are_counted_by_all_that_the_conditions_look_at() {
        let limiter = RateLimiter::default();
        limiter.add_rule(Rule::new(2, SECOND).name_where(|name| name != "free").per_connection());
        let now = Instant::now();
        let check = |request| limiter.check(now, &request).is_ok();
        assert_eq!([0; 3].map(|_| check(call(None, "a", "1"))), [true, true, false]);
        assert_eq!([0; 3].map(|_| check(call(None, "b", "1"))), [true, true, false]);
        assert_eq!([0; 3].map(|_| check(call(None, "a", "2"))), [true, true, false]);
        assert!((0..9).all(|_| check(call(None, "free", "1"))));
        // The user is none of the rule's business.
        assert!(!check(call(Some("u"), "a", "1")));
    }

    #[test]
    fn the_error_is_meteors_and_the_interval_begins_with_the_first_request() {
        let limiter = RateLimiter::default();
        limiter.add_rule(Rule::new(1, 10 * SECOND).method("login"));
        let start = Instant::now();
        assert!(limiter.check(start, &call(None, "login", "1")).is_ok());
        let subscription = Request { kind: Kind::Subscription, ..call(None, "login", "1") };
        assert!(limiter.check(start, &subscription).is_ok());
        let late = start + Duration::from_millis(2_500);
        let error = limiter.check(late, &call(None, "login", "2")).unwrap_err();
        assert_eq!(error.error, "too-many-requests".into());
        assert_eq!(
            error.reason.as_deref(),
            Some(
                "Error, too many requests. Please slow down. You must wait 8 seconds before trying again."
            )
        );
        assert_eq!(error.details.as_deref(), Some(r#"{"timeToReset":7500}"#));
        assert!(limiter.check(start + 10 * SECOND, &call(None, "login", "1")).is_err());
        assert!(limiter.check(start + 11 * SECOND, &call(None, "login", "1")).is_ok());
        assert!(limiter.check(start + 11 * SECOND, &call(None, "login", "1")).is_err());
    }

    #[test]
    fn of_several_rules_the_longest_wait_counts_and_rules_can_go() {
        let limiter = RateLimiter::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&seen);
        let short = limiter.add_rule(
            Rule::new(0, SECOND).kind(Kind::Method).user_where(|user| user.is_none()).on_request(
                move |verdict, request| {
                    note.lock().push((verdict.requests_left, request.name.to_owned()));
                },
            ),
        );
        let long = limiter.add_rule(
            Rule::new(1, 60 * SECOND).per_user().per_address().message(|_| "slow down".to_owned()),
        );
        let now = Instant::now();
        let reason = |user| limiter.check(now, &call(user, "m", "1")).map_err(|error| error.reason);
        assert!(reason(None).unwrap_err().unwrap().contains("1 seconds"));
        assert_eq!(reason(None), Err(Some("slow down".to_owned())));
        assert_eq!(reason(Some("u")), Ok(()));
        assert_eq!(*seen.lock(), [(0, "m".to_owned()), (0, "m".to_owned())]);
        assert!(limiter.remove_rule(long) && !limiter.remove_rule(long));
        assert!(limiter.remove_rule(short));
        assert!(reason(None).is_ok());
    }

    #[test]
    fn a_condition_may_change_the_rules_and_block_without_harm_to_others() {
        use std::sync::mpsc::channel;

        let limiter = Arc::new(RateLimiter::default());
        let (begun, has_begun) = channel();
        let (release, is_released) = channel();
        let is_released = Mutex::new(is_released);
        let rules = Arc::downgrade(&limiter);
        limiter.add_rule(Rule::new(1, 60 * SECOND).user_where(move |user| {
            if user == Some("slow") {
                rules.upgrade().unwrap().add_rule(Rule::new(0, SECOND).method("other"));
                begun.send(()).unwrap();
                is_released.lock().recv().unwrap();
            }
            true
        }));
        let now = Instant::now();
        let check = |user: &'static str| {
            let (limiter, (sender, answer)) = (Arc::clone(&limiter), channel());
            std::thread::spawn(move || {
                sender.send(limiter.check(now, &call(Some(user), "m", "1")).is_ok()).unwrap();
            });
            answer
        };
        let patience = 60 * SECOND;
        let slow = check("slow");
        has_begun.recv_timeout(patience).expect("no lock is held while a condition runs");
        assert_eq!(check("quick").recv_timeout(patience), Ok(true));
        assert_eq!(check("quick").recv_timeout(patience), Ok(false));
        release.send(()).unwrap();
        assert_eq!(slow.recv_timeout(patience), Ok(true));
        assert!(limiter.check(now, &call(Some("a"), "other", "1")).is_err(), "it was added");
    }
}
