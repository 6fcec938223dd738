//! A token's parts, before anything in it is believed, and its claims.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::ejson::Date;

/// The most bytes of a token.
pub(super) const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The most bytes of the id of a user, or of a key.
const ID_BYTES_MAX: usize = 1024;

/// The last date that is one everywhere: the end of the year 9999.
const EXPIRES_MAX: f64 = 253_402_300_799.0;

/// What a token says of how it is signed.
#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    /// Extensions that must be understood. None is.
    crit: Option<Value>,
}

/// A token whose signature nobody has looked at.
pub(super) struct Unchecked<'a> {
    pub(super) header: Header,
    /// What is signed.
    pub(super) message: &'a [u8],
    pub(super) signature: Vec<u8>,
    claims: &'a str,
}

/// What a token says.
pub(super) struct Claims(pub(super) Map<String, Value>);

impl<'a> Unchecked<'a> {
    /// Takes a token of the compact form (RFC 7515) apart.
    pub(super) fn read(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Refusal::TooLong);
        }
        let (message, signature) = text.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, claims) = message.split_once('.').ok_or(Refusal::Malformed)?;
        let header: Header =
            serde_json::from_slice(&decode(header)?).map_err(|_| Refusal::Malformed)?;
        let is_long = header.kid.as_ref().is_some_and(|kid| kid.len() > ID_BYTES_MAX);
        if header.crit.is_some() || is_long {
            return Err(Refusal::Malformed);
        }
        Ok(Self { header, message: message.as_bytes(), signature: decode(signature)?, claims })
    }

    /// The claims, once the signature is right.
    pub(super) fn into_claims(self) -> Result<Claims, Refusal> {
        let claims = serde_json::from_slice(&decode(self.claims)?);
        claims.map(Claims).map_err(|_| Refusal::Malformed)
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)
}

impl Claims {
    /// When the token ends, which it must say, and must not have done.
    pub(super) fn expires(&self, now: Date) -> Result<Date, Refusal> {
        let expires = self.0.get("exp").and_then(Value::as_f64).ok_or(Refusal::NoExpiry)?;
        let expires = date(expires.min(EXPIRES_MAX));
        if expires <= now { Err(Refusal::Expired) } else { Ok(expires) }
    }

    /// Whether the token has begun, by clocks that may differ by so much.
    pub(super) fn check_begun(&self, now: Date, leeway: Duration) -> Result<(), Refusal> {
        let Some(begins) = self.0.get("nbf") else { return Ok(()) };
        let begins = begins.as_f64().ok_or(Refusal::Malformed)?;
        let begins = date((begins - leeway.as_secs_f64()).min(EXPIRES_MAX));
        if begins > now { Err(Refusal::NotYet) } else { Ok(()) }
    }

    /// Whether the token is for one of these, a single text or one of several.
    pub(super) fn check_audience(&self, audiences: &[String]) -> Result<(), Refusal> {
        let is_ours = |value: &Value| {
            value.as_str().is_some_and(|text| audiences.iter().any(|audience| audience == text))
        };
        let is_for_us = match self.0.get("aud") {
            // Without an audience of ours, only one without any is for everybody (RFC 7519).
            None => audiences.is_empty(),
            Some(Value::Array(all)) => all.iter().any(is_ours),
            Some(one) => is_ours(one),
        };
        if is_for_us { Ok(()) } else { Err(Refusal::Audience) }
    }

    pub(super) fn check_issuer(&self, issuer: &str) -> Result<(), Refusal> {
        let is_right = self.0.get("iss").and_then(Value::as_str) == Some(issuer);
        if is_right { Ok(()) } else { Err(Refusal::Issuer) }
    }

    /// The user's id: a text, or a whole number as text.
    pub(super) fn user_id(&self, claim: &str) -> Result<String, Refusal> {
        match self.0.get(claim) {
            Some(Value::String(text))
                if !text.is_empty() && text.len() <= ID_BYTES_MAX && !text.contains('\0') =>
            {
                Ok(text.clone())
            }
            Some(Value::Number(number)) if !number.is_f64() => Ok(number.to_string()),
            _ => Err(Refusal::NoUser),
        }
    }
}

/// A `NumericDate`: seconds since 1970, perhaps with a fraction.
fn date(seconds: f64) -> Date {
    Date::from_millis_f64((seconds * 1000.0).floor())
}
