//! Figures of several rounds, and how they are printed.

use std::fmt;

/// One figure of each round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds(Vec<f64>);

impl Rounds {
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    pub(crate) fn median(&self) -> f64 {
        median(self.0.clone())
    }

    /// The ratios of these figures to the other's, each within the same round.
    pub(crate) fn ratio(&self, other: &Self) -> Ratio {
        Ratio::of(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect())
    }
}

/// The ratios of several rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ratio {
    median: f64,
    /// The lowest and the highest, if there are several.
    spread: Option<(f64, f64)>,
}

impl Ratio {
    /// A figure from a single measurement.
    pub(crate) fn once(ratio: f64) -> Self {
        Self { median: ratio, spread: None }
    }

    fn of(ratios: Vec<f64>) -> Self {
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let spread = (ratios.len() > 1).then_some((least, greatest));
        Self { median: median(ratios), spread }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>7.2}", self.median)?;
        match self.spread {
            Some((least, greatest)) => write!(f, " ({least:.2} to {greatest:.2})"),
            None => Ok(()),
        }
    }
}

/// Prints a figure next to its target.
pub(crate) fn tell(what: &str, figures: &str, ratio: Ratio, target: &str) {
    println!("{what:<34} {figures:<58} {:<24} (target {target})", ratio.to_string());
}

/// The median; there must be at least one.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
