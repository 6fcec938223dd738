//! What each has, and who is next: lines of those who wait, one for each address.
//!
//! Each line has a turn, which is how far it was served, and the line with the least is next. What
//! somebody has had may turn out to be more than it asked for; then its line's turn moves on. Whoever
//! comes to an empty line begins where the turns are, so that nobody saves any up. Whoever has left and
//! comes back begins where it was, if that is further: otherwise two who come by turns would always be
//! before who stays. That is forgotten when the turns have come there, or nobody waits. Nothing here looks
//! at all of the lines or at all of one: everything is done while nobody else can ask.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// The turn of a line, and the number of who is first in it.
type Place = (u64, u64);

pub(super) struct Lines<Whose, Waiter> {
    bytes_max: usize,
    each_max: usize,
    /// How much of `there` counts.
    there_max: usize,
    /// What was asked for and given.
    asked: usize,
    /// What was taken without waiting.
    there: usize,
    /// Those who have something, or wait, or have left with a turn beyond where the turns are.
    holders: HashMap<Whose, Holder<Waiter>>,
    /// The lines whose first may have what it wants, as far as its own address is concerned.
    fronts: BTreeMap<Place, Whose>,
    /// Where the last of these were, and a number for each.
    left: BTreeMap<Place, Whose>,
    /// How far the turns have got, in bytes.
    turn: u64,
    /// How many numbers there are.
    numbers: u64,
}

struct Holder<Waiter> {
    taken: usize,
    /// Those who wait, by number, and for how many bytes.
    line: BTreeMap<u64, (usize, Waiter)>,
    /// The turn of the first of them.
    turn: u64,
    /// Where it is among the fronts, if it is.
    front: Option<Place>,
    /// Where it is among those who have left, if it is.
    left: Option<Place>,
}

impl<Waiter> Holder<Waiter> {
    /// It begins where the turns are, unless it is further.
    fn come(&mut self, turn: u64) {
        if self.line.is_empty() {
            self.turn = self.turn.max(turn);
        }
    }

    fn has_left(&self) -> bool {
        self.taken == 0 && self.line.is_empty()
    }
}

impl<Waiter> Default for Holder<Waiter> {
    fn default() -> Self {
        Self { taken: 0, line: BTreeMap::new(), turn: 0, front: None, left: None }
    }
}

impl<Whose: Clone + Eq + Hash, Waiter> Lines<Whose, Waiter> {
    pub(super) fn new(bytes_max: usize, each_max: usize) -> Self {
        Self {
            bytes_max,
            each_max,
            there_max: (bytes_max / 4).min(bytes_max - each_max),
            asked: 0,
            there: 0,
            holders: HashMap::new(),
            fronts: BTreeMap::new(),
            left: BTreeMap::new(),
            turn: 0,
            numbers: 0,
        }
    }

    /// What all have together.
    pub(super) fn taken(&self) -> usize {
        self.asked + self.there
    }

    /// How many addresses are known.
    #[cfg(test)]
    pub(super) fn holders(&self) -> usize {
        self.holders.len()
    }

    /// The place of somebody who comes now: after all who came before.
    pub(super) fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Somebody waits for so many bytes, at most what an address may have.
    pub(super) fn ask(&mut self, whose: &Whose, number: u64, bytes: usize, waiter: Waiter) {
        let holder = self.holders.entry(whose.clone()).or_default();
        holder.come(self.turn);
        holder.line.insert(number, (bytes, waiter));
        self.update(whose);
    }

    /// Somebody who asked wants it no more, whether it was given by now or not.
    pub(super) fn withdraw(&mut self, whose: &Whose, number: u64, bytes: usize) {
        let Some(holder) = self.holders.get_mut(whose) else { return };
        if holder.line.remove(&number).is_none() {
            // It was, and its line had a turn for nothing.
            holder.turn = holder.turn.saturating_sub(bytes as u64).max(self.turn);
        }
        self.update(whose);
    }

    /// Somebody has so many bytes without having asked.
    pub(super) fn take(&mut self, whose: &Whose, bytes: usize) {
        let holder = self.holders.entry(whose.clone()).or_default();
        if holder.has_left() {
            holder.come(self.turn);
        }
        holder.taken += bytes;
        self.there += bytes;
        self.update(whose);
    }

