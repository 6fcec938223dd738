//! Certificates that need not be right in everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::url::Verify;

/// Verifies what is asked for, and says once what else is wrong.
#[derive(Debug)]
pub(super) struct Verifier {
    /// None without any authority to trust.
    strict: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
    verify: Verify,
    has_warned: AtomicBool,
}

impl Verifier {
    pub(super) fn new(roots: RootCertStore, provider: Arc<CryptoProvider>, verify: Verify) -> Self {
        let builder =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        Self { strict: builder.build().ok(), provider, verify, has_warned: AtomicBool::new(false) }
    }
}

/// Whether only the host's name is wrong.
fn is_of_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let unknown = || Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let verified = match &self.strict {
            Some(strict) => strict.verify_server_cert(certificate, intermediates, name, ocsp, now),
            None => Err(unknown()),
        };
        let Err(error) = verified else { return verified };
        let is_enough = match self.verify {
            Verify::Nothing => true,
            Verify::Issuer => is_of_name(&error),
            Verify::Full => false,
        };
        if !is_enough {
            return Err(error);
        }
        if self.verify == Verify::Nothing && !self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::info!(
                %error,
                "the connection to the database is encrypted, but nothing proves that it is the right \
                 server: that takes sslmode=verify-full, and sslrootcert unless a public authority \
                 issued its certificate"
            );
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
