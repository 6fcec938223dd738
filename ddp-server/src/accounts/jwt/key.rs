//! Keys, and the signatures that they check.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::error::JwtError;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ELLIPTIC_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The fewest bytes of a secret: as many as a signature of HS256 has (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// How many keys of a set are looked at.
const KEYS_MAX: usize = 64;

/// A key that tokens are signed with. It is of one algorithm only, whatever a token says.
pub(super) struct Key {
    /// What a set calls it.
    id: Option<String>,
    kind: Kind,
}

enum Kind {
    Hs256(hmac::Key),
    /// A DER `RSAPublicKey`.
    Rs256(Vec<u8>),
    /// The same as a set of keys has it.
    Rs256Components(RsaPublicKeyComponents<Vec<u8>>),
    /// A point that is not compressed.
    Es256(Vec<u8>),
    EdDsa(Vec<u8>),
}

impl Key {
    /// A secret that both sides know.
    pub(super) fn secret(secret: &[u8]) -> Result<Self, JwtError> {
        if secret.trim_ascii_start().starts_with(b"-----BEGIN") {
            // Whoever knows a public key could sign by it.
            return Err(JwtError::PemAsSecret);
        }
        if secret.len() < SECRET_BYTES_MIN {
            return Err(JwtError::ShortSecret(secret.len()));
        }
        Ok(Self { id: None, kind: Kind::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret)) })
    }

    /// A public key in PEM, of any kind that is known.
    pub(super) fn public(pem: &[u8]) -> Result<Self, JwtError> {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem)
            .map_err(|error| JwtError::PublicKey(error.to_string()))?;
        let key = SubjectPublicKeyInfoRef::try_from(&*der)
            .map_err(|error| JwtError::PublicKey(error.to_string()))?;
        let bytes = key.subject_public_key.raw_bytes().to_vec();
        let kind = match key.algorithm.oid {
            RSA => Kind::Rs256(bytes),
            ELLIPTIC_CURVE if key.algorithm.parameters_oid().is_ok_and(|curve| curve == P256) => {
                Kind::Es256(bytes)
            }
            ED25519_KEY => Kind::EdDsa(bytes),
            other => {
                let text = format!("its algorithm {other} is none of RSA, P-256 and Ed25519");
                return Err(JwtError::PublicKey(text));
            }
        };
        Ok(Self { id: None, kind })
    }

    /// The algorithm, as headers name it.
    fn algorithm(&self) -> &'static str {
        match self.kind {
            Kind::Hs256(_) => "HS256",
            Kind::Rs256(_) | Kind::Rs256Components(_) => "RS256",
            Kind::Es256(_) => "ES256",
            Kind::EdDsa(_) => "EdDSA",
        }
    }

    /// Whether a token that says to be signed so, by a key with this id, may be signed by this one.
    pub(super) fn is_meant(&self, algorithm: &str, id: Option<&str>) -> bool {
        let is_named = match (&self.id, id) {
            (Some(own), Some(id)) => own == id,
            // One key needs no name, and neither does a token.
            _ => true,
        };
        is_named && self.is_of(algorithm)
    }

    pub(super) fn is_of(&self, algorithm: &str) -> bool {
        self.algorithm() == algorithm
    }

    /// Whether this key has signed the message.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.kind {
            Kind::Hs256(key) => hmac::verify(key, message, signature).is_ok(),
            Kind::Rs256(key) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
                .verify(message, signature)
                .is_ok(),
            Kind::Rs256Components(key) => {
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            }
            Kind::Es256(key) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
                .verify(message, signature)
                .is_ok(),
            Kind::EdDsa(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm()).finish_non_exhaustive()
    }
}

/// A JSON Web Key Set (RFC 7517).
#[derive(Deserialize)]
struct KeySet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct JsonKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// The keys of a set that can check signatures. Others, secrets among them, are left out.
pub(super) fn of_set(text: &[u8]) -> Result<Vec<Key>, String> {
    let set: KeySet =
        serde_json::from_slice(text).map_err(|error| format!("no set of keys: {error}"))?;
    let keys = set.keys.into_iter().take(KEYS_MAX);
    let keys: Vec<_> = keys.filter_map(|key| of_json(serde_json::from_value(key).ok()?)).collect();
    if keys.is_empty() {
        return Err("none of its keys is for signatures of RS256, ES256 or EdDSA".to_owned());
    }
    Ok(keys)
}

fn of_json(key: JsonKey) -> Option<Key> {
    if key.usage.is_some_and(|usage| usage != "sig") {
        return None;
    }
    let bytes = |text: Option<String>| URL_SAFE_NO_PAD.decode(text?).ok();
    let kind = match (key.kty.as_str(), key.crv.as_deref()) {
        ("RSA", _) => {
            let without_zeros = |number: Vec<u8>| {
                let zeros = number.iter().take_while(|byte| **byte == 0).count();
                number[zeros..].to_vec()
            };
            let (n, e) = (without_zeros(bytes(key.n)?), without_zeros(bytes(key.e)?));
            Kind::Rs256Components(RsaPublicKeyComponents { n, e })
        }
        ("EC", Some("P-256")) => {
            let (x, y) = (bytes(key.x)?, bytes(key.y)?);
            if x.len() != 32 || y.len() != 32 {
                return None;
            }
            Kind::Es256([&[4], x.as_slice(), y.as_slice()].concat())
        }
        ("OKP", Some("Ed25519")) => Kind::EdDsa(bytes(key.x)?),
        _ => return None,
    };
    let made = Key { id: key.kid, kind };
    let is_for_ours = key.alg.is_none_or(|algorithm| algorithm == made.algorithm());
    is_for_ours.then_some(made)
}
