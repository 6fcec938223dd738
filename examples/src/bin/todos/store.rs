//! Where the tasks are.

use std::time::SystemTime;

use ddp_core::ejson::Date;
use ddp_server::{Cursor, Error, MemoryCollection, WriteFence};

use crate::AnyError;
use crate::methods::{TASKS, Task};

#[derive(Clone)]
pub(crate) enum Store {
    Memory(MemoryCollection<Task>),
}

impl Store {
    pub(crate) async fn open() -> Result<Self, AnyError> {
        let tasks = MemoryCollection::new(&TASKS);
        Ok(Self::Memory(tasks))
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Memory(_) => {
                "no PostgreSQL binaries found and no DATABASE_URL given: tasks live in memory".into()
            }
        }
    }

    pub(crate) async fn close(&self) -> Result<(), AnyError> {
        Ok(())
    }

    pub(crate) fn find(&self) -> Cursor<Task> {
        match self {
            Self::Memory(tasks) => tasks.find(),
        }
    }

    pub(crate) async fn insert(
        &self,
        _fence: &WriteFence,
        id: &str,
        list_id: &str,
        text: &str,
    ) -> Result<(), Error> {
        match self {
            Self::Memory(tasks) => tasks.insert_with_id(
                id,
                &Task {
                    list_id: list_id.to_owned(),
                    text: Some(text.to_owned()),
                    checked: false,
                    created_at: now(),
                },
            ),
        }
    }

    pub(crate) async fn set_checked(
        &self,
        _fence: &WriteFence,
        id: &str,
        checked: bool,
    ) -> Result<bool, Error> {
        match self {
            Self::Memory(tasks) => tasks.update(id, |task| task.checked = checked),
        }
    }

    pub(crate) async fn remove(&self, _fence: &WriteFence, id: &str) -> Result<bool, Error> {
        match self {
            Self::Memory(tasks) => Ok(tasks.remove(id)),
        }
    }
}

fn now() -> Date {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Date::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}
