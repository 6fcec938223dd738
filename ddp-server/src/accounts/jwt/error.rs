//! Why tokens cannot be checked at all.

/// Why a key, or a place of keys, cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// The secret is too short to be one.
    #[error(
        "a secret of HS256 has at least 32 bytes, and not {0}: make one by `openssl rand -hex 32`"
    )]
    ShortSecret(usize),
    /// A key in PEM was given as a secret.
    #[error("a key in PEM is not a secret: give the public key to Jwt::public_key")]
    PemAsSecret,
    /// The public key is not one.
    #[error("the public key cannot be used, which begins with `-----BEGIN PUBLIC KEY-----`: {0}")]
    PublicKey(String),
    /// The URL is not one that can be believed.
    #[error("{0:?} cannot be the URL of keys: {1}")]
    Url(String, &'static str),
}
