//! Plain OAuth 2: a code for a token, and the token for what the provider tells of its user.

use std::sync::Arc;
use std::time::SystemTime;

use oauth2::basic::BasicClient;
use oauth2::http::header::{ACCEPT, AUTHORIZATION};
use oauth2::http::{Request, StatusCode};
use oauth2::{AsyncHttpClient, AuthType, AuthUrl, ClientId, ClientSecret, TokenResponse, TokenUrl};
use serde_json::{Map, Value};
use url::Url;

use super::failure::Failure;
use super::grant::Grant;
use super::http::Http;
use super::identity::{Form, Identity, ProviderTokens};
use crate::ejson::Date;

/// Where a provider of plain OAuth 2 is asked for what.
#[derive(Clone, Debug)]
pub(super) struct Endpoints {
    pub(super) authorization: AuthUrl,
    pub(super) token: TokenUrl,
    pub(super) user_info: Url,
    /// Of GitHub, which does not say elsewhere which addresses are verified.
    pub(super) emails: Option<Url>,
}

/// What the provider knows the application by.
#[derive(Clone)]
pub(super) struct Application {
    pub(super) service: Arc<str>,
    pub(super) client_id: ClientId,
    pub(super) client_secret: ClientSecret,
}

pub(super) async fn exchange(
    application: &Application,
    endpoints: &Endpoints,
    form: Form,
    http: &Http,
    grant: &Grant<'_>,
) -> Result<Identity, Failure> {
    let client = BasicClient::new(application.client_id.clone())
        .set_client_secret(application.client_secret.clone())
        .set_token_uri(endpoints.token.clone())
        .set_redirect_uri(grant.redirect.clone())
        .set_auth_type(AuthType::RequestBody);
    let mut request = client.exchange_code(grant.code());
    if let Some(verifier) = grant.verifier() {
        request = request.set_pkce_verifier(verifier);
    }
    let answer = request.request_async(http).await.map_err(Failure::of_token)?;
    let tokens = tokens(&answer, None);
    let user = get(http, &endpoints.user_info, &tokens.access).await?;
    let Value::Object(mut user) = user else {
        return Err(Failure::Untrusted("what it tells of a user is no object".to_owned()));
    };
    if let Some(emails) = &endpoints.emails {
        // Not everybody lets applications see them.
        let emails = get(http, emails, &tokens.access).await.unwrap_or_default();
        user.insert("emails".to_owned(), emails);
    }
    identity(application, form, &user, &tokens)
}

pub(super) fn identity(
    application: &Application,
    form: Form,
    claims: &Map<String, Value>,
    tokens: &ProviderTokens,
) -> Result<Identity, Failure> {
    Identity::new(&application.service, form, claims, tokens)
        .map_err(|why| Failure::Untrusted(why.to_owned()))
}

/// The tokens of an answer.
pub(super) fn tokens(answer: &impl TokenResponse, id: Option<String>) -> ProviderTokens {
    let scopes = answer.scopes().into_iter().flatten();
    ProviderTokens {
        access: answer.access_token().secret().clone(),
        refresh: answer.refresh_token().map(|token| token.secret().clone()),
        id,
        scopes: scopes.map(|scope| scope.to_string()).collect(),
        expires_at: answer.expires_in().and_then(|after| {
            let at = SystemTime::now().checked_add(after).map(Date::from)?;
            // Exact for dates, which JavaScript has as numbers too.
            at.millis().map(|millis| millis as f64)
        }),
    }
}

async fn get(http: &Http, url: &Url, access_token: &str) -> Result<Value, Failure> {
    let request = Request::get(url.as_str())
        .header(ACCEPT, "application/json")
        .header(AUTHORIZATION, format!("Bearer {access_token}"))
        .body(Vec::new())
        .map_err(|error| Failure::untrusted(&error))?;
    let answer = http.call(request).await.map_err(|error| Failure::unreachable(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(Failure::Unreachable(format!("{url} answered {}", answer.status())));
    }
    serde_json::from_slice(answer.body()).map_err(|error| Failure::untrusted(&error))
}
