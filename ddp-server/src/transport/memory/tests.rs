use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn address(text: &str) -> Option<Address> {
    Some(Address::of(text))
}

fn now(asking: &mut Asking) -> Option<Share> {
    asking.now_or_never()
}

#[test]
fn an_address_has_half_and_waits_only_for_itself() {
    let memory = Memory::new(1000, 0);
    let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
    let mut asking: Vec<_> = (0..10).map(|_| memory.ask(one.as_ref(), 250)).collect();
    let mut shares: Vec<_> = asking.iter_mut().filter_map(now).collect();
    assert_eq!(shares.len(), 2);
    let third = now(&mut memory.ask(other.as_ref(), 500)).expect("the other half");
    assert!(now(&mut memory.ask(None, 1)).is_none(), "nothing is left");
    drop(third);
    let _unknown = now(&mut memory.ask(None, 500)).expect("as much as any other");
    assert!(now(&mut memory.ask(None, 1)).is_none());
    shares.pop();
    assert!(now(&mut asking[2]).is_some(), "in the order in which it asked");
}

#[test]
fn those_who_wait_take_turns_by_address() {
    let memory = Memory::new(100, 100);
    let all = now(&mut memory.ask(None, 100)).expect("all of it");
    let names: Vec<_> = (0..3).map(|last| address(&format!("192.0.2.{last}"))).collect();
    // Two ask a thousand times, and one who comes later asks once.
    let ask = |index: usize| memory.ask(names[index].as_ref(), 100);
    let mut greedy: Vec<_> = (0..2000).map(|number| ask(number % 2)).collect();
    let mut late = ask(2);
    drop(all);
    let mut before = 0;
    while now(&mut late).is_none() {
        let has_it = greedy.iter_mut().position(|asking| now(asking).is_some());
        let index = has_it.expect("somebody has it");
        greedy.swap_remove(index);
        before += 1;
    }
    assert!(before <= 2, "{before}");
}

#[test]
fn a_large_request_is_not_overtaken_for_ever() {
    let memory = Memory::new(100, 100);
    let mut held = VecDeque::new();
    let mut waiting = VecDeque::new();
    let ask = |number: u32| memory.ask(Some(&Address::V4(number.to_be_bytes())), 10);
    held.extend((0..10).map(|number| now(&mut ask(number)).expect("room")));
    let mut large = memory.ask(None, 100);
    for number in 10..40 {
        waiting.push_back(ask(number));
        drop(held.pop_front());
        held.extend(waiting.iter_mut().filter_map(now));
    }
    assert!(held.is_empty() && now(&mut large).is_some());
}

#[test]
fn who_wants_nothing_any_more_holds_up_nobody() {
    let memory = Memory::new(100, 100);
    let some = now(&mut memory.ask(None, 50)).expect("half of it");
    let large = memory.ask(address("192.0.2.1").as_ref(), 100);
    let mut small = memory.ask(address("192.0.2.2").as_ref(), 50);
    assert!(now(&mut small).is_none(), "another is before it");
    drop(large);
    let small = now(&mut small).expect("its turn");
    // What was given and not taken is free again.
    drop(memory.ask(None, 50));
    drop((some, small));
    assert_eq!(memory.lines.lock().holders(), 0, "nothing is kept of who has left");
    assert_eq!(memory.taken(), 0);
}

#[test]
fn what_is_there_already_is_taken_and_paid_for_by_its_address() {
    let memory = Memory::new(1000, 0);
    let one = address("192.0.2.1");
    let mut much = memory.take(one.as_ref(), 5000);
    let other = now(&mut memory.ask(None, 500)).expect("half is for others");
    let mut asking = memory.ask(one.as_ref(), 1);
    much.shrink_to(500);
    assert!(now(&mut asking).is_none());
    let part = much.split(1).expect("a part");
    much.add(part);
    assert_eq!((much.bytes(), now(&mut asking).is_none()), (500, true));
    much.shrink_to(499);
    assert!(now(&mut asking).is_some());
    drop((much, other));
    assert_eq!(memory.taken(), 0);
}

