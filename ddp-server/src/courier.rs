//! Brings the mail of many sessions at once.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::mailbox::Mailbox;

/// How many sessions one task serves: enough that the task costs next to nothing, few enough that all
/// cores have their share and nobody else waits long. Each takes one unit of tokio's budget, of which
/// a task has 128.
const SESSIONS_PER_TASK: usize = 64;

/// Delivers what is left in mailboxes. A change that goes to a thousand clients wakes a few tasks instead
/// of a thousand, and does for each client only what the change needs.
#[derive(Default)]
pub(crate) struct Courier {
    /// The sessions of the next task; all of one runtime.
    share: Vec<Arc<Mailbox>>,
    /// Where the last task was spawned.
    last: Option<Handle>,
}

impl Courier {
    /// Sees to it that what was left in this mailbox is delivered, at the latest when the courier is
    /// dropped.
    pub(crate) fn visit(&mut self, session: &Arc<Mailbox>) {
        let runtime = |session: &Mailbox| session.runtime().map(Handle::id);
        let is_full = self.share.len() == SESSIONS_PER_TASK;
        if is_full || self.share.first().is_some_and(|first| runtime(first) != runtime(session)) {
            self.start();
        }
        self.share.push(Arc::clone(session));
    }

    fn start(&mut self) {
        let share = std::mem::take(&mut self.share);
        // That of the connections, for whoever makes the change may have none, or one that rests.
        let runtime = share.first().and_then(|first| first.runtime().cloned());
        match runtime {
            Some(runtime) if share.len() > 1 => {
                let round = Round(share.into_iter());
                runtime.spawn(async move { round.deliver() });
                self.last = Some(runtime);
            }
            _ => share.iter().for_each(|session| session.wake()),
        }
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.start();
        if let Some(runtime) = &self.last {
            // The task that was spawned last waits for the one that spawned it; this puts it where
            // idle threads find it.
            runtime.spawn(async {});
        }
    }
}

/// Sessions that wait for their mail. They get it even if the runtime ends before.
struct Round(std::vec::IntoIter<Arc<Mailbox>>);

impl Round {
    fn deliver(mut self) {
        for session in self.0.by_ref() {
            session.deliver();
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.0.by_ref().for_each(|session| session.wake());
    }
}
