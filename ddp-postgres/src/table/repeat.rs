//! Something that is done again and again, periodically and on request.

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout};

use crate::error::Error;
use crate::read::reader::Check;

/// How long after it was announced to be due it is not for another announcement: anybody can send one.
const ANNOUNCED_EVERY: Duration = Duration::from_secs(1);

/// What is repeated.
pub(super) trait Repeated {
    /// Does it once, or says that nobody needs it any more.
    fn look(&mut self) -> impl Future<Output = ControlFlow<(), Result<(), Error>>> + Send;

    /// How it went when nobody had asked for it.
    fn tell(&mut self, outcome: Result<(), Error>);
}

/// Repeats it until nobody needs it. A bug in it must not be the last that was heard of it: a panic is an
/// error like others. However often it is announced to be due, that is once a second at most.
pub(super) async fn run(
    mut checks: mpsc::Receiver<Check>,
    announced: Arc<Notify>,
    every: Duration,
    mut repeated: impl Repeated,
) {
    let mut announced_from = Instant::now();
    loop {
        // What is announced meanwhile, or while it is done, is not lost.
        let announcement = async {
            sleep_until(announced_from).await;
            announced.notified().await;
        };
        let asked = tokio::select! {
            asked = timeout(every, checks.recv()) => match asked {
                Ok(Some(check)) => check,
                Ok(None) => return,
                Err(_) => None,
            },
            () = announcement => {
                announced_from = Instant::now() + ANNOUNCED_EVERY;
                None
            }
        };
        let outcome = match AssertUnwindSafe(repeated.look()).catch_unwind().await {
            Ok(ControlFlow::Continue(outcome)) => outcome,
            Ok(ControlFlow::Break(())) => return,
            Err(_) => Err(Error::panicked()),
        };
        match asked {
            Some(asked) => {
                // The receiver is gone if the check was cancelled.
                let _ = asked.send(outcome);
            }
            None => repeated.tell(outcome),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::oneshot;

    use super::*;

    /// Every second time.
    struct Panics {
        looks: u32,
        told: mpsc::UnboundedSender<bool>,
    }

    impl Repeated for Panics {
        async fn look(&mut self) -> ControlFlow<(), Result<(), Error>> {
            self.looks += 1;
            assert!(self.looks.is_multiple_of(2), "a bug");
            if self.looks < 6 { ControlFlow::Continue(Ok(())) } else { ControlFlow::Break(()) }
        }

        fn tell(&mut self, outcome: Result<(), Error>) {
            // The test waits for it.
            let _ = self.told.send(outcome.is_ok());
        }
    }

    #[tokio::test]
    async fn a_panic_is_not_the_last_look_that_is_asked_for() {
        let (told, _tells) = mpsc::unbounded_channel();
        let (sender, checks) = mpsc::channel(1);
        let every = Duration::from_secs(3600);
        let panics = Panics { looks: 0, told };
        let running = tokio::spawn(run(checks, Arc::default(), every, panics));
        for is_right in [false, true, false, true] {
            let (done, is_done) = oneshot::channel();
            sender.send(Some(done)).await.unwrap();
            let outcome = is_done.await.unwrap();
            assert_eq!(outcome.is_ok(), is_right, "{outcome:?}");
        }
        drop(sender);
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_not_the_last_look_that_is_due() {
        let (told, mut tells) = mpsc::unbounded_channel();
        let (_sender, checks) = mpsc::channel(1);
        let panics = Panics { looks: 0, told };
        let running = tokio::spawn(run(checks, Arc::default(), Duration::ZERO, panics));
        for is_right in [false, true, false, true, false] {
            assert_eq!(tells.recv().await, Some(is_right));
        }
        running.await.unwrap();
    }
}
