//! Which connection holds which login token.
//!
//! A connection is noted before its token is looked up or added, so that whoever revokes the token
//! meanwhile finds the connection: it ends closed, whichever comes first.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::store::TokenHash;
use crate::ejson::Date;
use crate::error::Error;
use crate::extract::Connection;

/// The tokens that connections of this server hold.
#[derive(Default)]
pub(super) struct HeldTokens {
    state: Mutex<State>,
    /// A token was held that ends before all others.
    ends_sooner: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// The open connections, and the token by which each is logged in.
    open: HashMap<Arc<str>, Option<Held>>,
    /// The connections that hold a token, or are about to.
    holders: HashMap<TokenHash, HashMap<Arc<str>, Connection>>,
    /// When tokens end that have an end of their own, and the connections that hold them.
    ends: BTreeSet<(Instant, Arc<str>)>,
    /// How often held tokens were listed, to be looked at again.
    listed: u64,
}

/// A token that a connection holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) hash: TokenHash,
    pub(super) user_id: Arc<str>,
    /// When the connection logged in by it.
    pub(super) since: Date,
    /// Who has logged in as the user, if that is somebody else.
    pub(super) impersonated_by: Option<Impersonator>,
    /// When the token ends, if it has an end of its own.
    ends: Option<Instant>,
}

/// Who is here as somebody else, and the login token without which that ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Impersonator {
    pub(super) user_id: Arc<str>,
    pub(super) hash: TokenHash,
}

impl Held {
    /// Who is here as somebody else has no say about that user's tokens and second factor.
    pub(super) fn check_own(&self) -> Result<(), Error> {
        match self.impersonated_by {
            Some(_) => Err(Error::client(403, "Not as another user")),
            None => Ok(()),
        }
    }

    /// The tokens that must all be there, and whose they are.
    fn tokens(&self) -> impl Iterator<Item = (&Arc<str>, &TokenHash)> {
        let own = self.impersonated_by.iter().map(|by| (&by.user_id, &by.hash));
        std::iter::once((&self.user_id, &self.hash)).chain(own)
    }

    fn needs(&self, hash: &TokenHash) -> bool {
        self.tokens().any(|(_, needed)| needed == hash)
    }
}

/// A connection that is about to hold a token; dropped, it does not.
#[must_use = "dropped, the connection does not hold the token"]
pub(super) struct Pending {
    tokens: Arc<HeldTokens>,
    connection: Connection,
    hash: Option<TokenHash>,
    /// [`State::listed`] as it began.
    listed: u64,
}

/// Whether a token that a connection holds now has to be looked at again.
#[must_use = "a list of tokens that are looked at again may have been made without this one"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    Settled,
    Again,
}

impl HeldTokens {
    /// A connection has begun.
    pub(super) fn open(&self, connection: &Connection) {
        self.state.lock().open.insert(Arc::clone(connection.shared_id()), None);
    }

    /// The connection with this id has ended.
    pub(super) fn close(&self, connection_id: &str) {
        let mut state = self.state.lock();
        if let Some(Some(held)) = state.open.remove(connection_id) {
            state.let_go(&held, connection_id);
        }
    }

    /// A connection is about to hold a token: it is closed if the token is revoked from now on.
    pub(super) fn begin(self: &Arc<Self>, connection: &Connection, hash: &TokenHash) -> Pending {
        let id = Arc::clone(connection.shared_id());
        let mut state = self.state.lock();
        state.holders.entry(hash.clone()).or_default().insert(id, connection.clone());
        let listed = state.listed;
        drop(state);
        let (tokens, connection) = (Arc::clone(self), connection.clone());
        Pending { tokens, connection, hash: Some(hash.clone()), listed }
    }

    /// The token that a connection holds.
    pub(super) fn of(&self, connection: &Connection) -> Option<Held> {
        self.of_id(connection.id())
    }

    /// The same of the connection with this id.
    pub(super) fn of_id(&self, connection_id: &str) -> Option<Held> {
        self.state.lock().open.get(connection_id).cloned().flatten()
    }

    /// The connections of a user, with the tokens that they hold.
    pub(super) fn sessions(&self, user_id: &str) -> Vec<(Connection, Held)> {
        let state = self.state.lock();
        let held = state.open.iter().filter_map(|(id, held)| Some((id, held.as_ref()?)));
        let held = held.filter(|(_, held)| *held.user_id == *user_id);
        let session = |(id, held): (&Arc<str>, &Held)| {
            Some((state.holders.get(&held.hash)?.get(id)?.clone(), held.clone()))
        };
        held.filter_map(session).collect()
    }

    /// The connection holds no token any longer, because it logs out.
    pub(super) fn take(&self, connection: &Connection) -> Option<Held> {
        let mut state = self.state.lock();
        let held = state.open.get_mut(connection.id())?.take()?;
        state.let_go(&held, connection.id());
        Some(held)
    }

