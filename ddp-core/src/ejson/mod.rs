//! Meteor's EJSON: JSON with dates, binary, special numbers, regular expressions and custom types.
//!
//! The rules are those of Meteor's `ejson` package. An object with exactly these keys stands for a
//! value:
//!
//! | JSON | value |
//! |---|---|
//! | `{"$date": 0}` | [`Date`], milliseconds since 1970 |
//! | `{"$binary": "AQI="}` | bytes, standard base64 |
//! | `{"$InfNaN": 1}` | `Infinity` (1), `-Infinity` (-1) or `NaN` (0) |
//! | `{"$regexp": "^a", "$flags": "i"}` | a regular expression |
//! | `{"$type": "oid", "$value": …}` | a custom type; `$value` is plain JSON |
//! | `{"$escape": {…}}` | the inner object, which would otherwise be taken for one of these |
//!
//! [`parse`] and [`Ejson::to_text`] convert between text and [`Ejson`]; [`from_text`], [`to_text`],
//! [`from_value`] and [`to_value`] do so for any type with serde's traits. The types of this module
//! ([`Date`], [`Binary`], [`ObjectId`], [`Decimal`], [`Custom`] and [`Ejson`]) keep their meaning
//! inside such types, while a map that merely has a key named `$date` is escaped.
//!
//! ```
//! use ddp_core::ejson::{self, Date};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Task {
//!     text: String,
//!     due: Option<Date>,
//! }
//!
//! let task = Task { text: "tidy up".into(), due: Some(Date::from_millis(0)) };
//! let text = ejson::to_text(&task)?;
//! assert_eq!(text, r#"{"text":"tidy up","due":{"$date":0}}"#);
//!
//! let error = ejson::from_text::<(Task,)>(r#"[{"text":5}]"#).err();
//! let error = error.map(|error| error.to_string());
//! assert_eq!(error.as_deref(), Some("[0].text: expected string, got number"));
//! # Ok::<(), ejson::EncodeError>(())
//! ```
//!
//! Not related to the crates.io package `ejson`, which is about encrypted JSON.

mod bridge;
mod canonical;
mod check;
mod date;
mod de;
mod decode;
mod encode;
mod error;
mod json;
mod raw_params;
#[cfg(feature = "schema")]
mod schema;
mod ser;
mod types;
mod value;
mod wire;

#[cfg(test)]
mod tests;

pub use canonical::stringify;
pub use date::Date;
pub use de::{from_params, from_text, from_value};
pub use decode::{parse, parse_json};
pub use encode::{escape_json, write_number, write_string};
pub use error::{DecodeError, EncodeError};
pub use json::NESTING_MAX;
pub use raw_params::RawParams;
pub use ser::{to_text, to_value, write};
pub use types::{Binary, Custom, CustomType, Decimal, ObjectId, Types, UnknownType};
pub use value::{Ejson, Object};
