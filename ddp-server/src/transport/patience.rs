//! How long somebody is waited for who takes or sends bytes slowly.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A deadline for the time that is spent waiting: some in all, and more with each byte. What is done
/// between does not count.
#[derive(Debug)]
pub(crate) struct Patience {
    timeout: Duration,
    bytes_per_second: u64,
    bytes: u64,
    waited: Duration,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    deadline: Pin<Box<Sleep>>,
}

impl Patience {
    /// Of `timeout`, at most a year, which the clock can represent, and of as long as what goes on takes
    /// at this speed.
    pub(crate) fn new(timeout: Duration, bytes_per_second: u64) -> Self {
        Self { timeout, bytes_per_second, bytes: 0, waited: Duration::ZERO, waiting: None }
    }

    /// It goes on, by so many bytes.
    pub(crate) fn goes_on(&mut self, bytes: usize) {
        if let Some(waiting) = self.waiting.take() {
            self.waited += waiting.since.elapsed();
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// It does not go on now: ready when that has taken too long.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.left();
        let waiting = self.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            Waiting { since, deadline: Box::pin(sleep_until(since + left)) }
        });
        waiting.deadline.as_mut().poll(cx)
    }

    /// How much longer may be waited in all.
    fn left(&self) -> Duration {
        let earned = Duration::from_millis(self.bytes.saturating_mul(1000) / self.bytes_per_second);
        self.timeout.saturating_add(earned).saturating_sub(self.waited)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{sleep, timeout};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn over(patience: &mut Patience) -> Duration {
        let begun = Instant::now();
        poll_fn(|cx| patience.poll_over(cx)).await;
        begun.elapsed()
    }

    async fn waits(patience: &mut Patience, period: Duration) {
        let ended = timeout(period, poll_fn(|cx| patience.poll_over(cx))).await;
        ended.expect_err("it was over");
    }

    #[tokio::test(start_paused = true)]
    async fn only_waiting_counts_and_bytes_extend_it() {
        let mut patience = Patience::new(10 * SECOND, 500);
        waits(&mut patience, 6 * SECOND).await;
        patience.goes_on(0);
        // Nobody waits for the client while the server itself has something to do.
        sleep(100 * SECOND).await;
        let left = over(&mut patience).await;
        assert!(left >= 4 * SECOND && left < 5 * SECOND, "{left:?}");

        let mut patience = Patience::new(10 * SECOND, 500);
        for _ in 0..100 {
            waits(&mut patience, 9 * SECOND).await;
            patience.goes_on(9 * 500);
        }
        let left = over(&mut patience).await;
        assert!(left >= 9 * SECOND && left < 11 * SECOND, "{left:?}");

        // A byte now and then is not enough.
        let mut patience = Patience::new(10 * SECOND, 500);
        for _ in 0..9 {
            waits(&mut patience, SECOND).await;
            patience.goes_on(1);
        }
        let left = over(&mut patience).await;
        assert!(left < 2 * SECOND, "{left:?}");
    }
}
