//! TLS to clients.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A server's certificate, for [`ServeConfig::tls`](crate::ServeConfig::tls): TLS 1.2 and 1.3 by
/// rustls. Cheap to clone: clones are the same, also after a [reload](Self::reload).
///
/// ```no_run
/// use ddp_server::{Server, ServerConfig, Tls};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::from_files("fullchain.pem", "privkey.pem")?;
/// let mut config = ServerConfig::default();
/// config.serve.tls = Some(tls.clone());
/// let server = Server::builder().config(config).build();
///
/// // Reads the files again on SIGHUP, as after a renewal.
/// # #[cfg(unix)]
/// tokio::spawn(async move {
///     use tokio::signal::unix::{SignalKind, signal};
///     let mut renewed = signal(SignalKind::hangup()).expect("a signal can be listened to");
///     while renewed.recv().await.is_some() {
///         if let Err(error) = tls.reload() {
///             tracing::error!(%error, "the old certificate stays");
///         }
///     }
/// });
/// server.serve(tokio::net::TcpListener::bind("0.0.0.0:443").await?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    certificates: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

/// Why a certificate cannot be used.
#[derive(thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct TlsError {
    path: PathBuf,
    reason: String,
}

impl Tls {
    /// The chain of certificates in one file, the server's own first, and its key in another (or in
    /// the same one), both in PEM format.
    ///
    /// # Errors
    /// If a file cannot be read or does not have what it should, or if the key is not that of the
    /// certificate.
    pub fn from_files(
        certificates: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> Result<Self, TlsError> {
        let (certificates, key) = (certificates.into(), key.into());
        let current = RwLock::new(Arc::new(read(&certificates, &key)?));
        Ok(Self(Arc::new(Inner { certificates, key, current })))
    }

    /// Reads the files again. Connections from now on get what they say; those that are open stay.
    ///
    /// # Errors
    /// Like those of [`from_files`](Self::from_files). What was read before stays then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let new = Arc::new(read(&self.0.certificates, &self.0.key)?);
        *self.0.current.write() = new;
        Ok(())
    }

    /// Shakes hands with what was read last.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.0.current.read()).into()
    }
}

fn read(certificates: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let wrong = |path: &Path, reason: String| TlsError { path: path.to_owned(), reason };
    let chain = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(certificates, error.to_string()))?;
    if chain.is_empty() {
        let reason = "no certificate in it; it needs one that begins with BEGIN CERTIFICATE";
        return Err(wrong(certificates, reason.to_owned()));
    }
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(certificates, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| {
            let with = certificates.display();
            wrong(key, format!("not usable with the certificate in {with}: {error}"))
        })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("certificates", &self.0.certificates)
            .field("key", &self.0.key)
            .finish()
    }
}

/// As [`Display`](fmt::Display): a `main` that returns the error shows this.
impl fmt::Debug for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
