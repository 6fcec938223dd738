//! From payloads to one batch per collection and transaction.
//!
//! A feed delivers a transaction's payloads together and in order. The [`Assembler`] joins the
//! parts of long ones, checks that none is missing, and adds up what they do to each row:
//!
//! ```text
//! feed(channel, payload) ──┐                              ┌─► Batch: the net effect on a collection
//! end_open_transaction() ──┼─► one open transaction ─poll─┤
//! end_of_burst() ──────────┘                              └─► Gap: something of it got lost
//! ```
//!
//! A transaction ends with the first payload of another one on any channel, or when the caller says
//! so. Saying so too early is harmless: the rest becomes another batch of the same transaction.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ddp_server::log::Log;

use super::batch::{Assembled, Gap, GapReason};
use super::pending::Pending;
use crate::schema::Layout;
use crate::schema::notification::Notification;

/// Joins the payloads of one feed.
///
/// Poll it after every call until nothing is left. Memory is bounded: a transaction that sends more
/// about a collection than the limit becomes a batch that asks to read it again.
#[derive(Debug)]
pub struct Assembler {
    bytes_max: usize,
    collections: HashMap<Arc<str>, Pending>,
    open: Option<u64>,
    /// The channels with changes of the open transaction, in order.
    touched: Vec<Arc<str>>,
    assembled: VecDeque<Assembled>,
    log: Log,
}

impl Assembler {
    /// Holds at most `bytes_max` for each collection and transaction.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            collections: HashMap::new(),
            open: None,
            touched: Vec::new(),
            assembled: VecDeque::new(),
            log: Log::default(),
        }
    }

    /// Accepts the payloads of a table's channel from now on; others are ignored.
    pub fn listen(&mut self, layout: Arc<Layout>) {
        let channel: Arc<str> = layout.channel().into();
        self.collections.insert(channel, Pending::new(layout, self.log.clone()));
    }

    /// Takes in a payload.
    pub fn feed(&mut self, channel: &str, payload: &str) {
        let Some((channel, pending)) = self.collections.get_key_value(channel) else { return };
        let (channel, collection) = (channel.clone(), pending.layout.collection().clone());
        let Ok(notification) = Notification::parse(payload) else {
            self.fail(&channel, collection, GapReason::Malformed);
            return;
        };
        if self.open != Some(notification.xid) {
            self.finish(true);
            self.open = Some(notification.xid);
        }
        let Some(pending) = self.collections.get_mut(&channel) else { return };
        match pending.feed(&notification, self.bytes_max) {
            Ok(()) if self.touched.contains(&channel) => {}
            Ok(()) => self.touched.push(channel),
            Err(reason) => self.fail(&channel, collection, reason),
        }
    }

    /// The transaction of the last payloads has been delivered completely.
    pub fn end_open_transaction(&mut self) {
        self.finish(true);
    }

    /// Nothing more is available for now. Whatever is complete becomes a batch.
    pub fn end_of_burst(&mut self) {
        self.finish(false);
    }

    /// Forgets everything pending, as after a lost connection.
    pub fn reset(&mut self) {
        for pending in self.collections.values_mut() {
            pending.reset();
        }
        self.open = None;
        self.touched.clear();
        self.assembled.clear();
    }

    /// The next batch or gap, if one is ready.
    pub fn poll(&mut self) -> Option<Assembled> {
        self.assembled.pop_front()
    }

    /// Finishes the batches of the open transaction. An operation that lacks parts is a gap, unless
    /// they may still come.
    fn finish(&mut self, complete: bool) {
        for channel in std::mem::take(&mut self.touched) {
            let Some(pending) = self.collections.get_mut(&channel) else { continue };
            if !pending.lacks_parts() {
                self.assembled.extend(pending.take_batch().map(Assembled::Batch));
            } else if complete {
                let collection = pending.layout.collection().clone();
                self.fail(&channel, collection, GapReason::Part);
            } else {
                self.touched.push(channel);
            }
        }
    }

    /// Gives up on a collection until the next transaction.
    fn fail(&mut self, channel: &Arc<str>, collection: Arc<str>, reason: GapReason) {
        if let Some(pending) = self.collections.get_mut(channel) {
            pending.give_up();
        }
        self.touched.retain(|touched| touched != channel);
        self.assembled.push_back(Assembled::Gap(Gap { collection, reason }));
    }
}

#[cfg(test)]
mod tests;
