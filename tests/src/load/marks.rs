//! How messages say when they were made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use memchr::memmem::Finder;

/// How many marks are remembered; a message that comes after this many others has no latency.
const REMEMBERED: u64 = 1 << 16;
/// A slot's upper bits are the number, and these are the microseconds: up to 38 hours.
const TIME_BITS: u32 = 37;
/// What precedes a mark's number.
const PREFIX: &str = "mark-";
/// All have the same number of digits, so that all messages have the same length.
const DIGITS: usize = 8;

/// When the changes with these marks were made. Cheap to clone: clones share the data.
#[derive(Clone, Debug)]
pub struct Marks {
    began: Instant,
    /// Numbers and microseconds since then, indexed by the number modulo the size.
    made: Arc<[AtomicU64]>,
    finder: Arc<Finder<'static>>,
}

impl Default for Marks {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            made: (0..REMEMBERED).map(|_| AtomicU64::new(0)).collect(),
            finder: Arc::new(Finder::new(PREFIX)),
        }
    }
}

impl Marks {
    /// The text of a mark, for the change that is about to be made.
    #[must_use]
    pub fn text(number: u64) -> String {
        let number = number % 10_u64.pow(DIGITS as u32);
        format!("{PREFIX}{number:0DIGITS$}")
    }

    /// The change with this mark was made, or was due, at this time.
    pub fn made(&self, number: u64, at: Instant) {
        let number = number % 10_u64.pow(DIGITS as u32);
        self.slot(number).store(number << TIME_BITS | self.micros(at), Ordering::Release);
    }

    /// The change with this mark will be made. A message that shows it before [`made`](Self::made)
    /// sets the time has an age of zero.
    pub fn expect(&self, number: u64) {
        let number = number % 10_u64.pow(DIGITS as u32);
        self.slot(number).store(number << TIME_BITS, Ordering::Release);
    }

    /// The number of the mark in a message, if it has one.
    #[must_use]
    pub fn number(&self, message: &[u8]) -> Option<u64> {
        let at = self.finder.find(message)? + PREFIX.len();
        let digits = std::str::from_utf8(message.get(at..at + DIGITS)?).ok()?;
        digits.parse().ok()
    }

    /// How many microseconds ago the change that a message shows was made, if it shows one.
    #[must_use]
    pub fn age(&self, message: &[u8], now: Instant) -> Option<u64> {
        // Unused slots have the number 0.
        let number = self.number(message).filter(|number| *number > 0)?;
        let slot = self.slot(number).load(Ordering::Acquire);
        let made = slot & ((1 << TIME_BITS) - 1);
        let is_expected = made == 0;
        (slot >> TIME_BITS == number)
            .then(|| if is_expected { 0 } else { self.micros(now).saturating_sub(made) })
    }

    /// At least one, since 0 means that the change is still to be made.
    fn micros(&self, at: Instant) -> u64 {
        let micros = at.saturating_duration_since(self.began).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX).clamp(1, (1 << TIME_BITS) - 1)
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        &self.made[usize::try_from(number % REMEMBERED).unwrap_or_default()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_its_age() {
        let marks = Marks::default();
        marks.made(7, Instant::now());
        let message = format!(r#"{{"msg":"changed","fields":{{"text":"{} x"}}}}"#, Marks::text(7));
        let later = Instant::now() + std::time::Duration::from_millis(5);
        let age = marks.age(message.as_bytes(), later).unwrap();
        assert!((5_000..5_000_000).contains(&age), "{age}");
        assert_eq!(marks.age(b"mark-00000008", later), None, "it was not made");
        marks.expect(8);
        assert_eq!(marks.age(b"mark-00000008", later), Some(0), "it is about to be made");
        assert_eq!(marks.number(b"x mark-00000008"), Some(8));
        marks.made(7 + REMEMBERED, Instant::now());
        assert_eq!(marks.age(message.as_bytes(), later), None, "another has taken its place");
        for text in ["", "mark-", "mark-0000000", "mark-00000000", "mark-0000000x", "mork-00000007"]
        {
            assert_eq!(marks.age(text.as_bytes(), later), None, "{text}");
        }
    }
}
