//! Secrets as a store has them: encrypted, if there is a key.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes128Gcm, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::ejson::{self, Ejson};
use crate::random;

/// The one algorithm, by the name that Meteor has for it.
const ALGORITHM: &str = "aes-128-gcm";

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// Seals secrets that must be read again, such as that of a second factor, with the key of Meteor's
/// `oauthSecretKey`. Without a key they stay as they are.
///
/// A sealed secret has the form of Meteor's package `oauth-encryption`: `{iv, ciphertext, algorithm,
/// authTag}`, each in base64. What it is for, and whose it is, is authenticated, so that nobody who can
/// write to the store makes the secret of one user that of another.
///
/// ```
/// use ddp_server::accounts::Sealer;
///
/// let sealer = Sealer::new("MDEyMzQ1Njc4OWFiY2RlZg==").expect("base64 of 16 bytes");
/// let stored = sealer.seal("an access token", "google", "6bjBdidQrjM7t2g5J");
/// let opened = sealer.open(&stored, "google", "6bjBdidQrjM7t2g5J");
/// assert_eq!(opened.as_deref(), Some("an access token"));
/// assert_eq!(sealer.open(&stored, "google", "another user"), None);
/// ```
#[derive(Clone, Default)]
pub struct Sealer(Option<Aes128Gcm>);

impl Sealer {
    /// With this key: base64 of 16 bytes. `None` if it is something else. [`Default`] has no key.
    #[must_use]
    pub fn new(key: &str) -> Option<Self> {
        let key: [u8; 16] = STANDARD.decode(key).ok()?.try_into().ok()?;
        Some(Self(Some(Aes128Gcm::new(&key.into()))))
    }

    /// Whether there is a key, so that anything is sealed.
    #[must_use]
    pub fn has_key(&self) -> bool {
        self.0.is_some()
    }

    /// What is to be stored for a secret of a service and a user.
    #[must_use]
    pub fn seal(&self, secret: &str, service: &str, user_id: &str) -> Ejson {
        let Some(cipher) = &self.0 else { return secret.into() };
        let mut nonce = [0; NONCE_BYTES];
        random::fill(&mut nonce);
        let place = place(service, user_id);
        let payload = Payload { msg: secret.as_bytes(), aad: place.as_bytes() };
        let sealed = cipher.encrypt(&Nonce::from(nonce), payload);
        let mut sealed = sealed.expect("a secret is shorter than 64 GiB");
        let tag = sealed.split_off(sealed.len() - TAG_BYTES);
        Ejson::object([
            ("iv", STANDARD.encode(nonce)),
            ("ciphertext", STANDARD.encode(sealed)),
            ("algorithm", ALGORITHM.to_owned()),
            ("authTag", STANDARD.encode(tag)),
        ])
    }

    /// The secret again. `None` if it was sealed with another key, for another service or user, or has
    /// been changed. One that was never sealed is taken as it is, so that a key can be added later.
    #[must_use]
    pub fn open(&self, stored: &Ejson, service: &str, user_id: &str) -> Option<String> {
        if let Some(plain) = stored.as_str() {
            return Some(plain.to_owned());
        }
        String::from_utf8(self.decrypt(stored, place(service, user_id).as_bytes())?).ok()
    }

    /// A secret that Meteor's own `oauth-encryption` has sealed, for a user or for nobody yet. `None` as
    /// for [`open`](Self::open).
    ///
    /// There it is not authenticated for whom that was, but encrypted with the secret, as
    /// `{data, userId}` in EJSON.
    #[must_use]
    pub fn open_meteor(&self, stored: &Ejson, user_id: &str) -> Option<Ejson> {
        let text = String::from_utf8(self.decrypt(stored, b"")?).ok()?;
        let opened = ejson::parse(&text).ok()?;
        let owner = opened.get("userId").filter(|owner| !owner.is_null());
        if owner.is_some_and(|owner| owner.as_str() != Some(user_id)) {
            return None;
        }
        opened.get("data").cloned()
    }

    fn decrypt(&self, stored: &Ejson, place: &[u8]) -> Option<Vec<u8>> {
        let member = |name| stored.get(name).and_then(Ejson::as_str);
        let bytes = |name| STANDARD.decode(member(name)?).ok();
        if member("algorithm")? != ALGORITHM {
            return None;
        }
        let nonce: [u8; NONCE_BYTES] = bytes("iv")?.try_into().ok()?;
        let mut sealed = bytes("ciphertext")?;
        sealed.extend(bytes("authTag").filter(|tag| tag.len() == TAG_BYTES)?);
        let payload = Payload { msg: &sealed, aad: place };
        self.0.as_ref()?.decrypt(&Nonce::from(nonce), payload).ok()
    }
}

