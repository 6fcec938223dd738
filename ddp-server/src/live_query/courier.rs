//! Brings the steps of many sinks at once.

use std::sync::Arc;

use tokio::runtime::Handle;

use super::sink::Sink;

/// How many sinks one task serves: enough that the task costs next to nothing, few enough that all
/// cores have their share and other tasks do not wait long. Each takes one unit of tokio's budget,
/// and a task has 128 of these.
const SINKS_PER_TASK: usize = 64;

/// Delivers what is left in sinks. A change that goes to a thousand sessions wakes a few tasks instead
/// of a thousand, and does for each session only what the change needs.
#[derive(Default)]
pub(super) struct Courier {
    /// The sinks of the next task; all of one runtime.
    share: Vec<Arc<dyn Sink>>,
    /// Where the last task was spawned.
    last: Option<Handle>,
}

impl Courier {
    /// Sees to it that what was left in this sink is delivered, at the latest when the courier is
    /// dropped.
    pub(super) fn visit(&mut self, sink: &Arc<dyn Sink>) {
        let runtime = |sink: &Arc<dyn Sink>| sink.runtime().map(Handle::id);
        let is_full = self.share.len() == SINKS_PER_TASK;
        if is_full || self.share.first().is_some_and(|first| runtime(first) != runtime(sink)) {
            self.start();
        }
        self.share.push(Arc::clone(sink));
    }

    fn start(&mut self) {
        let share = std::mem::take(&mut self.share);
        // The connections' own runtime: the thread that makes the change may have none, or an idle
        // one.
        let runtime = share.first().and_then(|first| first.runtime().cloned());
        match runtime {
            Some(runtime) if share.len() > 1 => {
                let round = Round(share.into_iter());
                runtime.spawn(async move { round.deliver() });
                self.last = Some(runtime);
            }
            _ => share.iter().for_each(|sink| sink.wake()),
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

/// Sinks that wait for delivery. They are woken even if the runtime ends before.
struct Round(std::vec::IntoIter<Arc<dyn Sink>>);

impl Round {
    fn deliver(mut self) {
        for sink in self.0.by_ref() {
            sink.deliver();
        }
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.0.by_ref().for_each(|sink| sink.wake());
    }
}
