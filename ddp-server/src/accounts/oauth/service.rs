//! Login services: who they are, and how they are asked.

use std::fmt;
use std::sync::Arc;

use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, ClientSecret, CsrfToken, RedirectUrl, Scope, TokenUrl};
use openidconnect::IssuerUrl;
use openidconnect::PkceCodeChallenge;
use url::Url;

use super::failure::Failure;
use super::grant::Grant;
use super::http::{Http, is_allowed};
use super::identity::{Form, Identity};
use super::openid::{Begin, OpenId};
use super::plain::{self, Application, Endpoints};
use super::started::Started;
use super::state::LoginStyle;
use crate::ejson::Object;

/// Names that `services` has for something else.
const TAKEN: [&str; 6] =
    ["password", "resume", "email", "passwordless", "twoFactorAuthentication", "apiTokens"];

/// A login service: Google, GitHub, or any other provider of OpenID Connect or OAuth 2, with what it
/// knows the application by. See the [module](super).
///
/// ```
/// use ddp_server::accounts::oauth::OAuthService;
///
/// let google = OAuthService::google("1234.apps.googleusercontent.com", "the client's secret");
/// let company = OAuthService::open_id_connect(
///     "company",
///     "https://id.example.com/realms/staff",
///     "chat",
///     "the client's secret",
/// )
/// .link_by_verified_email()
/// .only_from_start();
/// # let _ = (google, company);
/// ```
pub struct OAuthService {
    application: Application,
    kind: Kind,
    form: Form,
    scopes: Vec<String>,
    login_style: LoginStyle,
    configuration: Object,
    only_from_start: bool,
    links: bool,
}

enum Kind {
    OpenId(Box<OpenId>),
    Plain(Box<Endpoints>),
}

