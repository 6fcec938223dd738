//! Who may have how many connections.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ServeConfig;
use crate::transport::{Place, Shares};

/// The places of a listener's connections.
pub(super) struct Places {
    all: Arc<Semaphore>,
    all_max: usize,
    by_address: Arc<Shares>,
}

/// A place among all, for whoever comes next.
pub(super) struct Free<'a>(&'a Places, OwnedSemaphorePermit);

impl Places {
    pub(super) fn new(config: &ServeConfig) -> Self {
        let all_max = config.connections_max().min(Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(all_max)),
            all_max,
            by_address: Shares::new(config.per_address_max()),
        }
    }

    /// How many connections there may be, and of one address.
    pub(super) fn max(&self) -> (usize, usize) {
        (self.all_max, self.by_address.max())
    }

    /// A place among all; waits until there is one, and first tells that it must.
    pub(super) async fn free(&self, waits: impl FnOnce()) -> Free<'_> {
        let taken = Arc::clone(&self.all).try_acquire_owned();
        let permit = match taken {
            Ok(permit) => permit,
            Err(_) => {
                waits();
                let all = Arc::clone(&self.all);
                all.acquire_owned().await.expect("nobody closes this semaphore")
            }
        };
        Free(self, permit)
    }
}

impl Free<'_> {
    /// The place of a connection from this address, unless that has its share.
    pub(super) fn take(self, address: IpAddr) -> Option<Place> {
        let Self(places, permit) = self;
        let share = places.by_address.take(address.into())?;
        Some(Place { _among_all: permit, _of_address: share })
    }
}
