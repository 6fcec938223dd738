//! TLS to the database: with rustls if the feature `tls` is on, otherwise none.

#[cfg(feature = "tls")]
use std::path::Path;
#[cfg(feature = "tls")]
use std::sync::Arc;

#[cfg(feature = "tls")]
use rustls::pki_types::pem::PemObject;
#[cfg(feature = "tls")]
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_postgres::Socket;
use tokio_postgres::tls::MakeTlsConnect;

use super::url::Target;
#[cfg(feature = "tls")]
use super::url::Verify;
#[cfg(feature = "tls")]
use super::verifier::Verifier;
use crate::error::Error;

/// How connections are encrypted.
#[cfg(feature = "tls")]
pub(crate) type Tls = tokio_postgres_rustls::MakeRustlsConnect;

/// Connections are not encrypted.
#[cfg(not(feature = "tls"))]
pub(crate) type Tls = tokio_postgres::NoTls;

/// A connection that is encrypted.
pub(crate) type TlsStream = <Tls as MakeTlsConnect<Socket>>::Stream;

/// TLS as the connection string wants it.
#[cfg(feature = "tls")]
pub(crate) fn of(target: &Target) -> Result<Tls, Error> {
    let options = &target.tls;
    let mut roots = rustls::RootCertStore::empty();
    match &options.roots {
        Some(path) => {
            let found = certificates(path)?;
            roots.add_parsable_certificates(found);
            if roots.is_empty() {
                return Err(unreadable(path, &"no certificate in it"));
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            for error in &found.errors {
                tracing::warn!(%error, "an authority of the operating system is unreadable");
            }
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::tls)?;
    let builder = if options.verify == Verify::Full {
        builder.with_root_certificates(roots)
    } else {
        let verifier = Verifier::new(roots, provider, options.verify);
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    };
    let config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
            builder.with_client_auth_cert(chain, key).map_err(Error::tls)?
        }
    };
    Ok(Tls::new(config))
}

#[cfg(feature = "tls")]
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, &error))?;
    found.collect::<Result<_, _>>().map_err(|error| unreadable(path, &error))
}

#[cfg(feature = "tls")]
fn unreadable(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::connection_string(format!("{} cannot be read: {error}", path.display()))
}

/// No TLS, unless the URL's `sslmode` demands it.
#[cfg(not(feature = "tls"))]
pub(crate) fn of(target: &Target) -> Result<Tls, Error> {
    match target.config.get_ssl_mode() {
        tokio_postgres::config::SslMode::Require => Err(Error::no_tls()),
        _ => Ok(tokio_postgres::NoTls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "tls")]
    #[test]
    fn sslmode_require_is_met() {
        of(&Target::parse("postgres://localhost?sslmode=require").unwrap()).map(drop).unwrap();
        let missing = Target::parse("postgres://localhost?sslrootcert=/nowhere/a.pem").unwrap();
        let error = of(&missing).map(drop).unwrap_err().to_string();
        assert!(error.contains("/nowhere/a.pem cannot be read"), "{error}");
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn sslmode_require_names_the_feature() {
        for mode in ["require", "verify-full"] {
            let target = Target::parse(&format!("postgres://localhost?sslmode={mode}")).unwrap();
            let error = of(&target).unwrap_err();
            assert!(error.to_string().contains("the feature \"tls\" of ddp-postgres"), "{error}");
        }
        assert!(of(&Target::parse("postgres://localhost?sslmode=prefer").unwrap()).is_ok());
    }
}
