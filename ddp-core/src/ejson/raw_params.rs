//! The parameters of a method or a subscription.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::check::check;
use super::de::read_params;
use super::{DecodeError, Ejson, EncodeError, to_text};

/// Parameters as the text that a client sent: an EJSON array that is known to be sound.
///
/// They take as much memory as the text until somebody [reads](Self::read) them.
///
/// ```
/// use ddp_core::ejson::RawParams;
///
/// let params = RawParams::from_text(r#"["Ada", {"$date": 0}]"#)?.expect("an array");
/// let (name, date): (String, ddp_core::ejson::Date) = params.read()?;
/// assert_eq!((&*name, date.millis()), ("Ada", Some(0)));
///
/// let error = params.read::<(String, u32)>().unwrap_err();
/// assert_eq!(error.to_string(), "[1]: expected u32, got date");
/// # Ok::<(), ddp_core::ejson::DecodeError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RawParams(Box<str>);

impl RawParams {
    /// Keeps a text, or returns `None` if it is no array.
    ///
    /// # Errors
    /// If [`parse`](super::parse) would fail.
    pub fn from_text(text: &str) -> Result<Option<Self>, DecodeError> {
        Ok(check(text)?.then(|| Self(text.into())))
    }

    /// Writes the parameters of a call that does not come from a client: a tuple, or any other type
    /// that becomes an array; `()` for none.
    ///
    /// # Errors
    /// What has no form in EJSON, or does not become an array.
    pub fn from_serialize(params: &(impl Serialize + ?Sized)) -> Result<Self, EncodeError> {
        let text = to_text(params)?;
        match text.as_bytes() {
            [b'[', ..] => Ok(Self(text.into())),
            b"null" => Ok(Self::default()),
            _ => Err(EncodeError::new(format!("parameters must be a tuple, not {text}"))),
        }
    }

    /// Reads the parameters as a tuple, or as a struct with one field for each, in order. Missing
    /// ones at the end count as `undefined`. The forms are those of [`from_value`](super::from_value).
    ///
    /// Fails at the first parameter that does not fit, without having read the rest. What fits takes
    /// the memory of its type: an [`Ejson`] may take thirty times its text's.
    ///
    /// # Errors
    /// As for [`from_value`](super::from_value), and a field that an object has twice.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        read_params(&self.0)
    }

    /// The EJSON text of the array.
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

/// No parameters.
impl Default for RawParams {
    fn default() -> Self {
        Self("[]".into())
    }
}

impl From<Vec<Ejson>> for RawParams {
    fn from(params: Vec<Ejson>) -> Self {
        Self(Ejson::Array(params).to_text().into())
    }
}

/// Shows the text.
impl fmt::Debug for RawParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
