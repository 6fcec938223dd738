//! Requests to providers: few, short and bounded, whatever a provider answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use parking_lot::Mutex;
use reqwest::redirect::Policy;
use url::{Host, Url};

/// How long a request and its answer may take.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Asks providers. It begins with the first request.
#[derive(Default)]
pub(super) struct Http {
    client: Mutex<Option<reqwest::Client>>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("it is called by https only, unless it is on this machine")]
    Insecure,
    #[error("its answer has more than 1 MiB")]
    TooLarge,
    #[error("TLS cannot begin")]
    Tls(#[from] rustls::Error),
    #[error(transparent)]
    Failed(#[from] reqwest::Error),
    #[error(transparent)]
    Response(#[from] oauth2::http::Error),
}

impl Http {
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        if !is_allowed(request.url()) {
            return Err(HttpError::Insecure);
        }
        let mut answer = self.client()?.execute(request).await?;
        if answer.content_length().is_some_and(|length| length > ANSWER_BYTES_MAX as u64) {
            return Err(HttpError::TooLarge);
        }
        let mut response = oauth2::http::Response::builder().status(answer.status());
        for (name, value) in answer.headers() {
            response = response.header(name, value);
        }
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(HttpError::TooLarge);
            }
            body.extend_from_slice(&piece);
        }
        Ok(response.body(body)?)
    }

    fn client(&self) -> Result<reqwest::Client, HttpError> {
        let mut client = self.client.lock();
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let new = reqwest::Client::builder()
            .tls_backend_preconfigured(tls()?)
            // What a provider answers must not lead to other hosts.
            .redirect(Policy::none())
            .timeout(ANSWERED_WITHIN)
            .user_agent(concat!("ddp-server/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(client.insert(new).clone())
    }
}

/// The authorities of the operating system.
fn tls() -> Result<rustls::ClientConfig, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "an authority of the operating system is unreadable");
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!(
            "no authority is known, so no provider is trusted: install `ca-certificates`"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Whether nobody can listen: by https, or on this machine.
pub(super) fn is_allowed(url: &Url) -> bool {
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && is_loopback)
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = BoxFuture<'c, Result<HttpResponse, HttpError>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for (url, is) in [
            ("https://accounts.google.com/token", true),
            ("http://localhost:3000/token", true),
            ("http://127.0.0.1:3000/token", true),
            ("http://[::1]/token", true),
            ("http://accounts.google.com/token", false),
            ("http://localhost.example.com/token", false),
            ("http://127.0.0.1.example.com/", false),
            ("http://169.254.169.254/latest", false),
            ("file:///etc/passwd", false),
        ] {
            assert_eq!(is_allowed(&Url::parse(url).unwrap()), is, "{url}");
        }
    }
}
