//! The application's functions that are called when something happens.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use parking_lot::Mutex;

use crate::log::{Count, Log, brief};

/// Callbacks are the process's, not a server's.
static LOG: LazyLock<Log> = LazyLock::new(Log::default);

/// Functions to call once, when something ends.
pub(crate) struct Callbacks(Mutex<State>);

enum State {
    Waiting(Vec<Callback>),
    Over,
}

type Callback = Box<dyn FnOnce() + Send>;

impl Default for Callbacks {
    fn default() -> Self {
        Self(Mutex::new(State::Waiting(Vec::new())))
    }
}

impl Callbacks {
    /// Adds a function. After the end, it is called at once.
    pub(crate) fn add(&self, callback: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        if let State::Waiting(callbacks) = &mut *state {
            return callbacks.push(Box::new(callback));
        }
        drop(state);
        callback();
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(*self.0.lock(), State::Over)
    }

    /// The end has come: calls all functions, in the order in which they were added.
    pub(crate) fn call(&self, what: &str) {
        let state = std::mem::replace(&mut *self.0.lock(), State::Over);
        if let State::Waiting(callbacks) = state {
            for callback in callbacks {
                guard(what, callback);
            }
        }
    }
}

/// Calls a function of the application; a panic is logged and harms nothing else.
pub(crate) fn guard(what: &str, function: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(function)) {
        let error = panic_text(&*panic);
        let count: Count = |callback, error, count| {
            tracing::error!(callback, error, count, "callbacks panicked");
        };
        if LOG.admits("callback panicked", what, error, count) {
            let error = &*brief(error);
            tracing::error!(callback = what, error, "callback panicked");
        }
    }
}

/// What a panic said, if it was text.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn each_is_called_once_in_order_and_late_ones_at_once() {
        let callbacks = Callbacks::default();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = |number: u8| {
            let seen = Arc::clone(&seen);
            move || seen.lock().push(number)
        };
        callbacks.add(note(1));
        callbacks.add(|| panic!("on purpose"));
        callbacks.add(note(2));
        assert!(!callbacks.is_over() && seen.lock().is_empty());
        callbacks.call("test");
        callbacks.call("test");
        callbacks.add(note(3));
        assert!(callbacks.is_over());
        assert_eq!(*seen.lock(), [1, 2, 3]);
    }
}
