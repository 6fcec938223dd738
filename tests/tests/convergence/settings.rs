//! What writers set for their sessions, which must not change what clients see.

use ddp_tests::Dice;

/// One whose `money` looks otherwise.
pub(crate) const LOCALE: &str = "de_DE";

/// The form that clients see, for a session that compares.
pub(crate) const USUAL: &str =
    "SET IntervalStyle = iso_8601; SET lc_monetary = 'C'; SET search_path = public";

const SETTINGS: &[&str] = &[
    "extra_float_digits = -5",
    "extra_float_digits = 3",
    "bytea_output = escape",
    "DateStyle = 'SQL, DMY'",
    "TimeZone = 'Asia/Kolkata'",
    "IntervalStyle = sql_standard",
    "IntervalStyle = postgres_verbose",
    "lc_monetary = 'de_DE.UTF-8'",
    "search_path = odd, public",
    "search_path = pg_temp, public, pg_catalog",
    "xmloption = document",
    "quote_all_identifiers = on",
    "standard_conforming_strings = off",
    "plan_cache_mode = force_generic_plan",
];

/// Some of them, for the session or the transaction.
pub(crate) fn statement(dice: &mut Dice) -> String {
    let set = *dice.pick(&["SET", "SET", "SET LOCAL"]);
    let some = (0..=dice.below(3)).map(|_| format!("{set} {}", dice.pick(SETTINGS)));
    some.collect::<Vec<_>>().join("; ")
}