impl OAuthService {
    /// Google, for Meteor's `accounts-google`.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn google(client_id: impl Into<String>, secret: impl Into<String>) -> Self {
        let google = "https://accounts.google.com";
        let mut service = Self::open_id_connect("google", google, client_id, secret);
        service.form = Form::Google;
        service
    }

    /// GitHub, for Meteor's `accounts-github`.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn github(client_id: impl Into<String>, secret: impl Into<String>) -> Self {
        let mut service = Self::oauth2(
            "github",
            "https://github.com/login/oauth/authorize",
            "https://github.com/login/oauth/access_token",
            "https://api.github.com/user",
            client_id,
            secret,
        );
        service.form = Form::GitHub;
        service.scopes = vec!["user:email".to_owned()];
        if let Kind::Plain(endpoints) = &mut service.kind {
            endpoints.emails = Some(url("https://api.github.com/user/emails"));
        }
        service
    }

    /// A provider of OpenID Connect, which is found by its issuer: the address in front of
    /// `/.well-known/openid-configuration`, spelt exactly as the provider spells it.
    ///
    /// # Panics
    /// If the name is not 1 to 64 of `A-Za-z0-9_-` or is taken by Meteor, or the issuer is no address
    /// by https (http on this machine is).
    #[must_use]
    pub fn open_id_connect(
        name: impl Into<String>,
        issuer: &str,
        client_id: impl Into<String>,
        secret: impl Into<String>,
    ) -> Self {
        url(issuer);
        let issuer = IssuerUrl::new(issuer.to_owned()).expect("looked at just now");
        let kind = Kind::OpenId(Box::new(OpenId::new(issuer)));
        let scopes = vec!["email".to_owned(), "profile".to_owned()];
        Self::new(name.into(), kind, scopes, client_id.into(), secret.into())
    }

    /// A provider of plain OAuth 2: where its users agree, where a code becomes a token (the
    /// application's secret is sent in the body), and where the token gives a JSON object about the
    /// user, with an `id` or a `sub`.
    ///
    /// # Panics
    /// As [`open_id_connect`](Self::open_id_connect).
    #[must_use]
    pub fn oauth2(
        name: impl Into<String>,
        authorization: &str,
        token: &str,
        user_info: &str,
        client_id: impl Into<String>,
        secret: impl Into<String>,
    ) -> Self {
        let kind = Kind::Plain(Box::new(Endpoints {
            authorization: AuthUrl::from_url(url(authorization)),
            token: TokenUrl::from_url(url(token)),
            user_info: url(user_info),
            emails: None,
        }));
        Self::new(name.into(), kind, Vec::new(), client_id.into(), secret.into())
    }

    fn new(name: String, kind: Kind, scopes: Vec<String>, id: String, secret: String) -> Self {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let fits = (1..=64).contains(&name.len()) && name.bytes().all(is_plain);
        assert!(
            fits,
            "a login service has a name of 1 to 64 letters, digits, `-` and `_`: {name:?}"
        );
        assert!(!TAKEN.contains(&&*name), "{name:?} is no name for a login service: Meteor has it");
        let application = Application {
            service: name.into(),
            client_id: ClientId::new(id),
            client_secret: ClientSecret::new(secret),
        };
        Self {
            application,
            kind,
            form: Form::Plain,
            scopes,
            login_style: LoginStyle::Popup,
            configuration: Object::new(),
            only_from_start: false,
            links: false,
        }
    }

    /// Asks for these scopes where a login begins at [`start`](super#start), in the place of the usual
    /// ones: `email profile` (`openid` is always there) or, at GitHub, `user:email`. Meteor's packages
    /// ask for their own.
    #[must_use]
    pub fn scopes<T: Into<String>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// How clients show the provider's pages if they have no other wish; in a popup.
    #[must_use]
    pub fn login_style(mut self, style: LoginStyle) -> Self {
        self.login_style = style;
        self
    }

    /// Tells clients more, in the service's document of `meteor_accounts_loginServiceConfiguration`,
    /// which has `service`, `clientId`, `loginStyle` and `startUrl`. A field `secret` is left out.
    #[must_use]
    pub fn configuration(mut self, mut fields: Object) -> Self {
        fields.shift_remove("secret");
        self.configuration.extend(fields);
        self
    }

    /// Refuses logins that did not begin at [`start`](super#start), so that each has PKCE and, with
    /// OpenID Connect, a nonce. Unmodified packages of Meteor do not begin there.
    #[must_use]
    pub fn only_from_start(mut self) -> Self {
        self.only_from_start = true;
        self
    }

    /// A user who is new at this service, and whose address it says to have verified, is the user who
    /// has that address verified here, instead of another one. Whoever decides at the provider which
    /// addresses are verified can then log in as any user with an address: off unless called.
    #[must_use]
    pub fn link_by_verified_email(mut self) -> Self {
        self.links = true;
        self
    }

    pub(in crate::accounts) fn name(&self) -> &Arc<str> {
        &self.application.service
    }

    pub(super) fn links(&self) -> bool {
        self.links
    }

    pub(super) fn is_only_from_start(&self) -> bool {
        self.only_from_start
    }

    /// What clients are told.
    pub(super) fn published(&self, start_url: &str) -> Object {
        let own = [
            ("clientId", self.application.client_id.as_str()),
            ("loginStyle", self.login_style.as_str()),
            ("startUrl", start_url),
        ];
        let mut fields: Object =
            own.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        fields.extend(self.configuration.clone());
        fields
    }

    /// The provider's page, for a login that begins here.
    pub(super) async fn authorization_url(
        &self,
        http: &Http,
        state: &str,
        started: &Started,
        redirect: RedirectUrl,
    ) -> Result<Url, Failure> {
        let verifier = oauth2::PkceCodeVerifier::new(started.verifier.clone());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&verifier);
        match &self.kind {
            Kind::OpenId(provider) => {
                let (scopes, nonce) = (&self.scopes, &*started.nonce);
                let begin = Begin { state, nonce, challenge, scopes, redirect };
                provider.authorization_url(&self.application, http, begin).await
            }
            Kind::Plain(endpoints) => {
                let client = BasicClient::new(self.application.client_id.clone())
                    .set_auth_uri(endpoints.authorization.clone())
                    .set_redirect_uri(redirect);
                let request = client
                    .authorize_url(|| CsrfToken::new(state.to_owned()))
                    .add_scopes(self.scopes.iter().cloned().map(Scope::new))
                    .set_pkce_challenge(challenge);
                Ok(request.url().0)
            }
        }
    }

    /// Who the user is whom a code is for.
    pub(super) async fn exchange(
        &self,
        http: &Http,
        grant: &Grant<'_>,
    ) -> Result<Identity, Failure> {
        let application = &self.application;
        match &self.kind {
            Kind::OpenId(provider) => {
                Box::pin(provider.exchange(application, self.form, http, grant)).await
            }
            Kind::Plain(endpoints) => {
                Box::pin(plain::exchange(application, endpoints, self.form, http, grant)).await
            }
        }
    }
}

/// An address that may be asked.
fn url(text: &str) -> Url {
    let url = Url::parse(text).ok().filter(is_allowed);
    url.unwrap_or_else(|| {
        panic!("a provider has an address by https, or on this machine: {text:?}")
    })
}

impl fmt::Debug for OAuthService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthService")
            .field("name", &self.application.service)
            .finish_non_exhaustive()
    }
}
