//! Random texts and numbers, concentrated where results differ.

use ddp_tests::Dice;

const CHARACTERS: [&str; 24] = [
    "a",
    "b",
    "A",
    "B",
    "i",
    "I",
    "ı",
    "İ",
    "ä",
    "Ä",
    "ß",
    "é",
    "e\u{301}",
    " ",
    "-",
    "%",
    "_",
    "\\",
    "\"",
    "'",
    "\n",
    "\u{ffff}",
    "\u{1f600}",
    "Z",
];

/// Mostly the same few characters, so that texts are alike.
pub(crate) fn text(dice: &mut Dice, length_max: usize) -> String {
    let length = dice.below(length_max + 1);
    let few = if dice.one_in(3) { CHARACTERS.len() } else { 6 };
    (0..length).map(|_| CHARACTERS[dice.below(few)]).collect()
}

pub(crate) fn pattern(dice: &mut Dice) -> String {
    let mut pattern = String::new();
    for _ in 0..dice.below(5) {
        match dice.below(5) {
            0 => pattern.push('%'),
            1 => pattern.push('_'),
            2 => pattern.push_str(dice.pick::<&str>(&["\\\\", "\\%", "\\_", "\\a", "\\Ä"])),
            _ => pattern.push_str(&text(dice, 1).replace('\\', "\\\\")),
        }
    }
    pattern
}

pub(crate) fn integer(dice: &mut Dice) -> i64 {
    match dice.below(6) {
        0 => *dice.pick(&[
            i64::MAX,
            i64::MIN,
            9_007_199_254_740_993,
            -9_007_199_254_740_993,
            9_007_199_254_740_992,
            2_147_483_647,
            -2_147_483_648,
            32_767,
            -32_768,
        ]),
        1 => i64::try_from(dice.below(100_000)).unwrap() - 50_000,
        _ => i64::try_from(dice.below(7)).unwrap() - 3,
    }
}

pub(crate) fn float(dice: &mut Dice) -> f64 {
    match dice.below(5) {
        0 => *dice.pick(&[
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            0.1,
            f64::from(0.1_f32),
            1e300,
            5e-324,
            1e20,
            16_777_217.0,
            f64::MAX,
            -1e-7,
        ]),
        1 => f64::from(f32::try_from_bits(dice)),
        2 => integer(dice) as f64 / 8.0,
        _ => integer(dice) as f64,
    }
}

trait Bits {
    fn try_from_bits(dice: &mut Dice) -> Self;
}

impl Bits for f32 {
    /// Any finite single-precision number.
    fn try_from_bits(dice: &mut Dice) -> Self {
        let bits = u32::try_from(dice.below(1 << 31)).unwrap() << 1;
        let number = Self::from_bits(bits);
        if number.is_finite() { number } else { 0.5 }
    }
}

/// A decimal number as SQL and JSON write it.
pub(crate) fn decimal(dice: &mut Dice) -> String {
    let sign = if dice.one_in(3) { "-" } else { "" };
    match dice.below(6) {
        0 => {
            format!("{sign}{}", dice.pick(&["0", "0.0", "1e30", "12345678901234567890.5", "1e-20"]))
        }
        1 => format!("{sign}0.{}", dice.below(1000)),
        2 => format!("{sign}{}.50", dice.below(4)),
        3 => format!("{sign}{}.5", dice.below(4)),
        _ => format!("{sign}{}", dice.below(4)),
    }
}
