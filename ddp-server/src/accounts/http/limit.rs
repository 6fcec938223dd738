//! How often an address may use the routes of the cookie: 30 times in 10 seconds, as in Meteor.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::transport::Address;

const REQUESTS_MAX: u32 = 30;

const WINDOW: Duration = Duration::from_secs(10);

/// How many addresses are counted within a window, some 100 bytes each; more of them are not.
const ADDRESSES_MAX: usize = 10_000;

/// Counts requests.
#[derive(Default)]
pub(super) struct Limit(Mutex<Window>);

#[derive(Default)]
struct Window {
    began: Option<Instant>,
    requests: HashMap<Address, u32>,
}

impl Limit {
    /// Whether an address may send another request now.
    pub(super) fn admits(&self, address: Option<Address>) -> bool {
        let Some(address) = address else { return true };
        let now = Instant::now();
        let mut window = self.0.lock();
        if window.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            *window = Window { began: Some(now), requests: HashMap::new() };
        }
        let is_full = window.requests.len() >= ADDRESSES_MAX;
        if is_full && !window.requests.contains_key(&address) {
            return true;
        }
        let count = window.requests.entry(address).or_default();
        *count = count.saturating_add(1);
        *count <= REQUESTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_address_has_its_share_and_the_memory_an_end() {
        let limit = Limit::default();
        let one = || Some(Address::of("192.0.2.7"));
        assert!((0..REQUESTS_MAX).all(|_| limit.admits(one())));
        assert!(!limit.admits(one()) && limit.admits(Some(Address::of("192.0.2.8"))));
        for number in 0..2 * ADDRESSES_MAX {
            assert!(limit.admits(Some(Address::of(&format!("name {number}")))));
        }
        assert_eq!(limit.0.lock().requests.len(), ADDRESSES_MAX);
        assert!(!limit.admits(one()));
        tokio::time::advance(WINDOW).await;
        assert!(limit.admits(one()));
    }
}
