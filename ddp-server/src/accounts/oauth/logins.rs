//! Logins by services, from the provider's answer to the login of the client.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use oauth2::RedirectUrl;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

use super::app::AppUrl;
use super::external::{ExternalHooks, Settings};
use super::failure::{Failure, shown};
use super::grant::Grant;
use super::http::Http;
use super::identity::Identity;
use super::parameters::Parameters;
use super::pending::PendingCredentials;
use super::service::OAuthService;
use super::started::Started;
use super::state::LoginState;
use crate::ejson::Object;
use crate::error::Error;
use crate::log::Log;
use crate::random;
use crate::transport::Shares;

/// How many exchanges with providers are under way at most.
const AT_ONCE: usize = 32;

/// How many more wait for one of these places; others are refused at once.
const WAITING_MAX: usize = 224;

/// How many requests of one address are handled at a time, from reading them to the provider's answer.
const EACH_MAX: usize = 16;

/// How long one waits for its place, and how long it then takes with all its requests.
const PLACE_WITHIN: Duration = Duration::from_secs(10);
const DONE_WITHIN: Duration = Duration::from_secs(30);

/// The longest code.
const CODE_BYTES_MAX: usize = 4 * 1024;

/// Logins by services.
pub(in crate::accounts) struct Logins {
    services: Vec<OAuthService>,
    pub(super) hooks: ExternalHooks,
    pub(super) app: AppUrl,
    pending: PendingCredentials,
    http: Http,
    places: Semaphore,
    all: Semaphore,
    /// By the addresses of clients, those that are known.
    pub(super) shares: Arc<Shares>,
}

impl Logins {
    /// # Panics
    /// If there are services, and the application's address is none.
    pub(in crate::accounts) fn new(settings: Settings, root_url: &str) -> Self {
        let Settings { services, hooks } = settings;
        let unused = "http://localhost:3000/";
        Self {
            app: AppUrl::new(if services.is_empty() { unused } else { root_url }),
            services,
            hooks,
            pending: PendingCredentials::default(),
            http: Http::default(),
            places: Semaphore::new(AT_ONCE),
            all: Semaphore::new(AT_ONCE + WAITING_MAX),
            shares: Shares::new(EACH_MAX),
        }
    }

    pub(super) fn has_services(&self) -> bool {
        !self.services.is_empty()
    }

    pub(in crate::accounts) fn service(&self, name: &str) -> Option<&OAuthService> {
        self.services.iter().find(|service| &**service.name() == name)
    }

    /// What clients are told of each service.
    pub(in crate::accounts) fn published(&self) -> impl Iterator<Item = (&str, Object)> {
        self.services
            .iter()
            .map(|service| (&**service.name(), service.published(&self.app.start(service.name()))))
    }

    /// Where a login begins that has PKCE and a nonce.
    pub(super) async fn begin(
        &self,
        service: &OAuthService,
        state: &str,
        started: &Started,
    ) -> Result<Url, Failure> {
        let redirect = RedirectUrl::from_url(self.app.callback(service.name()));
        let _all = self.all.try_acquire().map_err(|_| Failure::Busy)?;
        let url = service.authorization_url(&self.http, state, started, redirect);
        timeout(DONE_WITHIN, url).await.unwrap_or_else(|_| Err(too_slow()))
    }

    /// Makes a pending credential of what the provider gave to the browser: its secret, or `None` if
    /// it failed.
    pub(super) async fn finish(
        &self,
        log: &Log,
        service: &OAuthService,
        parameters: &Parameters,
        state: &LoginState,
        started: Option<Started>,
    ) -> Option<String> {
        let name = &**service.name();
        if let Some(error) = parameters.get("error") {
            // As if the window had been closed: clients are told of no matching login attempt.
            let error = shown(error);
            log.line("a login service refused", name, &error, |service, error, count| {
                tracing::info!(service, error, count, "a login service refused");
            });
            return None;
        }
        match Box::pin(self.exchange(service, parameters, started)).await {
            Ok(identity) => {
                let secret = random::secret();
                self.pending.put(&state.credential_token, &secret, identity);
                Some(secret)
            }
            Err(failure) => {
                log.line(
                    "a login by a service failed",
                    name,
                    failure.why(),
                    |service, why, count| {
                        tracing::warn!(service, why, count, "a login by a service failed");
                    },
                );
                self.pending.fail(&state.credential_token, failure.for_client(name));
                None
            }
        }
    }

    async fn exchange(
        &self,
        service: &OAuthService,
        parameters: &Parameters,
        started: Option<Started>,
    ) -> Result<Identity, Failure> {
        if started.is_none() && service.is_only_from_start() {
            let start = self.app.start(service.name());
            return Err(Failure::Refused(format!("the login must begin at {start}")));
        }
        let code = parameters.get("code").filter(|code| code.len() <= CODE_BYTES_MAX);
        let code = code.ok_or_else(|| Failure::Refused("there is no code".to_owned()))?;
        let grant = Grant {
            code,
            issuer: parameters.get("iss"),
            redirect: RedirectUrl::from_url(self.app.callback(service.name())),
            started,
        };
        let _all = self.all.try_acquire().map_err(|_| Failure::Busy)?;
        let place = timeout(PLACE_WITHIN, self.places.acquire()).await;
        let _place = place.map_err(|_| Failure::Busy)?.expect("the semaphore is never closed");
        let exchange = service.exchange(&self.http, &grant);
        timeout(DONE_WITHIN, exchange).await.unwrap_or_else(|_| Err(too_slow()))
    }

    /// How many logins may still come.
    #[cfg(all(test, feature = "testing"))]
    pub(in crate::accounts) fn places_left(&self) -> usize {
        self.all.available_permits()
    }

    /// Takes a pending credential, or why there is none.
    pub(super) fn take(
        &self,
        token: &str,
        secret: Option<&str>,
    ) -> Option<Result<Identity, Error>> {
        self.pending.take(token, secret)
    }
}

fn too_slow() -> Failure {
    Failure::Unreachable("its answers took more than 30 seconds".to_owned())
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins").field("services", &self.services).finish_non_exhaustive()
    }
}
