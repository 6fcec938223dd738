//! What providers have told of users who have yet to log in: Meteor's
//! `meteor_oauth_pendingCredentials`, in memory.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::identity::Identity;
use crate::error::Error;

/// How long a credential waits for its login, as in Meteor.
const LIFETIME: Duration = Duration::from_secs(60);

/// How many wait at most, good ones and failures each, and how many bytes they have. Beyond it the
/// oldest go.
const ENTRIES_MAX: usize = 10_000;
const BYTES_MAX: usize = 16 * 1024 * 1024;

/// What an entry takes besides its contents, roughly. Failures have short texts.
const ENTRY_BYTES: usize = 512;

type Hash = [u8; 32];

/// Credentials by their tokens. Failures are apart, since anybody can cause them, and so cannot push
/// out what is good.
#[derive(Default)]
pub(super) struct PendingCredentials {
    good: Mutex<Shelf<Identity>>,
    failed: Mutex<Shelf<Error>>,
}

impl PendingCredentials {
    /// Keeps what a provider told, for whoever has both the token and the secret.
    pub(super) fn put(&self, token: &str, secret: &str, identity: Identity) {
        let bytes = identity.bytes();
        self.good.lock().put(hash(token), hash(secret), bytes, identity);
    }

    /// Keeps why there is nothing, for whoever has the token, without a secret.
    pub(super) fn fail(&self, token: &str, error: Error) {
        self.failed.lock().put(hash(token), hash(""), 0, error);
    }

    /// Takes it away: of several who take the same one, one gets it.
    pub(super) fn take(
        &self,
        token: &str,
        secret: Option<&str>,
    ) -> Option<Result<Identity, Error>> {
        let token = hash(token);
        match secret {
            Some(secret) => self.good.lock().take(&token, &hash(secret)).map(Ok),
            None => self.failed.lock().take(&token, &hash("")).map(Err),
        }
    }
}

/// Looked up by hashes, so that the time it takes tells nothing of what is there.
fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// Entries that end after a minute.
struct Shelf<T> {
    entries: HashMap<Hash, Entry<T>>,
    /// All that were put, the oldest first, also those that have been taken since.
    order: VecDeque<(u64, Instant, Hash)>,
    next: u64,
    bytes: usize,
}

struct Entry<T> {
    number: u64,
    until: Instant,
    secret: Hash,
    bytes: usize,
    value: T,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new(), next: 0, bytes: 0 }
    }
}

impl<T> Shelf<T> {
    fn put(&mut self, token: Hash, secret: Hash, bytes: usize, value: T) {
        let now = Instant::now();
        let bytes = bytes + ENTRY_BYTES;
        self.remove(&token);
        while let Some((number, until, oldest)) = self.order.front().copied() {
            let is_full = self.order.len() >= ENTRIES_MAX || self.bytes + bytes > BYTES_MAX;
            if !is_full && until > now {
                break;
            }
            self.order.pop_front();
            if self.entries.get(&oldest).is_some_and(|entry| entry.number == number) {
                self.remove(&oldest);
            }
        }
        let (number, until) = (self.next, now + LIFETIME);
        self.next += 1;
        self.bytes += bytes;
        self.order.push_back((number, until, token));
        self.entries.insert(token, Entry { number, until, secret, bytes, value });
    }

    fn take(&mut self, token: &Hash, secret: &Hash) -> Option<T> {
        let entry = self.entries.get(token)?;
        if entry.until <= Instant::now() {
            self.remove(token);
            return None;
        }
        // A wrong secret does not spoil it for the right one.
        if !bool::from(entry.secret.ct_eq(secret)) {
            return None;
        }
        self.remove(token)
    }

    fn remove(&mut self, token: &Hash) -> Option<T> {
        let entry = self.entries.remove(token)?;
        self.bytes -= entry.bytes;
        Some(entry.value)
    }
}

impl fmt::Debug for PendingCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingCredentials").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_is_taken_once_by_token_and_secret_within_a_minute() {
        let pending = PendingCredentials::default();
        let put = || pending.put("token", "secret", Identity::bare("example", "7"));
        put();
        assert!(pending.take("token", Some("other")).is_none());
        assert!(pending.take("token", None).is_none());
        assert!(pending.take("other", Some("secret")).is_none());
        assert!(pending.take("token", Some("secret")).is_some());
        assert!(pending.take("token", Some("secret")).is_none());
        put();
        tokio::time::advance(LIFETIME - Duration::from_millis(1)).await;
        assert!(pending.take("token", Some("secret")).is_some());
        put();
        tokio::time::advance(LIFETIME).await;
        assert!(pending.take("token", Some("secret")).is_none());
    }

    #[tokio::test]
    async fn failures_push_out_failures_only() {
        let pending = PendingCredentials::default();
        pending.put("token", "secret", Identity::bare("example", "7"));
        for number in 0..=ENTRIES_MAX {
            pending.fail(&format!("token {number}"), Error::client(403, "no"));
            // The same again takes no further place.
            pending.fail("again", Error::client(403, "no"));
        }
        let failed = pending.failed.lock();
        assert!(failed.entries.len() <= ENTRIES_MAX && failed.order.len() <= ENTRIES_MAX);
        assert_eq!(failed.bytes, failed.entries.len() * ENTRY_BYTES);
        drop(failed);
        assert!(pending.take("token 0", None).is_none());
        assert!(pending.take(&format!("token {ENTRIES_MAX}"), None).is_some());
        assert!(pending.take("token", Some("secret")).is_some());
    }

    #[tokio::test]
    async fn large_ones_push_out_the_oldest() {
        let mut shelf = Shelf::default();
        let third = BYTES_MAX / 3;
        for number in 0..5_u8 {
            shelf.put([number; 32], [0; 32], third, number);
            assert!(shelf.bytes <= BYTES_MAX);
        }
        assert_eq!(shelf.entries.len(), 2);
        assert_eq!(shelf.take(&[4; 32], &[0; 32]), Some(4));
        assert_eq!(shelf.take(&[2; 32], &[0; 32]), None);
    }
}
