//! What is in a mailbox, and how it is bounded.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

use ddp_core::merge_box::Source;
use ddp_core::{CollectionName, LiveQueryKey, SubscriptionKey};

use crate::connection::mail::Mail;

#[derive(Debug)]
pub(super) struct State {
    /// A step that came alone and is the only mail. Most steps are, and this way neither leaving nor
    /// taking them reaches for the queue's memory, which no cache holds when there are many sessions.
    pub(super) alone: Option<Mail>,
    pub(super) mail: VecDeque<Mail>,
    pub(super) deltas: usize,
    /// Conflate when this many deltas wait.
    pub(super) conflate_at: usize,
    /// How much mail that cannot be skipped is waiting.
    pub(super) exact: usize,
    pub(super) end: End,
}

/// Whether the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    No,
    /// Its end was requested; earlier mail must still be sent.
    Requested,
    /// Too much waits for the client.
    Behind,
    /// The mail is no longer read.
    Closed,
}

/// Mail about the same documents: only the newest must be kept.
#[derive(PartialEq, Eq, Hash)]
enum Replaceable {
    Delta(SubscriptionKey, Source, CollectionName),
    Step(LiveQueryKey),
}

impl Replaceable {
    fn of(mail: &Mail) -> Option<Self> {
        match mail {
            Mail::Delta(subscription, source, delta) => {
                Some(Self::Delta(*subscription, *source, delta.collection().clone()))
            }
            Mail::Step(query, _) => Some(Self::Step(*query)),
            _ => None,
        }
    }
}

impl State {
    pub(super) fn len(&self) -> usize {
        self.mail.len() + usize::from(self.alone.is_some())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.alone.is_none() && self.mail.is_empty()
    }

    /// Has the queue hold all mail.
    pub(super) fn queue_alone(&mut self) {
        // Nothing is in the queue while there is such mail.
        self.mail.extend(self.alone.take());
    }

    pub(super) fn take(&mut self, deltas_max: usize, into: &mut VecDeque<Mail>) {
        self.queue_alone();
        std::mem::swap(&mut self.mail, into);
        self.deltas = 0;
        self.exact = 0;
        self.conflate_at = deltas_max;
    }

    /// Drops what is too much; returns how many deltas.
    pub(super) fn bound_deltas(&mut self, deltas_max: usize) -> usize {
        if self.deltas <= self.conflate_at {
            return 0;
        }
        let before = self.deltas;
        self.conflate();
        // With more subscriptions than the limit, conflating again for each delta would be
        // quadratic.
        self.conflate_at = deltas_max.max(2 * self.deltas);
        before - self.deltas
    }

    fn conflate(&mut self) {
        self.queue_alone();
        let (mut newest, mut steps) = (Vec::new(), Vec::new());
        let mut of: HashMap<Replaceable, usize> = HashMap::new();
        let mut kept: VecDeque<Mail> = VecDeque::with_capacity(self.mail.len());
        let mut place = None;
        for mail in self.mail.drain(..) {
            let Some(replaceable) = Replaceable::of(&mail) else {
                kept.push_back(mail);
                continue;
            };
            place.get_or_insert(kept.len());
            // Steps of a live query follow what begins to show it, or it would miss them.
            let list = if matches!(mail, Mail::Step(..)) { &mut steps } else { &mut newest };
            match of.entry(replaceable) {
                Entry::Occupied(entry) => list[*entry.get()] = mail,
                Entry::Vacant(entry) => {
                    entry.insert(list.len());
                    list.push(mail);
                }
            }
        }
        newest.append(&mut steps);
        self.deltas = newest.len();
        let after = kept.split_off(place.unwrap_or_default());
        kept.extend(newest);
        kept.extend(after);
        self.mail = kept;
    }
}
