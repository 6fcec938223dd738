//! Why a token logs nobody in.

/// Why a token logs nobody in, from what is furthest from a login to what is nearest: of several that
/// were asked, the nearest answers. What is told of claims is told of tokens whose signature is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(in crate::accounts) enum Refusal {
    #[error("This is not a JSON Web Token")]
    Malformed,
    #[error("This token has more than 8 KiB")]
    TooLong,
    #[error("This token is signed in a way that is not accepted here")]
    Algorithm,
    #[error("This token is signed with a key that is not known here")]
    UnknownKey,
    #[error("The keys of tokens are out of reach. Please try again later.")]
    NoKeys,
    #[error("This token has a wrong signature")]
    Signature,
    #[error("This token is of another issuer")]
    Issuer,
    #[error("This token is for another audience")]
    Audience,
    #[error("This token does not say when it ends")]
    NoExpiry,
    #[error("This token has expired")]
    Expired,
    #[error("This token is not valid yet")]
    NotYet,
    #[error("This token does not say who the user is")]
    NoUser,
}
