//! The application behind the mount: an echo that can be told to misbehave.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ddp_server::sockjs::Connection;

/// How long a slow application takes per message.
const SLOW: Duration = Duration::from_millis(50);

/// What the application does with a message after sending it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Echo,
    /// With much following it.
    Big,
    /// After some time.
    Slow,
    Close,
    Drop,
}

impl Command {
    pub(super) fn new(choice: u8) -> Self {
        match choice % 16 {
            0 => Self::Close,
            1 => Self::Drop,
            2 | 3 => Self::Slow,
            4..=6 => Self::Big,
            _ => Self::Echo,
        }
    }

    /// A message that says so, with a number that identifies it.
    pub(super) fn message(self, number: u64) -> String {
        let word = match self {
            Self::Echo => "echo",
            Self::Big => "big",
            Self::Slow => "slow",
            Self::Close => "close",
            Self::Drop => "drop",
        };
        format!("{number}:{word}:\u{2028}\u{1f600}</script>%\r\n\"")
    }
}

/// The number of a message that came back.
pub(super) fn number(message: &str) -> u64 {
    let number = message.split(':').next().and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("nobody sent {message:?}"))
}

/// Counts connections while they are open.
#[derive(Clone, Debug, Default)]
pub(super) struct Open(Arc<AtomicUsize>);

impl Open {
    pub(super) fn count(&self) -> usize {
        self.0.load(Relaxed)
    }
}

struct Guard(Open);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

pub(super) async fn run(mut connection: Connection, open: Open) {
    open.0.fetch_add(1, Relaxed);
    let _guard = Guard(open);
    while let Some(message) = connection.recv().await {
        let word = message.split(':').nth(1).unwrap_or_default().to_owned();
        match &*word {
            "slow" => tokio::time::sleep(SLOW).await,
            "big" => {
                connection.send(&message).await;
                connection.send(&format!("0:{}", "x".repeat(1000))).await;
                continue;
            }
            _ => {}
        }
        connection.send(&message).await;
        match &*word {
            "close" => return connection.close(3001, "Told to").await,
            "drop" => return,
            _ => {}
        }
    }
}
