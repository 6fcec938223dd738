//! Threads that hash: as many as half the cores, and a queue with an end. One address may fill half of it.
//!
//! A hash takes a tenth of a second of a core on purpose. It must neither hold up the runtime's
//! threads nor take all cores, however many clients log in at once.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use futures::channel::oneshot;
use parking_lot::Mutex;

use crate::accounts::delays::too_many;
use crate::error::Error;
use crate::transport::{Address, Shares};

/// How many passwords wait for each thread.
const WAITING_PER_THREAD: usize = 64;

/// How long they then take at most, roughly, as it is told to clients that find no place.
const SECONDS_TO_WAIT: u32 = 10;

type Job = Box<dyn FnOnce() + Send>;

/// A pool of threads, which begin with the first password and end with the pool.
pub(super) struct Pool {
    threads: usize,
    shares: Arc<Shares>,
    jobs: Mutex<Option<SyncSender<Job>>>,
}

impl Pool {
    pub(super) fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let shares = Shares::new(threads * WAITING_PER_THREAD / 2);
        Self { threads, shares, jobs: Mutex::new(None) }
    }

    /// Half the cores, at least one.
    pub(super) fn usual_threads() -> usize {
        thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
    }

    /// Runs a function on one of the threads, for a client of this address; the server's own calls have
    /// none.
    ///
    /// # Errors
    /// `too-many-requests` if too many wait, in all or for this address.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        address: Option<Address>,
        function: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let place = match address {
            Some(address) => {
                Some(self.shares.take(address).ok_or_else(|| too_many(SECONDS_TO_WAIT))?)
            }
            None => None,
        };
        let (done, is_done) = oneshot::channel();
        let job: Job = Box::new(move || {
            // Had for as long as the job is in the queue, whoever still waits for it.
            let _place = place;
            // Nobody waits for it any longer if the server is closing.
            if !done.is_canceled() {
                let _ = done.send(function());
            }
        });
        let sent = self.sender()?.try_send(job);
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(too_many(SECONDS_TO_WAIT)),
            Err(TrySendError::Disconnected(_)) => return Err(Error::internal("no thread hashes")),
        }
        is_done.await.map_err(|_| Error::internal("hashing a password failed"))
    }

    fn sender(&self) -> Result<SyncSender<Job>, Error> {
        let mut jobs = self.jobs.lock();
        if let Some(jobs) = &*jobs {
            return Ok(jobs.clone());
        }
        let (sender, receiver) = sync_channel(self.threads * WAITING_PER_THREAD);
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..self.threads {
            let receiver = Arc::clone(&receiver);
            let name = format!("passwords-{number}");
            thread::Builder::new().name(name).spawn(move || work(&receiver))?;
        }
        *jobs = Some(sender.clone());
        Ok(sender)
    }
}

fn work(jobs: &Mutex<Receiver<Job>>) {
    loop {
        // One thread waits for a job while the others wait for the lock.
        let Ok(job) = jobs.lock().recv() else { return };
        // Whoever waits for it is told, because the job and its sender are gone.
        let _ = catch_unwind(AssertUnwindSafe(job));
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let pool = Arc::new(Pool::new(1));
        let (release, is_released) = channel::<()>();
        let (begun, has_begun) = channel();
        let blocker = {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let blocked = pool.run(None, move || {
                    begun.send(()).unwrap();
                    is_released.recv().unwrap();
                });
                blocked.await
            })
        };
        tokio::task::spawn_blocking(move || has_begun.recv()).await.unwrap().unwrap();
        let mut waiting: Vec<_> =
            (0..WAITING_PER_THREAD).map(|number| pool.run(None, move || number).boxed()).collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none());
        }
        let error = pool.run(None, || ()).await.unwrap_err();
        assert_eq!(error.code(), Some(&"too-many-requests".into()));
        assert_eq!(error.details(), Some(r#"{"timeToReset":10000}"#));
        release.send(()).unwrap();
        blocker.await.unwrap().unwrap();
        assert_eq!(waiting.pop().unwrap().await.unwrap(), WAITING_PER_THREAD - 1);
    }

    #[tokio::test]
    async fn an_address_leaves_half_of_the_queue_to_others() {
        let pool = Pool::new(1);
        let (release, is_released) = channel::<()>();
        let mut all = vec![pool.run(None, move || is_released.recv().unwrap()).boxed()];
        let [hostile, other] = ["203.0.113.1", "203.0.113.2"].map(Address::of);
        for _ in 0..WAITING_PER_THREAD / 2 {
            all.push(pool.run(Some(hostile.clone()), || ()).boxed());
        }
        for one in &mut all {
            assert!(one.now_or_never().is_none());
        }
        let error = pool.run(Some(hostile.clone()), || ()).await.unwrap_err();
        assert_eq!(error.code(), Some(&"too-many-requests".into()));
        // Who leaves has a place for as long as the job is in the queue.
        all.truncate(2);
        assert!(pool.run(Some(hostile.clone()), || ()).await.is_err());
        let served = pool.run(Some(other), || 7);
        release.send(()).unwrap();
        assert_eq!(served.await.unwrap(), 7);
        assert!(pool.run(Some(hostile), || ()).await.is_ok());
    }

    #[tokio::test]
    async fn a_panic_ends_no_thread() {
        let pool = Pool::new(1);
        assert!(pool.run(None, || panic!("on purpose")).await.is_err());
        assert_eq!(pool.run(None, || 7).await.unwrap(), 7);
    }
}
