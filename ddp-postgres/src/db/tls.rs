//! TLS to the database: with rustls if the feature `tls` is on, otherwise none.

use tokio_postgres::Socket;
use tokio_postgres::tls::MakeTlsConnect;

use crate::error::Error;

/// How connections are encrypted.
#[cfg(feature = "tls")]
pub(crate) type Tls = tokio_postgres_rustls::MakeRustlsConnect;

/// Connections are not encrypted.
#[cfg(not(feature = "tls"))]
pub(crate) type Tls = tokio_postgres::NoTls;

/// A connection that is encrypted.
pub(crate) type TlsStream = <Tls as MakeTlsConnect<Socket>>::Stream;

/// TLS that trusts the authorities of the operating system. Used when the server offers it, or the
/// URL's `sslmode` demands it; certificates are always verified.
#[cfg(feature = "tls")]
pub(crate) fn system(_: &tokio_postgres::Config) -> Result<Tls, Error> {
    let mut roots = rustls::RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "an authority of the operating system is unreadable");
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

/// No TLS, unless the URL's `sslmode` demands it.
#[cfg(not(feature = "tls"))]
pub(crate) fn system(config: &tokio_postgres::Config) -> Result<Tls, Error> {
    match config.get_ssl_mode() {
        tokio_postgres::config::SslMode::Require => Err(Error::no_tls()),
        _ => Ok(tokio_postgres::NoTls),
    }
}

#[cfg(test)]
mod tests {
    #[cfg(feature = "tls")]
    #[test]
    fn sslmode_require_is_met() {
        let config = "postgres://localhost?sslmode=require".parse().unwrap();
        assert!(super::system(&config).is_ok());
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn sslmode_require_names_the_feature() {
        let config = |url: &str| url.parse().unwrap();
        let error = super::system(&config("postgres://localhost?sslmode=require")).unwrap_err();
        assert!(error.to_string().contains("the feature \"tls\" of ddp-postgres"), "{error}");
        assert!(super::system(&config("postgres://localhost?sslmode=prefer")).is_ok());
    }
}
