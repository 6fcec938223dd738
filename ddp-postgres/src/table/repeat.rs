//! Something that is done again and again, periodically and on request.

use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::mpsc;

use crate::error::Error;
use crate::read::reader::Check;

/// What is repeated.
pub(super) trait Repeated {
    /// Does it once, or says that nobody needs it any more.
    fn look(&mut self) -> impl Future<Output = ControlFlow<(), Result<(), Error>>> + Send;

    /// How it went when nobody had asked for it.
    fn tell(&mut self, outcome: Result<(), Error>);
}

/// Repeats it until nobody needs it. A bug in it must not be the last that was heard of it: a panic is an
/// error like others.
pub(super) async fn run(
    mut checks: mpsc::Receiver<Check>,
    every: Duration,
    mut repeated: impl Repeated,
) {
    loop {
        let asked = match tokio::time::timeout(every, checks.recv()).await {
            Ok(Some(check)) => check,
            Ok(None) => return,
            Err(_) => None,
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
        let running = tokio::spawn(run(checks, every, Panics { looks: 0, told }));
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
        let running = tokio::spawn(run(checks, Duration::ZERO, Panics { looks: 0, told }));
        for is_right in [false, true, false, true, false] {
            assert_eq!(tells.recv().await, Some(is_right));
        }
        running.await.unwrap();
    }
}
