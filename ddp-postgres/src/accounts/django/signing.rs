//! What Django has signed: `django.core.signing` of Django 3.1 and later.
//!
//! `signing.dumps` writes `data:time:signature`, where the data is base64 of JSON or, after a full stop, of
//! JSON that zlib has compressed, the time is in seconds by digits of base 62, and the signature is an
//! HMAC-SHA256 of what stands before it. Nothing is looked at before the signature is right.

use std::fmt;
use std::io::Read;

use data_encoding::BASE64URL_NOPAD;
use flate2::bufread::ZlibDecoder;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::refusal::{Refusal, Unreadable};

/// The most bytes of what was signed, as JSON.
pub(super) const JSON_BYTES_MAX: usize = 64 * 1024;

/// The digits of a time.
const BASE_62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Django's `SECRET_KEY`, and its `SECRET_KEY_FALLBACKS`. `Debug` does not show them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SecretKeys(Vec<Box<[u8]>>);

impl SecretKeys {
    pub(super) fn new(key: &[u8]) -> Self {
        Self(Vec::new()).with(key)
    }

    /// Panics if the key is empty, as everybody knows that one.
    pub(super) fn with(mut self, key: &[u8]) -> Self {
        assert!(
            !key.is_empty(),
            "an empty SECRET_KEY signs for everybody: give Django's settings.SECRET_KEY"
        );
        self.0.push(key.into());
        self
    }

    /// Whether this is the HMAC of a value by one of the keys, for this purpose. It takes as long wherever
    /// the first wrong byte is.
    pub(super) fn have_signed(&self, salt: &str, value: &str, signature: &[u8]) -> bool {
        self.0.iter().any(|secret| {
            let key = Sha256::new().chain_update(salt).chain_update(secret).finalize();
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key of any length");
            mac.update(value.as_bytes());
            mac.verify_slice(signature).is_ok()
        })
    }
}

impl fmt::Debug for SecretKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKeys({})", self.0.len())
    }
}

/// What one of the keys has signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    /// Supposed to be JSON.
    pub(super) data: Vec<u8>,
    /// When it was signed, in seconds since 1970.
    pub(super) when: i64,
}

/// What `signing.dumps` has signed with this salt.
pub(super) fn loads(text: &str, salt: &str, keys: &SecretKeys) -> Result<Signed, Refusal> {
    let (signed, signature) = text.rsplit_once(':').ok_or(Refusal::Malformed)?;
    let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| Refusal::Malformed)?;
    if !keys.have_signed(&format!("{salt}signer"), signed, &signature) {
        return Err(Refusal::Signature);
    }
    let (data, when) = signed.rsplit_once(':').ok_or(Unreadable::NoJson)?;
    let when = seconds(when).ok_or(Unreadable::NoJson)?;
    let (data, is_compressed) = match data.strip_prefix('.') {
        Some(data) => (data, true),
        None => (data, false),
    };
    let data = BASE64URL_NOPAD.decode(data.as_bytes()).map_err(|_| Unreadable::NoJson)?;
    let data = if is_compressed { inflate(&data)? } else { data };
    if data.len() > JSON_BYTES_MAX {
        return Err(Unreadable::TooLong.into());
    }
    Ok(Signed { data, when })
}

/// Inflates no more than a byte beyond what is read.
fn inflate(data: &[u8]) -> Result<Vec<u8>, Unreadable> {
    let mut inflated = Vec::new();
    let mut decoder = ZlibDecoder::new(data).take(JSON_BYTES_MAX as u64 + 1);
    decoder.read_to_end(&mut inflated).map_err(|_| Unreadable::NoJson)?;
    Ok(inflated)
}

fn seconds(digits: &str) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    digits.bytes().try_fold(0_i64, |seconds, digit| {
        let digit = BASE_62.iter().position(|other| *other == digit)?;
        seconds.checked_mul(62)?.checked_add(i64::try_from(digit).ok()?)
    })
}
