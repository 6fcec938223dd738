//! How many of something each address may have.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// The longest name of an address that is not an IP address.
const NAME_BYTES_MAX: usize = 64;

/// Who shares: a network whose addresses one customer usually has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    V4([u8; 4]),
    /// The first 64 bits; whoever has one address has all that begin like it.
    V6([u8; 8]),
    /// What a proxy says, if that is not an address.
    Name(Box<str>),
}

impl Address {
    /// From text, such as `x-forwarded-for` has it, with or without a port.
    pub(crate) fn of(text: &str) -> Self {
        let bare = text.trim_start_matches('[').split(']').next().unwrap_or(text);
        let without_port = || text.rsplit_once(':')?.0.parse().ok();
        match bare.parse::<IpAddr>().ok().or_else(without_port) {
            Some(address) => address.into(),
            None => Self::Name(text[..text.floor_char_boundary(NAME_BYTES_MAX)].into()),
        }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// Counts what each address has.
pub(crate) struct Shares {
    taken: Mutex<HashMap<Address, usize>>,
    max: usize,
}

impl Shares {
    /// Shares of at most this many.
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), max })
    }

    /// One more for this address, until the returned value is dropped; `None` if it has its share.
    pub(crate) fn take(self: &Arc<Self>, address: Address) -> Option<Share> {
        let mut taken = self.taken.lock();
        match taken.entry(address.clone()) {
            Entry::Occupied(entry) if *entry.get() >= self.max => return None,
            Entry::Occupied(entry) => *entry.into_mut() += 1,
            Entry::Vacant(_) if self.max == 0 => return None,
            Entry::Vacant(entry) => {
                entry.insert(1);
            }
        }
        drop(taken);
        Some(Share { shares: Arc::clone(self), address })
    }

    /// How many an address may have.
    pub(crate) fn max(&self) -> usize {
        self.max
    }
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").field("max", &self.max).finish_non_exhaustive()
    }
}

/// One of what an address has.
#[derive(Debug)]
pub(crate) struct Share {
    shares: Arc<Shares>,
    address: Address,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock();
        if let Some(count) = taken.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.address);
            }
        }
        // Bounded by what is there, not by what was there at most.
        if taken.is_empty() && taken.capacity() > 1000 {
            taken.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_had_until_it_is_dropped() {
        let shares = Shares::new(2);
        let take = |text: &str| shares.take(Address::of(text));
        let first = take("192.0.2.1").expect("the first");
        let _second = take("192.0.2.1").expect("the second");
        assert!(take("192.0.2.1").is_none());
        let _other = take("192.0.2.2").expect("another address");
        drop(first);
        let _third = take("192.0.2.1").expect("a place again");
        assert!(take("192.0.2.1").is_none());
        assert!(Shares::new(0).take(Address::of("192.0.2.1")).is_none());
    }

    #[test]
    fn nothing_is_kept_of_who_has_left() {
        let shares = Shares::new(1);
        let taken: Vec<_> = (0..10_000)
            .map(|number| shares.take(Address::Name(number.to_string().into())))
            .collect();
        assert_eq!(shares.taken.lock().len(), 10_000);
        drop(taken);
        let taken = shares.taken.lock();
        assert_eq!((taken.len(), taken.capacity()), (0, 0));
    }

    #[test]
    fn addresses_that_one_customer_has_are_one() {
        let same = |a: &str, b: &str| Address::of(a) == Address::of(b);
        assert!(same("2001:db8::1", "2001:db8:0:0:ffff::2"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(same("192.0.2.1:4711", "192.0.2.1"));
        assert!(same("[2001:db8::1]:4711", "2001:db8::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("unknown", "unknown") && !same("unknown", "_hidden"));
        let long = "x".repeat(10_000);
        assert!(matches!(Address::of(&long), Address::Name(name) if name.len() == NAME_BYTES_MAX));
    }
}