/// What is authenticated with a secret. No service has a slash in its name.
fn place(service: &str, user_id: &str) -> String {
    format!("{service}/{user_id}")
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("has_key", &self.has_key()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

    #[test]
    fn a_sealed_secret_opens_in_its_place_only() {
        let sealer = Sealer::new(KEY).unwrap();
        let sealed = sealer.seal("JBSWY3DP", "otp", "ada");
        assert!(!sealed.to_text().contains("JBSWY3DP"));
        assert_ne!(sealed, sealer.seal("JBSWY3DP", "otp", "ada"), "a nonce is used once");
        assert_eq!(sealer.open(&sealed, "otp", "ada").as_deref(), Some("JBSWY3DP"));
        assert_eq!(sealer.open(&sealed, "otp", "alan"), None);
        assert_eq!(sealer.open(&sealed, "google", "ada"), None);
        let other = Sealer::new("ZmVkY2JhOTg3NjU0MzIxMA==").unwrap();
        assert_eq!(other.open(&sealed, "otp", "ada"), None);
        assert_eq!(Sealer::default().open(&sealed, "otp", "ada"), None);
        for (name, value) in [
            ("iv", "AAAA"),
            ("iv", "AAAAAAAAAAAAAAAA"),
            ("ciphertext", "AAAA"),
            ("authTag", ""),
            ("authTag", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("algorithm", "aes-256-gcm"),
        ] {
            let mut changed = sealed.as_object().unwrap().clone();
            changed.insert(name.to_owned(), value.into());
            assert_eq!(sealer.open(&Ejson::Object(changed), "otp", "ada"), None, "{name}");
        }
    }

    /// Made by Node's `crypto` in the way of `oauth-encryption`.
    #[test]
    fn what_meteor_has_sealed_opens_for_its_user() {
        let sealed = |iv: &str, ciphertext: &str, tag: &str| {
            let algorithm = ("algorithm", ALGORITHM);
            Ejson::object([("iv", iv), ("ciphertext", ciphertext), algorithm, ("authTag", tag)])
        };
        let adas = sealed(
            "lkTEZFqIfk2wudDs",
            "Ld0ctBJcRF6YYDWW8wmJJQY9ZLdKHE+f1eggRPrxn2uNKRZhOw==",
            "dDxY7JKRjbjTrDulq3ZKdw==",
        );
        let nobodys = sealed(
            "+FpfPrpHbVSqV4Af",
            "Ey9CsIhEunwlobMA/m6CDNcDUM+TqA==",
            "57whXXb93es2g//2Ko+Riw==",
        );
        let sealer = Sealer::new(KEY).unwrap();
        let secret = Some(Ejson::from("ya29.access"));
        assert_eq!(sealer.open_meteor(&adas, "ada"), secret);
        assert_eq!(sealer.open_meteor(&adas, "alan"), None);
        assert_eq!(sealer.open_meteor(&nobodys, "alan"), secret);
        assert_eq!(Sealer::default().open_meteor(&adas, "ada"), None);
        // Neither is taken for the other.
        assert_eq!(sealer.open(&adas, "google", "ada"), None);
        assert_eq!(sealer.open_meteor(&sealer.seal("{}", "google", "ada"), "ada"), None);
    }

    #[test]
    fn a_key_can_be_added_later() {
        let plain = Sealer::default().seal("JBSWY3DP", "otp", "ada");
        assert_eq!(plain.as_str(), Some("JBSWY3DP"));
        let sealer = Sealer::new(KEY).unwrap();
        assert_eq!(sealer.open(&plain, "otp", "ada").as_deref(), Some("JBSWY3DP"));
        assert_eq!(sealer.open(&Ejson::Null, "otp", "ada"), None);
    }

    #[test]
    fn a_key_has_sixteen_bytes_in_base64_and_is_not_shown() {
        assert_eq!(format!("{:?}", Sealer::new(KEY).unwrap()), "Sealer { has_key: true, .. }");
        for key in ["", "MDEyMzQ1Njc4OWFiY2Rl", "0123456789abcdef0123456789abcdef!", "é"] {
            assert!(Sealer::new(key).is_none(), "{key}");
        }
    }
}