#[test]
fn who_leaves_and_comes_back_gets_no_more_than_who_stays() {
    let memory = Memory::new(100, 100);
    let [one, two, three] = [1, 2, 3].map(|last| address(&format!("192.0.2.{last}")));
    let mut staying: Vec<_> = (0..2).map(|_| memory.ask(one.as_ref(), 100)).collect();
    let mut has = now(&mut staying[0]);
    let ask = |who: Option<Address>| (who.clone(), memory.ask(who.as_ref(), 100));
    let mut coming = VecDeque::from([ask(two), ask(three)]);
    let (mut gone, mut before) = (None, 0);
    loop {
        // Given to the next. One of the two always waits, and the other has nothing when it comes back.
        drop(has.take());
        if now(&mut staying[1]).is_some() {
            break;
        }
        coming.extend(gone.take().map(ask));
        let (who, mut asking) = coming.pop_front().expect("one of the two");
        has = now(&mut asking);
        assert!(has.is_some() && before < 10, "{before} were before it");
        gone = Some(who);
        before += 1;
    }
    assert_eq!(before, 2);
}

#[test]
fn what_those_had_who_have_left_is_forgotten_when_others_have_had_it_too() {
    const COUNT: u32 = 1000;
    let memory = Memory::new(100, 100);
    let ask = |number: u32| memory.ask(Some(&Address::V4(number.to_be_bytes())), 100);
    let mut has = now(&mut ask(0));
    let mut patient = ask(0);
    let mut next = ask(1);
    for number in 2..COUNT {
        drop(has.take());
        has = now(&mut next);
        assert!(has.is_some() && now(&mut patient).is_none());
        next = ask(number);
    }
    assert!(memory.lines.lock().holders() >= COUNT as usize - 10);
    drop((has, next));
    assert!(now(&mut patient).is_some());
    // Some of them with each request, since nobody can ask meanwhile.
    for _ in 0..COUNT / 2 {
        assert!(now(&mut ask(0)).is_some());
    }
    assert_eq!(memory.lines.lock().holders(), 0);
}

/// Ten addresses that each have a tenth.
fn tenths(memory: &Arc<Memory>) -> VecDeque<Share> {
    let ask = |number: u32| memory.ask(Some(&Address::V4(number.to_be_bytes())), 10);
    (0..10).map(|number| now(&mut ask(number)).expect("room")).collect()
}

#[test]
fn what_is_asked_for_and_given_up_costs_no_turn() {
    let memory = Memory::new(100, 100);
    let mut held = tenths(&memory);
    let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
    // Its line is never empty, and neither is what it has.
    let has = memory.take(one.as_ref(), 1);
    let mut patient = memory.ask(one.as_ref(), 10);
    for _ in 0..1000 {
        drop(memory.ask(one.as_ref(), 99));
    }
    let mut neighbour = memory.ask(one.as_ref(), 10);
    let mut others: Vec<_> = (0..3).map(|_| memory.ask(other.as_ref(), 10)).collect();
    held.pop_front();
    held.extend(now(&mut patient));
    held.pop_front();
    held.extend(now(&mut others[0]));
    held.pop_front();
    let taken = now(&mut neighbour).expect("the second turn of its address");
    assert!(now(&mut others[1]).is_none());
    held.pop_front();
    assert!(now(&mut others[1]).is_some());
    drop(taken);
    drop(has);
}

#[test]
fn what_is_given_and_not_taken_costs_no_turn() {
    let memory = Memory::new(100, 100);
    let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
    let has = memory.take(one.as_ref(), 1);
    for _ in 0..1000 {
        drop(memory.ask(one.as_ref(), 50));
    }
    let all = now(&mut memory.ask(None, 100)).expect("all of it");
    let mut first = memory.ask(one.as_ref(), 50);
    let mut second = memory.ask(other.as_ref(), 60);
    drop(all);
    assert!(now(&mut second).is_none() && now(&mut first).is_some());
    assert!(now(&mut second).is_some());
    drop(has);
}

#[test]
fn a_pause_keeps_the_place() {
    let memory = Memory::new(100, 100);
    let mut held = tenths(&memory);
    let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
    let mut first = memory.ask(one.as_ref(), 10);
    let mut second = memory.ask(one.as_ref(), 10);
    let mut third = memory.ask(other.as_ref(), 10);
    assert!(now(&mut first).is_none());
    first.pause();
    assert!(!first.is_waiting());
    assert!(now(&mut first).is_none() && first.is_waiting());
    held.pop_front();
    let mut taken = vec![now(&mut first).expect("it asked first")];
    // What is free while it wants nothing is given to others.
    let mut fourth = memory.ask(one.as_ref(), 10);
    second.pause();
    held.pop_front();
    taken.extend(now(&mut third));
    held.pop_front();
    taken.extend(now(&mut fourth));
    assert_eq!(taken.len(), 3);
    drop(taken);
    assert!(now(&mut second).is_some());
}