    /// The token is gone: closes all connections that hold it.
    pub(super) fn revoke(&self, hash: &TokenHash) {
        let holders = self.state.lock().holders.get(hash).cloned().unwrap_or_default();
        for connection in holders.values() {
            connection.close();
        }
    }

    /// The tokens that are held by connections of these users.
    pub(super) fn of_users(&self, is_one: impl Fn(&str) -> bool) -> Vec<TokenHash> {
        let mut state = self.state.lock();
        // Those that are about to be held may have been looked up before this.
        state.listed += 1;
        let tokens = state.open.values().flatten().flat_map(Held::tokens);
        let hashes = tokens.filter(|(user_id, _)| is_one(user_id)).map(|(_, hash)| hash.clone());
        hashes.collect::<HashSet<_>>().into_iter().collect()
    }

    /// Closes the connections whose tokens have ended, and says when the next one ends.
    pub(super) fn close_ended(&self, now: Instant) -> Option<Instant> {
        let mut closed = Vec::new();
        let mut state = self.state.lock();
        let next = loop {
            let Some((at, id)) = state.ends.pop_first() else { break None };
            if at > now {
                state.ends.insert((at, id));
                break Some(at);
            }
            let held = state.open.get(&id).and_then(Option::as_ref);
            let holders = held.and_then(|held| state.holders.get(&held.hash));
            closed.extend(holders.and_then(|holders| holders.get(&id)).cloned());
        };
        drop(state);
        for connection in closed {
            connection.close();
        }
        next
    }

    /// Tells when a token is held that ends before all others.
    pub(super) fn ends_sooner(&self) -> Arc<Notify> {
        Arc::clone(&self.ends_sooner)
    }

    /// How many connections hold a token.
    #[cfg(all(test, feature = "testing"))]
    pub(super) fn count(&self) -> usize {
        let state = self.state.lock();
        let count = state.open.values().flatten().count();
        let tokens = state.open.values().flatten().flat_map(Held::tokens).count();
        assert!(state.holders.len() <= tokens, "some is forgotten");
        assert!(state.ends.len() <= count, "an end is forgotten");
        count
    }
}

impl State {
    fn let_go(&mut self, held: &Held, connection_id: &str) {
        for (_, hash) in held.tokens() {
            self.forget(hash, connection_id);
        }
        self.forget_end(held, connection_id);
    }

    fn forget_end(&mut self, held: &Held, connection_id: &str) {
        if let Some(at) = held.ends {
            self.ends.remove(&(at, connection_id.into()));
        }
    }

    fn forget(&mut self, hash: &TokenHash, connection_id: &str) {
        if let Some(holders) = self.holders.get_mut(hash) {
            holders.remove(connection_id);
            if holders.is_empty() {
                self.holders.remove(hash);
            }
        }
    }
}

impl Pending {
    /// The connection holds the token, in place of any other, unless it has ended; until the token ends,
    /// if it has an end of its own.
    pub(super) fn hold(
        mut self,
        user_id: &str,
        ends: Option<Instant>,
        impersonated_by: Option<Impersonator>,
    ) -> Look {
        let tokens = Arc::clone(&self.tokens);
        let mut state = tokens.state.lock();
        // If it has ended, `self` is dropped after the lock, and forgets the token.
        let Some(held) = state.open.get_mut(self.connection.id()) else { return Look::Settled };
        let Some(hash) = self.hash.take() else { return Look::Settled };
        let new = Held {
            hash,
            user_id: user_id.into(),
            since: SystemTime::now().into(),
            impersonated_by,
            ends,
        };
        if let Some(old) = held.replace(new.clone()) {
            state.forget_end(&old, self.connection.id());
            for (_, hash) in old.tokens().filter(|(_, hash)| !new.needs(hash)) {
                state.forget(hash, self.connection.id());
            }
        }
        if let Some(at) = ends {
            let is_first = state.ends.first().is_none_or(|(first, _)| at < *first);
            state.ends.insert((at, Arc::clone(self.connection.shared_id())));
            if is_first {
                tokens.ends_sooner.notify_one();
            }
        }
        if state.listed == self.listed { Look::Settled } else { Look::Again }
    }
}

impl Drop for HeldTokens {
    fn drop(&mut self) {
        // So that whoever waits finds out that there is nothing to wait for.
        self.ends_sooner.notify_one();
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(hash) = self.hash.take() else { return };
        let mut state = self.tokens.state.lock();
        let id = self.connection.id();
        // It may have held the same token before.
        let held = state.open.get(id).and_then(Option::as_ref);
        if held.is_none_or(|held| !held.needs(&hash)) {
            state.forget(&hash, id);
        }
    }
}

impl fmt::Debug for HeldTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connections = self.state.lock().open.values().flatten().count();
        f.debug_struct("HeldTokens").field("connections", &connections).finish_non_exhaustive()
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending").field("connection", &self.connection).finish_non_exhaustive()
    }
}
