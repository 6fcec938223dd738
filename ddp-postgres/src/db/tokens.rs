//! Tokens: messages that this server sends to itself through the feed, to learn how far the feed
//! has come.
//!
//! A token sent in a transaction arrives after the changes of every transaction that committed
//! before, since PostgreSQL delivers messages in the order of commits.

use std::collections::HashMap;
use std::sync::Arc;

use ddp_server::Write;
use futures::channel::oneshot;
use parking_lot::Mutex;

use crate::error::Error;
use crate::feed::Feed;

/// The tokens on their way.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// The channel for them, which only this server uses.
    pub(crate) channel: String,
    feed: Feed,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    tokens: HashMap<u64, Token>,
}

#[derive(Debug)]
enum Token {
    /// A task waits for the feed to get this far.
    Position(oneshot::Sender<()>),
    /// A method's write, over when the feed has got this far.
    Write { write: Arc<Write>, is_committed: bool, is_lost: bool },
}

/// A position in the feed, forgotten when this is dropped.
pub(crate) struct Position<'a> {
    tokens: &'a Tokens,
    pub(crate) id: u64,
    arrival: oneshot::Receiver<()>,
}

impl Position<'_> {
    /// Waits until the feed gets there.
    ///
    /// # Errors
    /// If it was interrupted.
    pub(crate) async fn wait(mut self) -> Result<(), Error> {
        (&mut self.arrival).await.map_err(|_| Error::interrupted())
    }
}

impl Drop for Position<'_> {
    fn drop(&mut self) {
        self.tokens.cancel(self.id);
    }
}

impl Tokens {
    pub(crate) fn new(feed: Feed) -> Self {
        let channel = format!("ddp server {}", ddp_server::random::id());
        Self { channel, feed, open: Mutex::default() }
    }

    /// The statement that sends a token when its transaction commits.
    pub(crate) fn send_sql(&self, token: u64) -> String {
        let function = match self.feed {
            Feed::Notify => "pg_notify(",
            Feed::Wal => "pg_logical_emit_message(true, ",
        };
        format!("SELECT pg_catalog.{function}'{}', '{token}')", self.channel)
    }

    /// A token that reports its arrival.
    pub(crate) fn position(&self) -> Position<'_> {
        let (sender, arrival) = oneshot::channel();
        Position { tokens: self, id: self.open(Token::Position(sender)), arrival }
    }

    /// A token for a write whose transaction is about to commit, or has committed.
    pub(crate) fn write(&self, write: Arc<Write>, is_committed: bool) -> u64 {
        self.open(Token::Write { write, is_committed, is_lost: false })
    }

    fn open(&self, token: Token) -> u64 {
        let mut open = self.open.lock();
        open.last += 1;
        let id = open.last;
        open.tokens.insert(id, token);
        id
    }

    /// The transaction of a write has committed. If its token was lost in an interruption, returns
    /// the write: it needs a new token.
    #[must_use]
    pub(crate) fn committed(&self, id: u64) -> Option<Arc<Write>> {
        let mut open = self.open.lock();
        match open.tokens.get_mut(&id) {
            Some(Token::Write { is_lost: true, .. }) => match open.tokens.remove(&id) {
                Some(Token::Write { write, .. }) => Some(write),
                _ => None,
            },
            Some(Token::Write { is_committed, .. }) => {
                *is_committed = true;
                None
            }
            // It has arrived already.
            _ => None,
        }
    }

    /// A token has arrived. Returns the write that is complete, unless a query still has to send
    /// it.
    pub(crate) fn arrived(&self, id: u64) -> Option<Arc<Write>> {
        let token = self.open.lock().tokens.remove(&id);
        match token {
            Some(Token::Position(sender)) => {
                // The receiver is gone if the read was cancelled.
                let _ = sender.send(());
                None
            }
            Some(Token::Write { write, .. }) => Some(write),
            None => None,
        }
    }

    /// Forgets a token that will not be sent. False if it is not open: it has arrived, or was lost
    /// and another task is replacing it.
    pub(crate) fn cancel(&self, id: u64) -> bool {
        let token = self.open.lock().tokens.remove(&id);
        token.is_some()
    }

    /// The feed has ended: no token will arrive any more. Waiters get an error.
    pub(crate) fn clear(&self) {
        let tokens = std::mem::take(&mut self.open.lock().tokens);
        drop(tokens);
    }

    /// The feed was interrupted: tokens may have passed unseen. Returns the writes that have
    /// committed; they need new tokens.
    #[must_use]
    pub(crate) fn lose_all(&self) -> Vec<Arc<Write>> {
        let mut open = self.open.lock();
        let (mut lost, mut kept, mut positions) = (Vec::new(), HashMap::new(), Vec::new());
        for (id, token) in open.tokens.drain() {
            match token {
                Token::Position(sender) => positions.push(sender),
                Token::Write { write, is_committed: true, .. } => lost.push(write),
                Token::Write { write, is_committed: false, .. } => {
                    let token = Token::Write { write, is_committed: false, is_lost: true };
                    kept.insert(id, token);
                }
            }
        }
        open.tokens = kept;
        drop(open);
        drop(positions);
        lost
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ddp_server::WriteFence;
    use futures::FutureExt;

    use super::*;

    fn write() -> Arc<Write> {
        Arc::new(WriteFence::detached().begin_write())
    }

    #[test]
    fn a_write_is_over_when_its_token_arrives() {
        let tokens = Tokens::new(Feed::Notify);
        let id = tokens.write(write(), false);
        assert!(tokens.committed(id).is_none());
        assert!(tokens.arrived(id).is_some());
        assert!(tokens.arrived(id).is_none());

        let early = tokens.write(write(), false);
        assert!(tokens.arrived(early).is_some());
        assert!(tokens.committed(early).is_none());
    }

    #[test]
    fn a_position_is_told_of_or_forgotten() {
        let tokens = Tokens::new(Feed::Notify);
        let position = tokens.position();
        assert!(tokens.arrived(position.id).is_none());
        position.wait().now_or_never().unwrap().unwrap();
        let given_up = tokens.position();
        assert_eq!(tokens.open.lock().tokens.len(), 1);
        drop(given_up);
        assert!(tokens.open.lock().tokens.is_empty());
    }

    #[test]
    fn lost_tokens_are_made_anew_once_the_transaction_has_committed() {
        let tokens = Tokens::new(Feed::Notify);
        let committed = tokens.write(write(), true);
        let running = tokens.write(write(), false);
        let position = tokens.position();
        assert_eq!(tokens.lose_all().len(), 1);
        assert!(tokens.arrived(committed).is_none());
        assert!(!tokens.cancel(committed), "whoever sent it does not try again");
        let told = position.wait().now_or_never().unwrap();
        assert!(told.is_err_and(|error| error.is_transient()), "whoever waits is told");
        assert!(tokens.committed(running).is_some());
        assert!(tokens.committed(running).is_none());
        assert_eq!(tokens.lose_all().len(), 0);

        // Lost, but notified after the interruption.
        let running = tokens.write(write(), false);
        assert!(tokens.lose_all().is_empty());
        assert!(tokens.arrived(running).is_some());
        assert!(tokens.committed(running).is_none());
    }
}
