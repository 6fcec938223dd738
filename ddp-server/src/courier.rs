//! Brings the mail of many sessions at once.

use std::sync::Arc;

use tokio::runtime::Handle;

use crate::mailbox::Mailbox;

/// How many sessions one task serves: enough that the task costs next to nothing, few enough that all
/// cores have their share and nobody else waits long. Each takes one unit of tokio's budget, of which
/// a task has 128.
const SESSIONS_PER_TASK: usize = 64;

/// Delivers what was left in these mailboxes. A change that goes to a thousand clients wakes a few tasks
/// instead of a thousand, and does for each client only what the change needs.
pub(crate) fn deliver(sessions: Vec<Arc<Mailbox>>) {
    let mut sessions = sessions.into_iter().peekable();
    let mut last = None;
    while let Some(first) = sessions.next() {
        // That of the connections, for whoever makes the change may have none, or one that rests.
        let runtime = first.runtime().cloned();
        let id = runtime.as_ref().map(Handle::id);
        let mut share = vec![first];
        while share.len() < SESSIONS_PER_TASK
            && let Some(next) = sessions.next_if(|next| next.runtime().map(Handle::id) == id)
        {
            share.push(next);
        }
        match runtime {
            Some(runtime) if share.len() > 1 => {
                let round = Round(share.into_iter());
                runtime.spawn(async move { round.deliver() });
                last = Some(runtime);
            }
            _ => share.iter().for_each(|session| session.wake()),
        }
    }
    if let Some(runtime) = last {
        // The task that was spawned last waits for the one that spawned it; this puts it where idle
        // threads find it.
        runtime.spawn(async {});
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
