//! TLS by rustls.

use tokio_postgres::Socket;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::Error;

/// How connections are encrypted.
pub(crate) type Tls = MakeRustlsConnect;

/// A connection that may be.
pub(crate) type TlsStream = <Tls as MakeTlsConnect<Socket>>::Stream;

/// TLS that trusts the authorities of the operating system. Used when the server offers it, or the
/// URL's `sslmode` demands it; certificates are always verified.
pub(crate) fn system() -> Result<Tls, Error> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!("an authority of the operating system is unreadable: {error}");
    }
    roots.add_parsable_certificates(found.certs);
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Tls::new(config))
}
