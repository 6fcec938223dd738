//! How changes come from the database.

mod in_progress;
mod notify;
mod task;
mod wal;

pub use task::Feed;
pub(crate) use task::{Command, Task};
