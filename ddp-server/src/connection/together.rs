//! What the clients of one address have together, without asking for it.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::transport::Address;

/// Those of all addresses that have clients.
#[derive(Default)]
pub(crate) struct Addresses(Mutex<HashMap<Option<Address>, Weak<Together>>>);

/// Sums over the clients of one address, in bytes. Each is a limit, not a lock: a change is seen by
/// whoever looks next.
pub(crate) struct Together {
    /// Of messages that wait and calls that run.
    pub(super) passing: AtomicUsize,
    /// Of what waits for sockets, beyond what each may have anyway.
    pub(super) outboxes: AtomicUsize,
    address: Option<Address>,
    addresses: Arc<Addresses>,
}

impl Addresses {
    /// Those of this address; all clients whose address is not known are those of one.
    pub(super) fn of(self: &Arc<Self>, address: Option<&Address>) -> Arc<Together> {
        let mut all = self.0.lock();
        let found = all.entry(address.cloned()).or_default();
        found.upgrade().unwrap_or_else(|| {
            let (passing, outboxes) = Default::default();
            let (address, addresses) = (address.cloned(), Arc::clone(self));
            let together = Arc::new(Together { passing, outboxes, address, addresses });
            *found = Arc::downgrade(&together);
            together
        })
    }
}

/// Changes a client's part of a sum.
pub(super) fn change(sum: &AtomicUsize, part: &mut usize, to: usize) {
    let before = std::mem::replace(part, to);
    if before != to {
        sum.fetch_add(to.wrapping_sub(before), Ordering::Relaxed);
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        let mut all = self.addresses.0.lock();
        // Another client may have come meanwhile.
        if all.get(&self.address).is_some_and(|together| together.strong_count() == 0) {
            all.remove(&self.address);
        }
        // Bounded by what is there, not by what was there at most.
        if all.is_empty() && all.capacity() > 1000 {
            all.shrink_to_fit();
        }
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Addresses").field(&self.0.lock().len()).finish()
    }
}

impl fmt::Debug for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Together")
            .field("passing", &self.passing)
            .field("outboxes", &self.outboxes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_of_one_address_share_its_sums_and_nothing_is_kept_of_who_has_left() {
        let addresses = Arc::new(Addresses::default());
        let (one, other) = (Address::of("192.0.2.1"), Address::of("192.0.2.2"));
        let first = addresses.of(Some(&one));
        assert!(Arc::ptr_eq(&first, &addresses.of(Some(&one))));
        assert!(!Arc::ptr_eq(&first, &addresses.of(Some(&other))));
        assert_eq!(addresses.0.lock().len(), 1, "the other has left");
        let mut part = 0;
        change(&first.passing, &mut part, 10);
        change(&first.passing, &mut part, 3);
        assert_eq!((part, first.passing.load(Ordering::Relaxed)), (3, 3));
        drop(first);
        assert!(addresses.0.lock().is_empty());
    }
}
