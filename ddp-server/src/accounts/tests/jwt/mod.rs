//! Logins by tokens of another backend.

mod attacks;
mod expiry;
mod keys;
mod logins;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use ring::{hmac, rand};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use super::*;
use crate::accounts::core::now;
use crate::accounts::{Jwt, JwtError};

const SECRET: &str = "a secret that only the other backend has too";
/// Made for these tests.
const RSA_PRIVATE: &str = include_str!("rsa.pem");
const RSA_PUBLIC: &str = include_str!("rsa-public.pem");

/// What another backend signs with.
enum Signer {
    Secret(Vec<u8>),
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    fn secret(secret: impl AsRef<[u8]>) -> Self {
        Self::Secret(secret.as_ref().to_vec())
    }

    fn rsa() -> Self {
        let key = PrivatePkcs8KeyDer::from_pem_slice(RSA_PRIVATE.as_bytes()).unwrap();
        Self::Rsa(RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap())
    }

    fn p256() -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_FIXED_SIGNING, SystemRandom::new());
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::P256(EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).unwrap())
    }

    fn ed25519() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed25519(Ed25519KeyPair::from_pkcs8(key.as_ref()).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Secret(_) => "HS256",
            Self::Rsa(_) => "RS256",
            Self::P256(_) => "ES256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Secret(secret) => {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
            }
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                let random = rand::SystemRandom::new();
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Self::P256(key) => {
                key.sign(&rand::SystemRandom::new(), message).unwrap().as_ref().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with this header and these claims, whatever they are.
    fn sign_as(&self, header: &Value, claims: &str) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", encode(signature))
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(&json!({"alg": self.algorithm(), "typ": "JWT"}), &claims.to_string())
    }

    fn sign_by(&self, key: &str, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "kid": key});
        self.sign_as(&header, &claims.to_string())
    }

    /// The public key as a set has it.
    fn json_key(&self, id: &str) -> Value {
        match self {
            Self::Secret(secret) => json!({"kty": "oct", "kid": id, "k": encode(secret)}),
            Self::Rsa(key) => {
                let public: ring::signature::RsaPublicKeyComponents<Vec<u8>> = key.public().into();
                let (n, e) = (encode(public.n), encode(public.e));
                json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": n, "e": e})
            }
            Self::P256(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "kid": id, "crv": "P-256", "x": encode(x), "y": encode(y)})
            }
            Self::Ed25519(key) => {
                let x = encode(key.public_key().as_ref());
                json!({"kty": "OKP", "kid": id, "crv": "Ed25519", "x": x})
            }
        }
    }

    /// The public key in PEM.
    fn pem(&self) -> String {
        let (prefix, key) = match self {
            Self::Rsa(_) => return RSA_PUBLIC.to_owned(),
            Self::P256(key) => {
                ("3059301306072a8648ce3d020106082a8648ce3d030107034200", key.public_key().as_ref())
            }
            Self::Ed25519(key) => ("302a300506032b6570032100", key.public_key().as_ref()),
            Self::Secret(_) => panic!("a secret is no public key"),
        };
        let prefix: Vec<u8> = (0..prefix.len() / 2)
            .map(|at| u8::from_str_radix(&prefix[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let der = base64::engine::general_purpose::STANDARD.encode([&prefix, key].concat());
        format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// So many seconds from now, as claims have it.
fn seconds_from_now(seconds: i64) -> i64 {
    now().millis().unwrap() / 1000 + seconds
}

/// What a user's token says.
fn claims(user_id: &str) -> Value {
    json!({"sub": user_id, "exp": seconds_from_now(600)})
}

/// The same with one more claim, or another one.
fn claims_with(user_id: &str, name: &str, value: Value) -> Value {
    let mut claims = claims(user_id);
    claims[name] = value;
    claims
}

fn hs256() -> Jwt {
    Jwt::hs256(SECRET).unwrap()
}

async fn log_in_by(client: &Client, token: &str) -> Result<LoggedIn, DdpError> {
    client.call("login", (json!({"jwt": token}),)).await
}

/// The error of a token that must be refused.
async fn refusal(client: &Client, token: &str) -> String {
    refused(client, "login", (json!({"jwt": token}),)).await
}
