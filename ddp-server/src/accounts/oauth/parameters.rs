//! What a browser brings back from a provider: by GET in the address, by POST in the body.

use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::timeout;
use url::form_urlencoded;

/// The longest query.
const QUERY_BYTES_MAX: usize = 16 * 1024;
/// The longest body, and how long it may take to come.
const BODY_BYTES_MAX: usize = 64 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Texts by their names.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// # Errors
    /// The status to answer with.
    pub(super) async fn read(request: Request) -> Result<Self, StatusCode> {
        let query = request.uri().query().unwrap_or_default();
        if query.len() > QUERY_BYTES_MAX {
            return Err(StatusCode::URI_TOO_LONG);
        }
        if request.method() != Method::POST {
            return Ok(Self::form(query.as_bytes()));
        }
        let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_json = kind.is_some_and(|kind| kind.starts_with("application/json"));
        let body = timeout(BODY_WITHIN, to_bytes(request.into_body(), BODY_BYTES_MAX)).await;
        let body = body.map_err(|_| StatusCode::REQUEST_TIMEOUT)?;
        let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
        if !is_json {
            return Ok(Self::form(&body));
        }
        let Ok(Value::Object(all)) = serde_json::from_slice(&body) else {
            return Err(StatusCode::BAD_REQUEST);
        };
        let text = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
        Ok(Self(all.into_iter().filter_map(text).collect()))
    }

    fn form(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// The first of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}
