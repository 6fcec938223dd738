//! PostgreSQL's values as EJSON.
//!
//! The database writes every row with `to_json`, in triggers as in queries. This module turns the
//! JSON text of one column into the EJSON text that clients get:
//!
//! | PostgreSQL | EJSON |
//! |---|---|
//! | `NULL` of any type | `null` |
//! | `boolean` | `true`, `false` |
//! | `smallint`, `integer` | number |
//! | `bigint` | number up to ±(2^53 − 1), otherwise a string of its digits |
//! | `real`, `double precision` | number; `NaN` and infinities as `{"$InfNaN": 0 \| 1 \| -1}` |
//! | `numeric` | number if 15 significant digits suffice, so that a JavaScript number is exact;
//! otherwise a string of all digits; `NaN` and infinities as above |
//! | `text`, `varchar`, `char`, `uuid`, enums, ranges, `inet`, `time`, `money`, … | string, as PostgreSQL writes it |
//! | `json`, `jsonb` | what is stored, with EJSON's special objects escaped |
//! | the same, marked as EJSON | what is stored |
//! | `bytea` | `{"$binary": base64}` |
//! | `date` | string `"2024-02-29"`; optionally a `$date` at midnight UTC |
//! | `timestamp` | `{"$date": milliseconds}`, read as UTC |
//! | `timestamptz` | `{"$date": milliseconds}` |
//! | `interval` | string in ISO 8601, such as `"P1DT2H"` |
//! | arrays | array, nested for several dimensions |
//! | domains | as their base type |
//! | composites, `hstore` | object, as `to_json` writes it, escaped like JSON |
//!
//! Milliseconds are rounded down, before 1970 as well. Infinite times become `$InfNaN`; times
//! beyond the range of JavaScript's `Date` (the year 275760) become strings.

mod binary;
mod encode;
mod kind;
mod number;
#[cfg(test)]
mod tests;
mod text;
mod time;

pub(crate) use binary::bytes;
pub use encode::encode;
pub use kind::{ValueError, ValueKind};
pub(crate) use time::{
    date_days, date_text, microseconds, time_microseconds, time_text, timestamp_text,
    within_calendar,
};
