//! Log lines that clients or writers can cause: the first of a kind as it is, then a count each second.
//!
//! For data sources, plugins and handlers whose lines somebody else could repeat at will.
//!
//! ```
//! use ddp_server::log::Log;
//!
//! /// Tells of a row that cannot be shown, however many there are.
//! fn tell_of_row(log: &Log, collection: &str, error: &dyn std::error::Error) {
//!     log.line("unusable row", collection, error, |collection, error, count| {
//!         // A field that is `None` is not logged.
//!         eprintln!("unusable row: collection={collection} error={error} count={count:?}");
//!     });
//! }
//! # tell_of_row(&Log::default(), "tasks", &std::fmt::Error);
//! ```

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::Instant;

/// After a second without a line of its kind, the next one is logged as it is again.
const PERIOD: Duration = Duration::from_secs(1);

/// How many kinds are told apart; those beyond it count as one.
const KINDS_MAX: usize = 1000;

/// How much of a text a line has, since clients may have written it.
const TEXT_BYTES_MAX: usize = 1000;

/// Keeps the log short, whatever clients do. Cheap to clone: clones count together.
///
/// It tells 1,000 kinds apart at a time; those beyond that count as one. Without a tokio runtime nothing
/// is counted, and all is logged.
///
/// ```text
/// silent ── a line: logged ──► a second ── another: kept, the rest counted ──► counting
///    ▲                            │                                              │   ▲
///    └────────── it passes ───────┘                        each second: a count ─┘   │
///    ▲                                                                           └───┘
///    └──────────────────── a second without a line ──────────────────────────────┘
/// ```
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<HashMap<Kind, Seen>>>);

/// What lines have in common: what they say, and which method or publication, say, it is about.
type Kind = (&'static str, Box<str>);

/// Logs how many more lines of a kind there were: their name, the text of the first of them, and
/// their number.
pub type Count = fn(&str, &str, u64);

/// Logs a line: its name, its text, and how many there were if it stands for several.
pub type Tell = fn(&str, &str, Option<u64>);

struct Seen {
    since: Instant,
    /// How many lines were not logged since then, and the text of the first.
    more: u64,
    text: String,
    /// Whether a task logs the counts.
    is_counting: bool,
}

impl Log {
    /// Whether a line is to be logged now. If not, it is counted, and `count` tells of it within a
    /// second. `what` is different for each place that logs, and `text` is what may differ from line
    /// to line.
    pub fn admits(&self, what: &'static str, name: &str, text: &str, count: Count) -> bool {
        self.takes(what, name, text, count)
    }

    /// Logs a line by `tell`, now or counted within a second: for lines that have no more than a name and
    /// a text. `what` is different for each place that logs; the text is cut after 1,000 bytes.
    pub fn line(&self, what: &'static str, name: &str, text: impl fmt::Display, tell: Tell) {
        let text = text.to_string();
        if self.takes(what, name, &text, move |name, text, more| tell(name, text, Some(more))) {
            tell(name, &brief(&text), None);
        }
    }

    fn takes(
        &self,
        what: &'static str,
        name: &str,
        text: &str,
        count: impl Fn(&str, &str, u64) + Send + 'static,
    ) -> bool {
        let now = Instant::now();
        let mut kinds = self.0.lock();
        let is_full = kinds.len() >= KINDS_MAX;
        if is_full {
            kinds.retain(|_, seen| seen.is_counting || now < seen.since + PERIOD);
        }
        let name = if kinds.len() < KINDS_MAX { name } else { "" };
        let kind = (what, Box::from(name));
        let seen = match kinds.entry(kind.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(Seen::since(now));
                return true;
            }
            Entry::Occupied(entry) => entry.into_mut(),
        };
        if !seen.is_counting {
            let runtime = Handle::try_current().ok().filter(|_| now < seen.since + PERIOD);
            let Some(runtime) = runtime else {
                *seen = Seen::since(now);
                return true;
            };
            seen.is_counting = true;
            runtime.spawn(self.clone().count(kind, seen.since, count));
        }
        if seen.more == 0 {
            brief(text).into_owned().clone_into(&mut seen.text);
        }
        seen.more += 1;
        false
    }

    /// Logs counts until there was nothing to count for a second.
    async fn count(self, kind: Kind, since: Instant, count: impl Fn(&str, &str, u64)) {
        let mut until = since + PERIOD;
        loop {
            tokio::time::sleep_until(until).await;
            let mut kinds = self.0.lock();
            // Only this task removes a kind that is counted.
            let Some(seen) = kinds.get_mut(&kind).filter(|seen| seen.more > 0) else {
                kinds.remove(&kind);
                return;
            };
            let (more, text) = (std::mem::take(&mut seen.more), std::mem::take(&mut seen.text));
            drop(kinds);
            count(&kind.1, &text, more);
            until += PERIOD;
        }
    }
}

