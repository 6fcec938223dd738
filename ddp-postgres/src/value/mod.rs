//! PostgreSQL's values as EJSON.
//!
//! The database writes every row by `to_json`, in triggers and in queries alike, and this module
//! turns the JSON text of one column into the EJSON text that clients get:
//!
//! | PostgreSQL | EJSON |
//! |---|---|
//! | `NULL` of any type | `null` |
//! | `boolean` | `true`, `false` |
//! | `smallint`, `integer` | number |
//! | `bigint` | number up to 2^53 − 1 either way, a string of its digits beyond |
//! | `real`, `double precision` | number; `NaN` and infinities as `{"$InfNaN": 0 \| 1 \| -1}` |
//! | `numeric` | number if 15 significant digits suffice, so that a JavaScript number holds it exactly; a string of all digits otherwise; `NaN` and infinities as above |
//! | `text`, `varchar`, `char`, `uuid`, enums, ranges, `inet`, `time`, `money`, … | string, as PostgreSQL writes it |
//! | `json`, `jsonb` | what is stored, with EJSON's special objects escaped |
//! | the same, marked as EJSON | what is stored |
//! | `bytea` | `{"$binary": base64}` |
//! | `date` | string `"2024-02-29"`; by option a `$date` at midnight UTC |
//! | `timestamp` | `{"$date": milliseconds}`, read as UTC |
//! | `timestamptz` | `{"$date": milliseconds}` |
//! | `interval` | string in ISO 8601, such as `"P1DT2H"` |
//! | arrays | array, nested for several dimensions |
//! | domains | as the type that they are based on |
//! | composites, `hstore` | object, as `to_json` writes it, escaped like JSON |
//!
//! Milliseconds are rounded down, before 1970 as well. Infinite times become `$InfNaN`, and times
//! that JavaScript's `Date` cannot hold (beyond the year 275760) a string.

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
