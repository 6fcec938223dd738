//! What was decided in memory, and what was left to PostgreSQL.

use std::collections::BTreeMap;

use ddp_server::query::{Operator, Predicate, Truth};

use super::kinds::{Question, kinds};
use super::table::Table;

/// This share of all answers may be undecided.
const UNDECIDED_PERCENT_MAX: usize = 25;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) pairs: usize,
    truths: BTreeMap<&'static str, usize>,
    /// By type and test: how often it was done, and how often it was undecided.
    by_kind: BTreeMap<(&'static str, Question), (usize, usize)>,
    undecided: usize,
}

fn question(is: &Operator) -> Question {
    match is {
        Operator::Null => Question::Null,
        Operator::Compare(comparison, _) if !comparison.is_equality() => Question::Order,
        Operator::Compare(..) | Operator::In(_) => Question::Equality,
        Operator::Like(_) => Question::Like,
        Operator::ILike(_) => Question::ILike,
        Operator::StartsWith(_) => Question::StartsWith,
        Operator::ContainsAll(_) | Operator::Overlaps(_) => Question::Contains,
    }
}

impl Tally {
    pub(crate) fn count(
        &mut self,
        table: &Table,
        predicate: &Predicate,
        truth: Truth,
        sql: Option<bool>,
    ) {
        self.pairs += 1;
        let answer = match sql {
            Some(true) => "true",
            Some(false) => "false",
            None => "null",
        };
        *self.truths.entry(answer).or_default() += 1;
        let is_undecided = truth == Truth::Undecided;
        self.undecided += usize::from(is_undecided);
        let predicate = match predicate {
            Predicate::Not(one) => one,
            one => one,
        };
        if let Predicate::Condition(test) = predicate
            && let Some(kind) = table.kind(&test.field)
        {
            let counts = self.by_kind.entry((kind.label, question(&test.is))).or_default();
            counts.0 += 1;
            counts.1 += usize::from(is_undecided);
        }
    }

    pub(crate) fn print(&self) {
        println!("{} pairs, {} undecided, {:?}", self.pairs, self.undecided, self.truths);
        for ((label, question), (asked, undecided)) in &self.by_kind {
            if *undecided > 0 {
                println!("  {label}, {question:?}: {undecided} of {asked} undecided");
            }
        }
    }

    /// Memory decides what it must, and every kind was tested.
    pub(crate) fn check(&self) {
        for kind in kinds() {
            for question in kind.decides {
                let (asked, undecided) =
                    self.by_kind.get(&(kind.label, *question)).copied().unwrap_or_default();
                assert!(asked > 0, "{}, {question:?}: asked {asked} times", kind.label);
                assert_eq!(undecided, 0, "{}, {question:?}: undecided", kind.label);
            }
        }
        let percent = self.undecided * 100 / self.pairs;
        assert!(percent <= UNDECIDED_PERCENT_MAX, "{percent} % are undecided");
        for answer in ["true", "false", "null"] {
            let times = self.truths.get(answer).copied().unwrap_or_default();
            assert!(times * 10 > self.pairs, "{answer} is rare: {times}");
        }
    }
}