impl Seen {
    fn since(since: Instant) -> Self {
        Self { since, more: 0, text: String::new(), is_counting: false }
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// As much of a text as a line should have: 1,000 bytes, and then how long it is.
#[must_use]
pub fn brief(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return text.into();
    }
    let kept = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    format!("{kept}… ({} bytes)", text.len()).into()
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// What was logged.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Written {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    impl Written {
        pub(crate) fn lines(&self) -> Vec<String> {
            let bytes = std::mem::take(&mut *self.0.lock());
            let text = String::from_utf8(bytes).expect("text");
            text.lines().map(|line| line.trim().to_owned()).collect()
        }
    }

    fn listen() -> (Written, tracing::subscriber::DefaultGuard) {
        let written = Written::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(written.clone())
            .with_ansi(false)
            .with_target(false)
            .with_level(false)
            .without_time();
        (written, tracing::subscriber::set_default(subscriber.finish()))
    }

    /// The line of a method that failed.
    fn fail(log: &Log, method: &str, error: &str) {
        let count: Count = |method, error, count| tracing::info!(method, error, count, "failed");
        if log.admits("failed", method, error, count) {
            tracing::info!(method, error, "failed");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_kind_is_logged_and_the_others_are_counted() {
        let (written, _guard) = listen();
        let log = Log::default();
        for number in 0..1000 {
            fail(&log, "a", &number.to_string());
        }
        fail(&log, "b", "other");
        let first = [r#"failed method="a" error="0""#, r#"failed method="b" error="other""#];
        assert_eq!(written.lines(), first);
        tokio::time::sleep(PERIOD * 11 / 10).await;
        assert_eq!(written.lines(), [r#"failed method="a" error="1" count=999"#]);
        // It goes on: there is no line in full before a second without any.
        fail(&log, "a", "again");
        fail(&log, "b", "again");
        tokio::time::sleep(PERIOD).await;
        let counted =
            [r#"failed method="b" error="again""#, r#"failed method="a" error="again" count=1"#];
        assert_eq!(written.lines(), counted);
        tokio::time::sleep(PERIOD).await;
        fail(&log, "a", "later");
        assert_eq!(written.lines(), [r#"failed method="a" error="later""#]);
        tokio::time::sleep(PERIOD * 3).await;
        assert!(written.lines().is_empty() && log.0.lock().len() <= 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_of_everything_is_bounded() {
        let (written, _guard) = listen();
        let log = Log::default();
        let long = "ß".repeat(1_000_000);
        for _ in 0..600 {
            for method in ["a", "b", "c"] {
                for _ in 0..50 {
                    fail(&log, method, &long);
                }
            }
            tokio::time::sleep(PERIOD / 10).await;
        }
        tokio::time::sleep(PERIOD * 2).await;
        let lines = written.lines();
        let counts =
            lines.iter().filter_map(|line| line.rsplit_once("count=")?.1.parse::<u64>().ok());
        assert_eq!(counts.sum::<u64>() + 3, 600 * 3 * 50, "each line is counted");
        assert!(lines.len() <= 3 * 62, "{} lines", lines.len());
    }

    #[tokio::test(start_paused = true)]
    async fn kinds_are_bounded() {
        let (written, _guard) = listen();
        let log = Log::default();
        for number in 0..10 * KINDS_MAX {
            fail(&log, &number.to_string(), "");
        }
        assert!(log.0.lock().len() <= KINDS_MAX + 1);
        assert!(written.lines().len() <= KINDS_MAX + 1);
        tokio::time::sleep(PERIOD * 3).await;
        fail(&log, "new", "");
        assert_eq!(
            written.lines().last().map(String::as_str),
            Some(r#"failed method="new" error="""#)
        );
    }

    #[test]
    fn without_a_runtime_everything_is_logged() {
        let (written, _guard) = listen();
        let log = Log::default();
        fail(&log, "a", "1");
        fail(&log, "a", "2");
        assert_eq!(written.lines().len(), 2);
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(brief("short"), "short");
        let cut = brief(&"ß".repeat(10_000)).into_owned();
        assert!(cut.len() < 1100 && cut.ends_with("ß… (20000 bytes)"), "{cut}");
    }
}
