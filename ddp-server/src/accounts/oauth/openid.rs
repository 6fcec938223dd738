//! OpenID Connect: a code for an ID token, which the provider has signed.

use std::time::Duration;

use openidconnect::core::{
    CoreAuthenticationFlow, CoreClient, CoreClientAuthMethod, CoreIdToken, CoreIdTokenClaims,
    CoreProviderMetadata, CoreUserInfoClaims,
};
use openidconnect::{
    AuthType, ClaimsVerificationError, CsrfToken, EndpointMaybeSet, EndpointNotSet, EndpointSet,
    IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge, RedirectUrl, Scope,
    SignatureVerificationError, TokenResponse,
};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::time::Instant;
use url::Url;

use super::failure::Failure;
use super::grant::Grant;
use super::http::Http;
use super::identity::{Form, Identity};
use super::plain::{Application, identity, tokens};

/// How long what a provider says of itself is believed.
const FRESH_FOR: Duration = Duration::from_secs(60 * 60);

/// How soon it may be asked again, if a token is signed by a key that is not known yet.
const AGAIN_AFTER: Duration = Duration::from_secs(60);

/// A provider of OpenID Connect.
pub(super) struct OpenId {
    pub(super) issuer: IssuerUrl,
    found: Mutex<Option<(Instant, CoreProviderMetadata)>>,
}

/// The client that a provider's description makes.
type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

impl OpenId {
    pub(super) fn new(issuer: IssuerUrl) -> Self {
        Self { issuer, found: Mutex::default() }
    }

    /// What the provider says of itself, with its keys, if that is not older than this.
    async fn discover(
        &self,
        http: &Http,
        younger_than: Duration,
    ) -> Result<CoreProviderMetadata, Failure> {
        if let Some((at, found)) = &*self.found.lock()
            && at.elapsed() < younger_than
        {
            return Ok(found.clone());
        }
        let found = CoreProviderMetadata::discover_async(self.issuer.clone(), http).await;
        let found = found.map_err(|error| Failure::unreachable(&error))?;
        *self.found.lock() = Some((Instant::now(), found.clone()));
        Ok(found)
    }

    async fn client(
        &self,
        application: &Application,
        http: &Http,
        younger_than: Duration,
    ) -> Result<Client, Failure> {
        let found = self.discover(http, younger_than).await?;
        let methods = found.token_endpoint_auth_methods_supported();
        let takes_post = methods
            .is_some_and(|methods| methods.contains(&CoreClientAuthMethod::ClientSecretPost));
        let secret = Some(application.client_secret.clone());
        let client =
            CoreClient::from_provider_metadata(found, application.client_id.clone(), secret);
        let basic = AuthType::BasicAuth;
        Ok(client.set_auth_type(if takes_post { AuthType::RequestBody } else { basic }))
    }

    /// Where a login begins: the provider's page, for this nonce and this challenge.
    pub(super) async fn authorization_url(
        &self,
        application: &Application,
        http: &Http,
        begin: Begin<'_>,
    ) -> Result<Url, Failure> {
        let client = self.client(application, http, FRESH_FOR).await?;
        let client = client.set_redirect_uri(begin.redirect);
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let state = CsrfToken::new(begin.state.to_owned());
        let nonce = Nonce::new(begin.nonce.to_owned());
        let scopes = begin.scopes.iter().cloned().map(Scope::new);
        let request = client.authorize_url(flow, move || state, move || nonce).add_scopes(scopes);
        Ok(request.set_pkce_challenge(begin.challenge).url().0)
    }

    pub(super) async fn exchange(
        &self,
        application: &Application,
        form: Form,
        http: &Http,
        grant: &Grant<'_>,
    ) -> Result<Identity, Failure> {
        if grant.issuer.is_some_and(|issuer| issuer != self.issuer.as_str()) {
            return Err(Failure::Untrusted("the code is of another issuer".to_owned()));
        }
        let client = self.client(application, http, FRESH_FOR).await?;
        let client = client.set_redirect_uri(grant.redirect.clone());
        let mut request =
            client.exchange_code(grant.code()).map_err(|error| Failure::untrusted(&error))?;
        if let Some(verifier) = grant.verifier() {
            request = request.set_pkce_verifier(verifier);
        }
        let answer = request.request_async(http).await.map_err(Failure::of_token)?;
        let id_token = answer
            .id_token()
            .ok_or_else(|| Failure::Untrusted("there is no ID token".to_owned()))?;
        let nonce = grant.started.as_ref().map(|started| Nonce::new(started.nonce.clone()));
        let claims = match verified(&client, id_token, nonce.as_ref()) {
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => {
                // It may have a new key.
                let client = self.client(application, http, AGAIN_AFTER).await?;
                verified(&client, id_token, nonce.as_ref())
            }
            claims => claims,
        };
        let claims = claims.map_err(|error| Failure::untrusted(&error))?;
        let mut all = object(&claims)?;
        if !all.contains_key("email") && client.user_info_url().is_some() {
            let subject = Some(claims.subject().clone());
            let request = client
                .user_info(answer.access_token().clone(), subject)
                .map_err(|error| Failure::untrusted(&error))?;
            let more: CoreUserInfoClaims =
                request.request_async(http).await.map_err(|error| Failure::unreachable(&error))?;
            for (name, value) in object(&more)? {
                all.entry(name).or_insert(value);
            }
        }
        let id = Some(id_token.to_string());
        identity(application, form, &all, &tokens(&answer, id))
    }
}

/// How a login is to begin.
pub(super) struct Begin<'a> {
    pub(super) state: &'a str,
    pub(super) nonce: &'a str,
    pub(super) challenge: PkceCodeChallenge,
    pub(super) scopes: &'a [String],
    pub(super) redirect: RedirectUrl,
}

/// The claims of a token: its signature, issuer, audience, end and, if there was one, nonce are right.
fn verified(
    client: &Client,
    id_token: &CoreIdToken,
    nonce: Option<&Nonce>,
) -> Result<CoreIdTokenClaims, ClaimsVerificationError> {
    let verifier = client.id_token_verifier();
    match nonce {
        Some(nonce) => id_token.claims(&verifier, nonce).cloned(),
        // The client began it, and has none.
        None => id_token.claims(&verifier, |_: Option<&Nonce>| Ok(())).cloned(),
    }
}

/// Claims by their names.
fn object(claims: &impl serde::Serialize) -> Result<Map<String, Value>, Failure> {
    match serde_json::to_value(claims).map_err(|error| Failure::untrusted(&error))? {
        Value::Object(claims) => Ok(claims),
        _ => Err(Failure::Untrusted("its claims are no object".to_owned())),
    }
}