#[test]
fn what_cannot_wait_leaves_room_for_others() {
    let memory = Memory::new(1000, 0);
    let addresses: Vec<_> = (0..20).map(|last| address(&format!("192.0.2.{last}"))).collect();
    let slow: Vec<_> = addresses.iter().map(|slow| memory.take(slow.as_ref(), 5000)).collect();
    assert_eq!(memory.taken(), 100_000);
    let other = now(&mut memory.ask(None, 500)).expect("as if nobody had anything");
    let mut more = memory.ask(address("198.51.100.1").as_ref(), 251);
    assert!(now(&mut more).is_none(), "a quarter counts");
    assert!(now(&mut memory.ask(addresses[0].as_ref(), 1)).is_none(), "its own has too much");
    drop(slow);
    assert!(now(&mut more).is_some());
    drop((other, more));

    // Of one request, nothing is left out.
    let memory = Memory::new(100, 100);
    let _slow = memory.take(addresses[0].as_ref(), 5000);
    assert!(now(&mut memory.ask(None, 100)).is_some());
}

#[test]
fn who_gives_up_costs_no_time() {
    const COUNT: usize = 30_000;
    let memory = Memory::new(COUNT, 0);
    let has = memory.take(None, COUNT);
    let begun = Instant::now();
    let mut waiting: Vec<_> = (0..COUNT).map(|_| memory.ask(None, 1)).collect();
    waiting.drain(..).rev().for_each(drop);
    // Thousands of addresses that have something, and none waits.
    let each = |number: u32| memory.take(Some(&Address::V4(number.to_be_bytes())), 1);
    let others: Vec<_> = (0..COUNT as u32).map(each).collect();
    drop(others);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(has);
}

#[derive(Clone, Debug)]
enum Operation {
    Ask(u8, usize),
    /// One of those who wait gives up.
    GiveUp(usize),
    Take(u8, usize),
    /// One has had more than it asked for.
    Charge(usize, usize),
    /// One gives back some of what it has.
    GiveBack(usize, usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let (whose, bytes) = (0..5_u8, 1..=60_usize);
    prop_oneof![
        4 => (whose.clone(), bytes.clone()).prop_map(|(whose, bytes)| Operation::Ask(whose, bytes)),
        2 => any::<usize>().prop_map(Operation::GiveUp),
        1 => (whose, bytes.clone()).prop_map(|(whose, bytes)| Operation::Take(whose, bytes)),
        2 => (any::<usize>(), bytes.clone()).prop_map(|(which, bytes)| Operation::Charge(which, bytes)),
        4 => (any::<usize>(), bytes).prop_map(|(which, bytes)| Operation::GiveBack(which, bytes)),
    ]
}

/// Lines in which everybody is looked at each time.
#[derive(Default)]
struct Naive {
    waiting: Vec<(u8, u64, usize)>,
    /// Whose, how many bytes, and whether they were asked for.
    taken: Vec<(u8, usize, bool)>,
    turns: BTreeMap<u8, u64>,
    turn: u64,
}

impl Naive {
    const MAX: usize = 100;
    const EACH_MAX: usize = 60;

    fn of(&self, whose: u8) -> usize {
        self.taken.iter().filter(|taken| taken.0 == whose).map(|taken| taken.1).sum()
    }

    fn ask(&mut self, whose: u8, number: u64, bytes: usize) {
        if !self.waiting.iter().any(|waiting| waiting.0 == whose) {
            let turn = self.turns.entry(whose).or_default();
            *turn = self.turn.max(*turn);
        }
        self.waiting.push((whose, number, bytes));
    }

    /// Who is next, whether or not there is enough.
    fn next(&self) -> Option<(u8, u64, usize)> {
        let is_first = |&(whose, number, _): &(u8, u64, usize)| {
            !self.waiting.iter().any(|other| other.0 == whose && other.1 < number)
        };
        let may_have =
            |&(whose, _, bytes): &(u8, u64, usize)| self.of(whose) + bytes <= Self::EACH_MAX;
        let firsts = self.waiting.iter().copied().filter(is_first).filter(may_have);
        firsts.min_by_key(|(whose, number, _)| (self.turns[whose], *number))
    }

