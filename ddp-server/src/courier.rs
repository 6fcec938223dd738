//! Brings the mail of many sessions at once.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::coop;

use crate::mailbox::Mailbox;

/// How many sessions are one task's: enough that the task costs next to nothing, and few enough that
/// all cores have their share.
const SESSIONS_PER_TASK: usize = 64;

/// Delivers what was left in these mailboxes. A change that goes to a thousand clients wakes a few tasks
/// instead of a thousand, and does for each client only what the change needs.
pub(crate) fn deliver(sessions: Vec<Arc<Mailbox>>) {
    let runtime = Handle::try_current();
    let mut sessions = sessions.into_iter();
    loop {
        let share: Vec<_> = sessions.by_ref().take(SESSIONS_PER_TASK).collect();
        match (&runtime, share.len()) {
            (_, 0) => return,
            (Ok(runtime), 2..) => {
                let mut round = Round(share.into_iter());
                runtime.spawn(async move { round.deliver().await });
            }
            // The connections' own tasks do as well for one, or from a thread without a runtime.
            _ => share.iter().for_each(|session| session.wake()),
        }
    }
}

/// Sessions that wait for their mail. They get it even if the runtime ends before.
struct Round(std::vec::IntoIter<Arc<Mailbox>>);

impl Round {
    async fn deliver(&mut self) {
        tokio::task::yield_now().await;
        for session in self.0.by_ref() {
            session.deliver();
            coop::consume_budget().await;
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.0.by_ref().for_each(|session| session.wake());
    }
}
