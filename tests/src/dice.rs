//! Seeded randomness.

use ddp_core::random::{Alea, Seed};

/// A seeded source of randomness, so that a failure can be replayed from its printed seed.
#[derive(Debug)]
pub struct Dice(Alea);

impl Dice {
    /// The dice for a role (such as "writer 3") in the run with this seed.
    #[must_use]
    pub fn new(seed: &str, role: &str) -> Self {
        Self(Alea::new(&[Seed::from(seed), Seed::from(role)]))
    }

    /// A seed from the environment variable `SEED`, or a fresh one, printed.
    #[must_use]
    pub fn seed(test: &str) -> String {
        let seed = std::env::var("SEED").unwrap_or_else(|_| ddp_server::random::id());
        println!("{test}: SEED={seed}");
        seed
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// If `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0.choice_index(bound).expect("a bound above 0")
    }

    /// True once in `times`.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A short random text.
    pub fn text(&mut self) -> String {
        self.0.id(5)
    }
}