    fn serve_next(&mut self) -> Option<(u8, usize)> {
        self.settle();
        let (whose, number, bytes) = self.next()?;
        let sum =
            |kind| self.taken.iter().filter(|taken| taken.2 == kind).map(|taken| taken.1).sum();
        let (asked, there): (usize, usize) = (sum(true), sum(false));
        if asked + there.min(Self::MAX / 4) + bytes > Self::MAX {
            return None;
        }
        self.waiting.retain(|waiting| waiting.1 != number);
        self.taken.push((whose, bytes, true));
        self.turn = self.turn.max(self.turns[&whose]);
        let turn = (self.turns[&whose] + bytes as u64).max(self.turn);
        self.turns.insert(whose, turn);
        self.settle();
        Some((whose, bytes))
    }

    /// While nobody is next, it counts for nothing what those had who have left.
    fn settle(&mut self) {
        let left = self.turns.iter().filter(|(whose, _)| !self.is_there(**whose));
        let turn = left.map(|(_, turn)| *turn).max();
        if self.next().is_none() {
            self.turn = self.turn.max(turn.unwrap_or_default());
        }
    }

    /// Whether an address has something, or waits.
    fn is_there(&self, whose: u8) -> bool {
        self.waiting.iter().any(|waiting| waiting.0 == whose)
            || self.taken.iter().any(|taken| taken.0 == whose)
    }
}

proptest! {
    #[test]
    fn lines_are_those_of_a_naive_model(operations in proptest::collection::vec(operation(), 0..200)) {
        let mut lines = Lines::new(Naive::MAX, Naive::EACH_MAX);
        let mut naive = Naive::default();
        for operation in operations {
            match operation {
                Operation::Ask(whose, bytes) => {
                    let number = lines.next_number();
                    naive.ask(whose, number, bytes);
                    if lines.serve_now(&whose, bytes) {
                        prop_assert_eq!(naive.serve_next(), Some((whose, bytes)));
                    } else {
                        lines.ask(&whose, number, bytes, ());
                    }
                }
                Operation::GiveUp(which) if !naive.waiting.is_empty() => {
                    let which = which % naive.waiting.len();
                    let (whose, number, bytes) = naive.waiting.swap_remove(which);
                    lines.withdraw(&whose, number, bytes);
                }
                Operation::Take(whose, bytes) => {
                    lines.take(&whose, bytes);
                    if !naive.is_there(whose) {
                        let turn = naive.turns.entry(whose).or_default();
                        *turn = naive.turn.max(*turn);
                    }
                    naive.taken.push((whose, bytes, false));
                }
                Operation::Charge(which, bytes) if !naive.taken.is_empty() => {
                    let whose = naive.taken[which % naive.taken.len()].0;
                    lines.charge(&whose, bytes as u64);
                    *naive.turns.entry(whose).or_default() += bytes as u64;
                }
                Operation::GiveBack(which, bytes) if !naive.taken.is_empty() => {
                    let which = which % naive.taken.len();
                    let (whose, has, was_asked_for) = &mut naive.taken[which];
                    let bytes = bytes.min(*has);
                    *has -= bytes;
                    lines.give_back(whose, bytes, *was_asked_for);
                    if *has == 0 {
                        naive.taken.swap_remove(which);
                    }
                }
                Operation::GiveUp(_) | Operation::Charge(..) | Operation::GiveBack(..) => {}
            }
            loop {
                let served = lines.serve_next().map(|(whose, bytes, ())| (whose, bytes));
                prop_assert_eq!(served, naive.serve_next());
                if served.is_none() {
                    break;
                }
            }
            prop_assert_eq!(lines.taken(), naive.taken.iter().map(|taken| taken.1).sum::<usize>());
        }
        for (whose, number, bytes) in naive.waiting {
            lines.withdraw(&whose, number, bytes);
        }
        for (whose, bytes, was_asked_for) in naive.taken {
            lines.give_back(&whose, bytes, was_asked_for);
        }
        for _ in 0..5 {
            prop_assert!(lines.serve_now(&0, 1));
            lines.give_back(&0, 1, true);
        }
        prop_assert_eq!(lines.holders(), 0);
    }
}
