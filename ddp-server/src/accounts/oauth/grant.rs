//! What a provider gave to the browser, and what the server needs to make use of it.

use oauth2::{AuthorizationCode, PkceCodeVerifier, RedirectUrl};

use super::started::Started;

/// A code, for one exchange.
pub(super) struct Grant<'a> {
    pub(super) code: &'a str,
    /// The provider that the browser comes from, if it says so (RFC 9207).
    pub(super) issuer: Option<&'a str>,
    pub(super) redirect: RedirectUrl,
    /// If the login began here.
    pub(super) started: Option<Started>,
}

impl Grant<'_> {
    pub(super) fn code(&self) -> AuthorizationCode {
        AuthorizationCode::new(self.code.to_owned())
    }

    pub(super) fn verifier(&self) -> Option<PkceCodeVerifier> {
        self.started.as_ref().map(|started| PkceCodeVerifier::new(started.verifier.clone()))
    }
}
