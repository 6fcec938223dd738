//! Why a session of Django's logs nobody in.

/// Why a session of Django's logs nobody in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::accounts) enum Refusal {
    #[error("This connection has no session cookie")]
    NoCookie,
    /// What no session of this kind looks like.
    #[error("This is not a session")]
    Malformed,
    #[error("This session is signed with another key")]
    Signature,
    #[error("There is no such session")]
    Unknown,
    #[error("This session has expired")]
    Expired,
    /// Signed, so the project itself has made it.
    #[error("This session cannot be read here")]
    Unreadable(Unreadable),
    #[error("Nobody is logged in by this session")]
    Nobody,
    /// With the user's id.
    #[error("The password has changed since this session began")]
    OtherPassword(String),
}

/// What is wrong with a session that the project has signed, for its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::accounts) enum Unreadable {
    #[error(
        "it is a pickle: set Django's SESSION_SERIALIZER to its JSONSerializer, or log in by another way"
    )]
    Pickle,
    #[error("it has more than 64 KiB")]
    TooLong,
    #[error("it is not JSON as Django 3.1 or later writes it")]
    NoJson,
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}
