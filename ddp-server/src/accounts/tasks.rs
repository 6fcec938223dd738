//! What happens by itself: expired tokens are forgotten, those that are held end, and tokens in doubt are
//! looked at again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::core::{Core, ago, now};
use super::store::{Expired, Revocation};
use super::watch::Doubts;
use crate::error::Error;

/// How often expired tokens are looked for, as in Meteor.
const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// How long after the store was out of reach it is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How long is slept at most.
const SLEEP_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How many tokens the store is asked for at a time.
const TOKENS_AT_ONCE: usize = 1000;

impl Core {
    /// Hears of a revocation.
    pub(super) fn hear(&self, revocation: Revocation) {
        match revocation {
            Revocation::Token(hash) => self.held.revoke(&hash),
            Revocation::User(user_id) => self.watch.doubt_user(user_id),
            Revocation::All => self.watch.doubt_all(),
        }
    }

    /// Begins what happens by itself, once. It ends with the accounts.
    pub(super) fn begin_tasks(self: &Arc<Self>) {
        if self.watch.begins() {
            tokio::spawn(sweep(Arc::downgrade(self)));
            tokio::spawn(close_ended(self.held.ends_sooner(), Arc::downgrade(self)));
            tokio::spawn(settle_doubts(self.watch.doubted(), Arc::downgrade(self)));
        }
    }

    /// Forgets what has expired.
    pub(super) async fn remove_expired(&self) -> Result<u64, Error> {
        let expired = Expired {
            now: now(),
            login_before: self.options.login_expiration.map(ago),
            reset_before: ago(self.options.password_reset_token_expiration),
            enroll_before: ago(self.options.password_enroll_token_expiration),
        };
        self.store.remove_expired(&expired).await
    }

    /// Looks at tokens again, and closes the connections whose tokens are gone.
    async fn settle(&self, doubts: &Doubts) -> Result<(), Error> {
        let is_in_doubt = |user: &str| doubts.all || doubts.users.contains(user);
        let hashes = self.held.of_users(is_in_doubt);
        for hashes in hashes.chunks(TOKENS_AT_ONCE) {
            let stored = self.store.stored_login_tokens(hashes).await?;
            for gone in hashes.iter().filter(|hash| !stored.contains(hash)) {
                self.held.revoke(gone);
            }
        }
        Ok(())
    }
}

async fn sweep(core: Weak<Core>) {
    let mut next = Instant::now();
    while let Some(core) = core.upgrade() {
        if let Err(error) = core.remove_expired().await {
            tracing::warn!(%error, "expired tokens could not be removed; trying again in 10 minutes");
        }
        drop(core);
        next += SWEEP_EVERY;
        sleep_until(next).await;
    }
}

/// Closes connections whose tokens end, as they end: their clients connect again, and are told so.
async fn close_ended(ends_sooner: Arc<Notify>, core: Weak<Core>) {
    loop {
        // Not kept while waiting, or accounts would never end.
        let Some(core) = core.upgrade() else { return };
        let next = core.held.close_ended(Instant::now());
        drop(core);
        match next {
            // Timers have a longest time, so one that is far away is looked at again.
            Some(at) => {
                let at = at.min(Instant::now() + SLEEP_MAX);
                tokio::select! {
                    () = sleep_until(at) => {}
                    () = ends_sooner.notified() => {}
                }
            }
            None => ends_sooner.notified().await,
        }
    }
}

async fn settle_doubts(doubted: Arc<Notify>, core: Weak<Core>) {
    loop {
        doubted.notified().await;
        // Not kept while waiting, or accounts would never end.
        let Some(core) = core.upgrade() else { return };
        loop {
            let doubts = core.watch.take();
            let Err(error) = core.settle(&doubts).await else { break };
            tracing::warn!(%error, "tokens in doubt could not be looked at; trying again");
            core.watch.doubt_again(doubts);
            sleep(RETRY_AFTER).await;
        }
    }
}
