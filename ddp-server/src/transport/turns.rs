//! Turns of those who take long, which nobody's line keeps others from.
//!
//! They are lent as [memory](Memory) is, to each who waits one of so many, with one difference: what an
//! address has had is how long its turns were, not how many. Whoever waits alone at its address is thus
//! next, however many wait at another, and two that both have lines get the same time.
//!
//! How long a turn is shows when it ends, so an address may begin as many at once as there are.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::time::Instant;

use super::memory::{Asking, Memory, Share};
use super::share::Address;

/// How many can have their turn at the same time.
pub(crate) struct Turns(Arc<Memory>);

impl Turns {
    pub(crate) fn new(at_once: usize) -> Self {
        Self(Memory::new(at_once, at_once))
    }

    /// Asks for a turn. It costs nobody anything until it is taken.
    pub(crate) fn ask(&self, address: Option<&Address>) -> NextTurn {
        NextTurn(self.0.ask(address, 1))
    }
}

/// Waits for a turn. Dropped, it wants none.
#[derive(Debug)]
pub(crate) struct NextTurn(Asking);

impl Future for NextTurn {
    type Output = Turn;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Turn> {
        self.0.poll_unpin(cx).map(|share| Turn { share, since: Instant::now() })
    }
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    share: Share,
    since: Instant,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let nanoseconds = self.since.elapsed().as_nanos();
        self.share.charge(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SLOW: Duration = Duration::from_millis(100);
    const QUICK: Duration = Duration::from_millis(10);

    fn address(last: u8) -> Option<Address> {
        Some(Address::V4([192, 0, 2, last]))
    }

    fn now(next: &mut NextTurn) -> Option<Turn> {
        next.now_or_never()
    }

    /// Those who wait, each with the last byte of its address and how long its turn is going to be.
    struct Line<'a> {
        turns: &'a Turns,
        waiting: Vec<(u8, Duration, NextTurn)>,
    }

    impl<'a> Line<'a> {
        fn new(turns: &'a Turns) -> Self {
            Self { turns, waiting: Vec::new() }
        }

        fn join(&mut self, count: usize, last: u8, length: Duration) {
            let ask = || (last, length, self.turns.ask(address(last).as_ref()));
            self.waiting.extend(std::iter::repeat_with(ask).take(count));
        }

        /// Lets the next have its turn; returns whose it was.
        async fn serve(&mut self) -> Option<u8> {
            let mut waiting = self.waiting.iter_mut().enumerate();
            let (index, turn) =
                waiting.find_map(|(index, (.., next))| Some((index, now(next)?)))?;
            let (last, length, _) = self.waiting.remove(index);
            tokio::time::sleep(length).await;
            drop(turn);
            Some(last)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_alone_is_next_however_many_wait_elsewhere() {
        for length in [SLOW, Duration::ZERO] {
            let turns = Turns::new(1);
            let mut line = Line::new(&turns);
            line.join(500, 1, length);
            for _ in 0..10 {
                assert_eq!(line.serve().await, Some(1));
            }
            line.join(1, 2, QUICK);
            assert_eq!(line.serve().await, Some(1), "it had been given its turn before");
            assert_eq!(line.serve().await, Some(2));
            assert_eq!(line.serve().await, Some(1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_wait_get_the_same_time() {
        let turns = Turns::new(1);
        let mut line = Line::new(&turns);
        line.join(200, 1, SLOW);
        line.join(200, 2, QUICK);
        let mut counts = [0; 2];
        for _ in 0..110 {
            let last = line.serve().await.expect("somebody waits");
            counts[usize::from(last) - 1] += 1;
        }
        assert!(
            (9..=11).contains(&counts[0]),
            "ten slow ones for a hundred quick ones: {counts:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_after_each_turn_gets_no_more_than_who_stays() {
        let turns = Turns::new(1);
        let mut line = Line::new(&turns);
        line.join(50, 1, SLOW);
        line.join(1, 2, SLOW);
        line.join(1, 3, SLOW);
        let mut counts = [0; 3];
        for _ in 0..60 {
            let last = line.serve().await.expect("somebody waits");
            counts[usize::from(last) - 1] += 1;
            // It comes back while another has its turn, so that some of these always wait.
            if last != 1 {
                line.join(1, last, SLOW);
            }
        }
        assert!(counts.iter().all(|count| (19..=21).contains(count)), "{counts:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_leaves_no_hole() {
        let turns = Turns::new(2);
        let held = [now(&mut turns.ask(None)), now(&mut turns.ask(None))];
        assert!(held.iter().all(Option::is_some));
        let (one, other) = (address(1), address(2));
        let mut waiting: Vec<_> = (0..10).map(|_| turns.ask(one.as_ref())).collect();
        let mut last = turns.ask(other.as_ref());
        // One that waits, and two that have been given what they waited for and did not take it.
        drop(waiting.remove(5));
        drop(held);
        drop(waiting.remove(0));
        drop(last);
        last = turns.ask(other.as_ref());
        let mut taken: Vec<_> = waiting.iter_mut().filter_map(now).collect();
        taken.extend(now(&mut last));
        assert_eq!(taken.len(), 2);
        drop((taken, waiting));
        assert!(now(&mut last).is_some() || now(&mut turns.ask(None)).is_some());
        drop(last);
        assert_eq!(turns.0.taken(), 0);
    }
}