    /// Gives somebody what it wants at once, if there is enough of it and nobody waits.
    pub(super) fn serve_now(&mut self, whose: &Whose, bytes: usize) -> bool {
        let waits_for_itself = self.holders.get(whose).is_some_and(|holder| {
            !holder.line.is_empty() || bytes > self.each_max.saturating_sub(holder.taken)
        });
        if waits_for_itself || !self.fronts.is_empty() || bytes > self.left() {
            return false;
        }
        let turn = self.holders.entry(whose.clone()).or_default().turn.max(self.turn);
        self.note_served(whose, turn, bytes);
        true
    }

    /// Somebody who has something has had as much more as if it were so many bytes.
    pub(super) fn charge(&mut self, whose: &Whose, bytes: u64) {
        let Some(holder) = self.holders.get_mut(whose) else { return };
        holder.turn = holder.turn.saturating_add(bytes);
        self.update(whose);
    }

    /// Somebody gives some of that back, or of what it had asked for.
    pub(super) fn give_back(&mut self, whose: &Whose, bytes: usize, was_asked_for: bool) {
        let Some(holder) = self.holders.get_mut(whose) else { return };
        holder.taken -= bytes;
        *(if was_asked_for { &mut self.asked } else { &mut self.there }) -= bytes;
        self.update(whose);
    }

    /// Gives whoever is next what it wants, if there is enough of it.
    pub(super) fn serve_next(&mut self) -> Option<(Whose, usize, Waiter)> {
        let left = self.left();
        let (&(turn, number), whose) = self.fronts.first_key_value()?;
        let holder = self.holders.get_mut(whose)?;
        if holder.line.get(&number)?.0 > left {
            return None;
        }
        let whose = whose.clone();
        let (bytes, waiter) = holder.line.remove(&number)?;
        self.note_served(&whose, turn, bytes);
        Some((whose, bytes, waiter))
    }

    /// How much there is for whoever asks.
    fn left(&self) -> usize {
        self.bytes_max.saturating_sub(self.asked + self.there.min(self.there_max))
    }

    /// Somebody whose line had this turn has been given what it asked for.
    fn note_served(&mut self, whose: &Whose, turn: u64, bytes: usize) {
        let Some(holder) = self.holders.get_mut(whose) else { return };
        holder.taken += bytes;
        self.asked += bytes;
        self.turn = self.turn.max(turn);
        holder.turn = turn.saturating_add(bytes as u64).max(self.turn);
        self.update(whose);
    }

    /// Puts a line where it belongs among the fronts, or among those who have left.
    fn update(&mut self, whose: &Whose) {
        let Some(holder) = self.holders.get_mut(whose) else { return };
        let may_have = self.each_max.saturating_sub(holder.taken);
        let first = holder.line.first_key_value().filter(|(_, (bytes, _))| *bytes <= may_have);
        let front = first.map(|(number, _)| (holder.turn, *number));
        put(&mut self.fronts, &mut holder.front, front, whose);
        let (has_left, turn) = (holder.has_left(), holder.turn);
        if has_left && self.fronts.is_empty() {
            self.turn = self.turn.max(turn);
        }
        let left = (has_left && turn > self.turn).then(|| {
            self.numbers += 1;
            (turn, self.numbers)
        });
        put(&mut self.left, &mut holder.left, left, whose);
        if has_left && left.is_none() {
            self.holders.remove(whose);
        }
        self.forget();
    }

    /// Forgets some of those who have left with a turn that counts no more: more of them than one
    /// request adds.
    fn forget(&mut self) {
        if self.fronts.is_empty()
            && let Some((&(turn, _), _)) = self.left.last_key_value()
        {
            self.turn = self.turn.max(turn);
        }
        for _ in 0..2 {
            let Some(first) = self.left.first_entry().filter(|first| first.key().0 <= self.turn)
            else {
                break;
            };
            self.holders.remove(&first.remove());
        }
        // Bounded by what is there, not by what was there at most.
        if self.holders.is_empty() && self.holders.capacity() > 1000 {
            self.holders.shrink_to_fit();
        }
    }
}

/// Moves somebody from one place to another.
fn put<Whose: Clone>(
    places: &mut BTreeMap<Place, Whose>,
    place: &mut Option<Place>,
    next: Option<Place>,
    whose: &Whose,
) {
    if next != *place {
        if let Some(place) = std::mem::replace(place, next) {
            places.remove(&place);
        }
        if let Some(place) = next {
            places.insert(place, whose.clone());
        }
    }
}
