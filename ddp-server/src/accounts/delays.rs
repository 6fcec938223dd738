//! After wrong passwords, the next ones for the same user wait.
//!
//! The first five cost nothing, and each further one doubles what the next waits, up to a limit. Those
//! for one user wait one after the other, however many connections and addresses they come from, but
//! none waits longer than the limit, so that nobody is locked out: beyond it they go on together. Names that nobody has wait like others. Each
//! server counts for itself.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::store::Selector;
use crate::error::Error;

/// How many wrong passwords cost nothing.
const FREE: u32 = 5;

/// What the first one beyond them costs.
const FIRST: Duration = Duration::from_millis(250);

/// The most that any attempt waits.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(30);

/// After so long without a wrong password all are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// How many users are remembered; then those go whose last wrong password was the longest ago. Each
/// takes some 60 bytes.
const REMEMBERED_MAX: usize = 10_000;

/// The wrong passwords of late.
pub(super) struct Delays {
    /// So that nobody can choose names that fall together.
    hasher: RandomState,
    users: Mutex<HashMap<u64, Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
    /// When the next attempt may go on.
    next: Instant,
}

/// Whom an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target(u64);

impl Delays {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), users: Mutex::default() }
    }

    /// Whoever is meant by this, if anybody: a user has a line for each way of being found.
    pub(super) fn target(&self, by: &Selector) -> Target {
        let (kind, text) = match by {
            Selector::Id(text) => (0, text),
            Selector::Username(text) => (1, text),
            Selector::Email(text) => (2, text),
        };
        Target(self.hasher.hash_one((kind, text.to_lowercase())))
    }

    /// Waits until an attempt may go on.
    pub(super) async fn wait(&self, target: Target) {
        let Some(until) = self.reserve(target, Instant::now()) else { return };
        tokio::time::sleep_until(until).await;
    }

    /// When an attempt may go on; the next one comes after it.
    fn reserve(&self, Target(key): Target, now: Instant) -> Option<Instant> {
        let mut users = self.users.lock();
        let failures = users.get_mut(&key)?;
        if now.saturating_duration_since(failures.last) > FORGOTTEN_AFTER {
            users.remove(&key);
            return None;
        }
        let turn = failures.next.max(now).min(now + DELAY_MAX);
        failures.next = turn + delay(failures.count);
        (turn > now).then_some(turn)
    }

    /// A password was wrong.
    pub(super) fn failed(&self, Target(key): Target) {
        let now = Instant::now();
        let mut users = self.users.lock();
        if users.len() >= REMEMBERED_MAX && !users.contains_key(&key) {
            users.retain(|_, one| now.saturating_duration_since(one.last) <= FORGOTTEN_AFTER);
            // Seldom, and then for a tenth of them at once.
            if users.len() >= REMEMBERED_MAX {
                let mut ages: Vec<Instant> = users.values().map(|one| one.last).collect();
                let (_, oldest, _) = ages.select_nth_unstable(REMEMBERED_MAX / 10);
                let oldest = *oldest;
                users.retain(|_, one| one.last > oldest);
            }
        }
        let failures = users.entry(key).or_insert(Failures { count: 0, last: now, next: now });
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
        failures.next = failures.next.max(now + delay(failures.count));
    }

    /// A password was right.
    pub(super) fn passed(&self, Target(key): Target) {
        self.users.lock().remove(&key);
    }
}

/// How long after one attempt the next may go on, after so many wrong passwords.
fn delay(count: u32) -> Duration {
    match count.checked_sub(FREE) {
        None | Some(0) => Duration::ZERO,
        Some(more) => FIRST.saturating_mul(1 << (more - 1).min(16)).min(DELAY_MAX),
    }
}

/// Meteor's refusal of a client that asks too often.
pub(super) fn too_many(seconds: u32) -> Error {
    let reason = format!(
        "Error, too many requests. Please slow down. You must wait {seconds} seconds before trying \
         again."
    );
    let details = serde_json::json!({"timeToReset": u64::from(seconds) * 1000});
    Error::client("too-many-requests", reason).with_details(&details)
}

impl std::fmt::Debug for Delays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delays").field("users", &self.users.lock().len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Selector {
        Selector::Username(text.to_owned())
    }

    fn fail(delays: &Delays, target: Target, times: u32) {
        (0..times).for_each(|_| delays.failed(target));
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_grows_to_its_limit_and_is_forgotten() {
        let delays = Delays::new();
        let ada = delays.target(&named("ada"));
        let mut waits = Vec::new();
        for _ in 0..16 {
            let begun = Instant::now();
            delays.wait(ada).await;
            waits.push(begun.elapsed().as_millis());
            delays.failed(ada);
        }
        assert_eq!(waits[..8], [0, 0, 0, 0, 0, 0, 250, 500]);
        assert!(waits.is_sorted() && waits[15] == DELAY_MAX.as_millis(), "{waits:?}");
        assert!(delays.reserve(delays.target(&named("alan")), Instant::now()).is_none());
        tokio::time::advance(FORGOTTEN_AFTER + DELAY_MAX).await;
        assert!(delays.reserve(ada, Instant::now()).is_none());
        fail(&delays, ada, 9);
        delays.passed(ada);
        assert!(delays.reserve(ada, Instant::now()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_once_take_turns_and_nobody_waits_for_ever() {
        let delays = Delays::new();
        let ada = delays.target(&named("Ada"));
        assert_eq!(ada, delays.target(&named("ada")), "names do not differ by case");
        fail(&delays, ada, FREE + 3);
        let now = Instant::now();
        let turns: Vec<Duration> =
            (0..100).map(|_| delays.reserve(ada, now).unwrap() - now).collect();
        assert_eq!(turns[..3], [1, 2, 3].map(Duration::from_secs));
        assert_eq!(turns.iter().max(), Some(&DELAY_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_names_does_not_fill_the_memory() {
        let delays = Delays::new();
        for number in 0..2 * REMEMBERED_MAX {
            delays.failed(delays.target(&named(&number.to_string())));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(delays.users.lock().len() <= REMEMBERED_MAX);
        let newest = delays.target(&named(&(2 * REMEMBERED_MAX - 1).to_string()));
        assert!(delays.users.lock().contains_key(&newest.0));
    }
}
