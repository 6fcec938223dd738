//! When to look at a table again.

use crate::schema::{self, Patience};

/// How many checks at most pass over a table whose failure repeats.
const REST_MAX: u32 = 4;

/// What the last check of a table found.
#[derive(Debug)]
pub(crate) struct Watched {
    /// The catalogs' digest.
    pub(super) digest: String,
    trouble: Option<Trouble>,
    doubts: Doubts,
}

/// How often the catalogs were not as last seen. They may look so again.
#[derive(Clone, Copy, Debug, Default)]
struct Doubts {
    raised: u64,
    /// How many had been when the last check began, and when that began which last looked.
    at_check: u64,
    at_look: u64,
}

/// What kept a table from being published, or its triggers from being installed.
#[derive(Debug)]
pub(super) struct Failure {
    /// For the log.
    pub(super) text: String,
    /// Whether others had the table locked.
    is_lock: bool,
}

/// A failure that has not passed yet.
#[derive(Debug)]
struct Trouble {
    failure: Failure,
    /// How often it was found.
    times: u32,
    /// How many checks are to pass over the table.
    rest: u32,
}

impl Failure {
    pub(super) fn new(error: &schema::Error) -> Self {
        let is_lock =
            matches!(error, schema::Error::Busy { .. } | schema::Error::Installing { .. });
        Self { text: error.to_string(), is_lock }
    }

    /// The failure, and that nothing could be done about it.
    pub(super) fn and(self, error: &schema::Error) -> Self {
        let Self { text, is_lock } = Self::new(error);
        Self { text: format!("{}; {text}", self.text), is_lock }
    }
}

impl Watched {
    pub(super) fn new(digest: String) -> Self {
        Self { digest, trouble: None, doubts: Doubts::default() }
    }

    /// Has the next check look at the table. Whether none is due for that reason yet.
    #[must_use]
    pub(super) fn doubt(&mut self) -> bool {
        self.doubts.raised += 1;
        self.doubts.raised == self.doubts.at_check + 1
    }

    /// A check begins to read digests. What is doubted from now on concerns the next.
    pub(super) fn begin_check(&mut self) {
        self.doubts.at_check = self.doubts.raised;
    }

    /// Whether what live queries have read may be outdated though the digest is as before.
    pub(super) fn is_doubted(&self) -> bool {
        self.doubts.at_look < self.doubts.at_check
    }

    /// Whether this check must look at the table, and how long it may then wait for a lock.
    ///
    /// A failure is looked into again after 1, 2, 3 and then each 4 checks; or, if others have the
    /// table locked, at each check, but in between without holding up anybody.
    pub(super) fn next_look(&mut self, digest: &str) -> Option<Patience> {
        let has_changed = self.digest != digest || self.is_doubted();
        match &mut self.trouble {
            None => has_changed.then_some(Patience::Long),
            Some(trouble) if has_changed || trouble.rest <= 1 => Some(Patience::Short),
            Some(trouble) => {
                trouble.rest -= 1;
                trouble.failure.is_lock.then_some(Patience::None)
            }
        }
    }

    /// Whether the last look failed.
    pub(super) fn has_failed(&self) -> bool {
        self.trouble.is_some()
    }

    /// Whether the last look did not fail for the same reason.
    pub(super) fn is_new_failure(&self, failure: &Failure) -> bool {
        self.trouble.as_ref().is_none_or(|trouble| trouble.failure.text != failure.text)
    }

    /// Takes down what a look found.
    pub(super) fn note(&mut self, digest: String, failure: Option<Failure>, patience: Patience) {
        self.digest = digest;
        self.doubts.at_look = self.doubts.at_check;
        let Some(failure) = failure else {
            self.trouble = None;
            return;
        };
        self.trouble = Some(match self.trouble.take() {
            Some(trouble) if trouble.failure.text != failure.text => {
                Trouble { failure, times: 1, rest: 1 }
            }
            // The table was not free yet.
            Some(trouble) if patience == Patience::None => trouble,
            trouble => {
                let times = trouble.map_or(0, |trouble| trouble.times) + 1;
                Trouble { failure, times, rest: times.min(REST_MAX) }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> schema::Error {
        schema::Error::Busy { relation: "t".to_owned() }
    }

    /// The looks of this many checks that all fail.
    fn looks(watched: &mut Watched, error: &schema::Error, checks: usize) -> String {
        let look = |_| {
            let look = watched.next_look("a");
            if let Some(patience) = look {
                watched.note("a".to_owned(), Some(Failure::new(error)), patience);
            }
            match look {
                None => '-',
                Some(Patience::None) => 't',
                Some(Patience::Short) => 's',
                Some(Patience::Long) => 'l',
            }
        };
        (0..checks).map(look).collect()
    }

    #[test]
    fn nothing_is_looked_at_unless_it_changes() {
        let mut watched = Watched::new("a".to_owned());
        assert_eq!(watched.next_look("a"), None);
        assert_eq!(watched.next_look("b"), Some(Patience::Long));
    }

    #[test]
    fn a_doubt_is_looked_into_once_however_the_catalogs_look() {
        let mut watched = Watched::new("a".to_owned());
        assert!(watched.doubt());
        assert!(!watched.doubt(), "one check will do");
        watched.begin_check();
        assert!(watched.doubt(), "this check may have read the catalogs before");
        // It fails: the next one looks all the same.
        watched.begin_check();
        assert_eq!(watched.next_look("a"), Some(Patience::Long));
        watched.note("a".to_owned(), None, Patience::Long);
        watched.begin_check();
        assert_eq!(watched.next_look("a"), None);
    }

    #[test]
    fn failures_are_never_final() {
        let error = schema::Error::NotInstalled { relation: "t".to_owned() };
        let mut watched = Watched::new(String::new());
        assert_eq!(looks(&mut watched, &error, 16), "ls-s--s---s---s-");
        // Another change is looked at at once, and another failure soon.
        assert_eq!(watched.next_look("b"), Some(Patience::Short));
        watched.note("a".to_owned(), Some(Failure::new(&busy())), Patience::Short);
        assert_eq!(looks(&mut watched, &busy(), 4), "stst");
    }

    #[test]
    fn a_locked_table_is_tried_each_time_but_seldom_waited_for() {
        let mut watched = Watched::new(String::new());
        assert_eq!(looks(&mut watched, &busy(), 12), "lststtstttst");
        watched.note("a".to_owned(), None, Patience::None);
        assert_eq!(watched.next_look("a"), None);
    }
}
