//! Reads a set of keys from where it is.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::error::JwtError;

/// The most bytes of a set of keys.
const SET_BYTES_MAX: usize = 256 * 1024;

/// How long a read may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a set of keys is.
#[derive(Clone, Debug)]
pub(super) enum Source {
    File(PathBuf),
    Url(Url),
}

/// A place that is asked by HTTP.
#[derive(Clone, Debug)]
pub(super) struct Url {
    uri: Uri,
    host: String,
    port: u16,
    is_secure: bool,
}

impl Url {
    /// Only `https`, as whoever could change the answer could log in as anybody; or this machine.
    pub(super) fn parse(text: &str) -> Result<Self, JwtError> {
        let refused = |why: &'static str| JwtError::Url(text.to_owned(), why);
        let uri: Uri = text.parse().map_err(|_| refused("it is no URL"))?;
        let authority = uri.authority().ok_or_else(|| refused("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refused("it has a name or a password in it"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_loopback = host == "localhost"
            || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") if is_loopback => false,
            _ => return Err(refused("only https is safe, or http on this machine")),
        };
        let port = authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        Ok(Self { uri, host, port, is_secure })
    }

    async fn get(&self) -> Result<Vec<u8>, String> {
        let socket = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(text)?;
        if !self.is_secure {
            return self.get_over(socket).await;
        }
        let name = ServerName::try_from(self.host.clone()).map_err(text)?;
        let config = tokio::task::spawn_blocking(tls).await.map_err(text)??;
        self.get_over(TlsConnector::from(config).connect(name, socket).await.map_err(text)?).await
    }

    async fn get_over<S>(&self, socket: S) -> Result<Vec<u8>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (mut sender, connection) =
            http1::handshake::<_, Body>(TokioIo::new(socket)).await.map_err(text)?;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        let request = Request::get(path)
            .header(header::HOST, host)
            .header(header::ACCEPT, "application/json")
            .header(header::CONNECTION, "close")
            .body(Body::empty())
            .map_err(text)?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(text)?;
            if answer.status() != StatusCode::OK {
                return Err(format!(
                    "the answer was {}, and redirects are not followed",
                    answer.status()
                ));
            }
            let body = to_bytes(Body::new(answer.into_body()), SET_BYTES_MAX).await;
            body.map(Vec::from).map_err(text)
        };
        // The connection ends with this, whether or not the other end closes it.
        tokio::pin!(answer, connection);
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => {
                ended.map_err(text)?;
                answer.await
            }
        }
    }
}

impl Source {
    pub(super) async fn read(&self) -> Result<Vec<u8>, String> {
        let read = async {
            match self {
                Self::File(path) => read_file(path.clone()).await,
                Self::Url(url) => url.get().await,
            }
        };
        let late = || format!("there was no answer within {} seconds", PATIENCE.as_secs());
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| Err(late()))
    }
}

async fn read_file(path: PathBuf) -> Result<Vec<u8>, String> {
    let read = tokio::task::spawn_blocking(move || {
        use std::io::Read;
        let mut text = Vec::new();
        let file = std::fs::File::open(path)?;
        file.take(SET_BYTES_MAX as u64 + 1).read_to_end(&mut text)?;
        Ok::<_, std::io::Error>(text)
    });
    let text = read.await.map_err(text)?.map_err(text)?;
    if text.len() > SET_BYTES_MAX {
        return Err("it has more than 256 KiB".to_owned());
    }
    Ok(text)
}

/// TLS that believes the authorities of the operating system.
fn tls() -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(text)?
            .with_root_certificates(roots)
            .with_no_client_auth();
    Ok(Arc::new(config))
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.uri.fmt(f),
        }
    }
}
