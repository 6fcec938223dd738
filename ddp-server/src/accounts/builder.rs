//! What accounts are made of, before they are built.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempt, CreatedLoginToken, Creation, Logout};
use super::core::Core;
use super::delays::Delays;
use super::handle::AccountsHandle;
use super::handler::{Login, LoginHandler, LoginRequest};
use super::hooks::{Hooks, hook};
use super::http::Cookies;
#[cfg(feature = "jwt")]
use super::jwt::Jwt;
use super::mail::{LogMailer, MailTemplates, Mailer, Mails};
use super::options::{Options, Restriction, TOKEN_SEQUENCE_MAX, TOKEN_SEQUENCE_MIN};
use super::password::{PasswordAlgorithm, Passwords};
use super::sealed::Sealer;
use super::store::{AccountsStore, User};
use crate::collection::Collection;
use crate::ejson::{Ejson, Object};
use crate::error::Error;
use crate::memory::MemoryCollection;

/// Meteor's accounts, as a [plugin](crate::Plugin) of a server. `Accounts::new(store)` has Meteor's
/// defaults; each function changes one of them. See the [module](super).
pub struct Accounts {
    store: Arc<dyn AccountsStore>,
    options: Options,
    hooks: Hooks,
    handlers: Vec<LoginHandler>,
    #[cfg(feature = "jwt")]
    jwts: Vec<Jwt>,
    algorithm: PasswordAlgorithm,
    threads: Option<usize>,
    mailer: Arc<dyn Mailer>,
    templates: MailTemplates,
    root_url: Option<String>,
    services: Vec<(String, Object)>,
    #[cfg(feature = "oauth")]
    pub(super) oauth: super::oauth::Settings,
    sealer: Sealer,
}

impl Accounts {
    /// Accounts that are kept in this store.
    #[must_use]
    pub fn new(store: impl AccountsStore) -> Self {
        Self {
            store: Arc::new(store),
            options: Options::default(),
            hooks: Hooks::default(),
            handlers: Vec::new(),
            #[cfg(feature = "jwt")]
            jwts: Vec::new(),
            algorithm: PasswordAlgorithm::BCRYPT,
            threads: None,
            mailer: Arc::new(LogMailer),
            templates: MailTemplates::default(),
            root_url: None,
            services: Vec::new(),
            #[cfg(feature = "oauth")]
            oauth: super::oauth::Settings::default(),
            sealer: Sealer::default(),
        }
    }

    /// Whether clients are told why a login failed, a name was refused or a mail was not sent only in
    /// one text that is the same for all reasons: Meteor's `ambiguousErrorMessages`; true.
    #[must_use]
    pub fn ambiguous_error_messages(mut self, is_on: bool) -> Self {
        self.options.ambiguous_error_messages = is_on;
        self
    }

    /// Only the server creates users: Meteor's `forbidClientAccountCreation`.
    #[must_use]
    pub fn forbid_client_account_creation(mut self) -> Self {
        self.options.forbid_client_account_creation = true;
        self
    }

    /// A client that creates a user with an address gets a mail to verify it or, without a password,
    /// to set one: Meteor's `sendVerificationEmail`.
    #[must_use]
    pub fn send_verification_email(mut self) -> Self {
        self.options.send_verification_email = true;
        self
    }

    /// New users must have an address of this domain, without `@`: Meteor's
    /// `restrictCreationByEmailDomain`.
    #[must_use]
    pub fn restrict_creation_by_email_domain(mut self, domain: impl Into<String>) -> Self {
        self.options.restriction = Some(Restriction::Domain(domain.into()));
        self
    }

    /// New users must have an address that satisfies this.
    #[must_use]
    pub fn restrict_creation_by_email(
        mut self,
        fits: impl Fn(&str) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.options.restriction = Some(Restriction::Where(Arc::new(fits)));
        self
    }

    /// Clients may change their own `profile` by `Meteor.users.update`, with `$set`, `$unset`, `$inc`,
    /// `$push`, `$addToSet` and `$pull`, to at most 16 KiB. Meteor lets them unless told otherwise,
    /// and its guide warns of it: whatever the application believes of a profile, any client can write.
    #[must_use]
    pub fn allow_profile_updates(mut self) -> Self {
        self.options.allows_profile_updates = true;
        self
    }

    /// How long a login lasts, 90 days: Meteor's `loginExpirationInDays`. With `None` it lasts for ever,
    /// and clients are told of a hundred years.
    #[must_use]
    pub fn login_expiration(mut self, lifetime: Option<Duration>) -> Self {
        self.options.login_expiration = lifetime;
        self
    }

    /// How long a mailed token resets a password, 3 days.
    #[must_use]
    pub fn password_reset_token_expiration(mut self, lifetime: Duration) -> Self {
        self.options.password_reset_token_expiration = lifetime;
        self
    }

    /// How long a mailed token sets the first password or verifies an address, 30 days.
    #[must_use]
    pub fn password_enroll_token_expiration(mut self, lifetime: Duration) -> Self {
        self.options.password_enroll_token_expiration = lifetime;
        self
    }

    /// How passwords are hashed from now on: Meteor's `bcryptRounds`, `argon2Enabled` and its
    /// parameters. What is stored in another form still works, and is replaced at the next login.
    ///
    /// # Panics
    /// If the parameters are not within their limits.
    #[must_use]
    pub fn password_algorithm(mut self, algorithm: PasswordAlgorithm) -> Self {
        assert!(algorithm.is_possible(), "{algorithm:?} is not within its limits");
        self.algorithm = algorithm;
        self
    }

    /// How many threads hash passwords; half the cores. For each of them 64 passwords may wait, and
    /// further ones are refused with `too-many-requests`.
    #[must_use]
    pub fn password_threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Publishes these fields of a user to its own clients, besides `profile`, `username` and `emails`,
    /// if the store has them: Meteor's `defaultFieldSelector`.
    ///
    /// # Panics
    /// If one is `services`, or within it: that holds secrets.
    #[must_use]
    pub fn default_field_selector<F: Into<String>>(
        mut self,
        fields: impl IntoIterator<Item = F>,
    ) -> Self {
        for field in fields.into_iter().map(Into::into) {
            let is_secret = field.split('.').next() == Some("services");
            assert!(!is_secret, "`services` holds secrets, and is never published");
            self.options.fields.push(field);
        }
        self
    }

    /// Lifts Meteor's rule that a connection calls `login`, `createUser`, `resetPassword`,
    /// `forgotPassword` and `requestLoginTokenForUser` at most 5 times each in 10 seconds: its
    /// `removeDefaultRateLimit`; and that of the [cookie](Self::use_http_only_cookies)'s routes. Wrong
    /// passwords still delay the next ones for the same user.
    #[must_use]
    pub fn remove_default_rate_limit(mut self) -> Self {
        self.options.limits_rates = false;
        self
    }

    /// Lets browsers keep their token in a cookie that no script can read, `meteor_login_token`, by the
    /// routes `/_accounts/cookie/set`, `refresh` and `clear`: Meteor's `useHttpOnlyCookies`, which its
    /// clients from 3.5 on have as well. The cookie has the path of [`root_url`](Self::root_url), and is
    /// believed only on the application's own pages; no WebSocket and no SockJS connection looks at it.
    /// Each address has 30 requests in 10 seconds.
    #[must_use]
    pub fn use_http_only_cookies(mut self) -> Self {
        self.options.uses_http_only_cookies = true;
        self
    }

    /// Lets users set up a second factor: Meteor's package `accounts-2fa`. See the [module](super).
    /// Without this, those who have one already are still asked for its codes.
    #[must_use]
    pub fn two_factor_authentication(mut self) -> Self {
        self.options.sets_up_second_factor = true;
        self
    }

    /// Lets clients log in by tokens that are mailed, and create users so unless that is
    /// [forbidden](Self::forbid_client_account_creation): Meteor's package `accounts-passwordless`. See
    /// the [module](super).
    #[must_use]
    pub fn passwordless(mut self) -> Self {
        self.options.is_passwordless = true;
        self
    }

    /// How long a token that was mailed to log in lasts, an hour: Meteor's `loginTokenExpirationHours`.
    #[must_use]
    pub fn login_token_expiration(mut self, lifetime: Duration) -> Self {
        self.options.login_token_expiration = lifetime;
        self
    }

    /// How many hexadecimal digits such a token has, 6: Meteor's `tokenSequenceLength`.
    ///
    /// # Panics
    /// If that is not 6 to 64: fewer digits could be found by trying.
    #[must_use]
    pub fn token_sequence_length(mut self, digits: usize) -> Self {
        let is_possible = (TOKEN_SEQUENCE_MIN..=TOKEN_SEQUENCE_MAX).contains(&digits);
        assert!(is_possible, "a token has {TOKEN_SEQUENCE_MIN} to {TOKEN_SEQUENCE_MAX} digits");
        self.options.token_sequence_length = digits;
        self
    }

    /// Is given each token that is made for a user, to send it by another way than mail. With `false`
    /// nothing is mailed. Such a token logs in with the user's name or id, and verifies no address.
    ///
    /// # Panics
    /// If there is such a function already, as in Meteor.
    #[must_use]
    pub fn on_create_login_token<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(CreatedLoginToken) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, Error>> + Send + 'static,
    {
        let before = self.hooks.on_create_login_token.replace(hook(function));
        assert!(before.is_none(), "on_create_login_token can be given once");
        self
    }

    /// Encrypts secrets that must be read again, such as those of second factors, with this key: base64
    /// of 16 random bytes, Meteor's `oauthSecretKey`. What was stored without a key can still be read;
    /// what was stored with another key cannot.
    ///
    /// # Panics
    /// If it is something else; the message does not show it.
    #[must_use]
    pub fn oauth_secret_key(mut self, key: &str) -> Self {
        self.sealer = Sealer::new(key).expect(
            "the oauth_secret_key must be base64 of 16 bytes: make one with `openssl rand -base64 16`",
        );
        self
    }

    /// Sends mails by this, instead of writing them to the log.
    #[must_use]
    pub fn mailer(mut self, mailer: impl Mailer) -> Self {
        self.mailer = Arc::new(mailer);
        self
    }

    /// What mails say: Meteor's `Accounts.emailTemplates`.
    #[must_use]
    pub fn email_templates(mut self, templates: MailTemplates) -> Self {
        self.templates = templates;
        self
    }

    /// Where the application is, for links in mails; without it the variable `ROOT_URL`, else
    /// `http://localhost:3000/`.
    #[must_use]
    pub fn root_url(mut self, url: impl Into<String>) -> Self {
        self.root_url = Some(url.into());
        self
    }

    /// Tells clients of a login service, as a document of `meteor_accounts_loginServiceConfiguration`
    /// with this `service` and these fields. A field `secret` is left out.
    #[must_use]
    pub fn login_service(mut self, service: impl Into<String>, mut fields: Object) -> Self {
        fields.shift_remove("secret");
        self.services.push((service.into(), fields));
        self
    }

    /// Adds a handler: an async function that is given what a client gave to `login`, and returns who
    /// logs in, or `None` if this is for another handler. `resume` and `password` come first, then
    /// those that were added, in their order. The name is the `type` of its logins.
    ///
    /// ```
    /// use ddp_server::accounts::{Accounts, Login, MemoryAccounts};
    /// use ddp_server::Error;
    ///
    /// let accounts = Accounts::new(MemoryAccounts::new()).register_login_handler(
    ///     "door-code",
    ///     async |request| match request.text("doorCode") {
    ///         None => Ok(None),
    ///         Some("1234") => Ok(Some(Login::user("the id of a user"))),
    ///         Some(_) => Err(Error::client(403, "Wrong code")),
    ///     },
    /// );
    /// # let _ = accounts;
    /// ```
    #[must_use]
    pub fn register_login_handler<F, Fut>(self, name: &str, handler: F) -> Self
    where
        F: Fn(LoginRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<Login>, Error>> + Send + 'static,
    {
        self.login_handler(LoginHandler::new(name, handler))
    }

    /// Adds a handler that a library brings along, such as those of `ddp-postgres` for users of Django. It is
    /// one of those of [`register_login_handler`](Self::register_login_handler), in their order.
    #[must_use]
    pub fn login_handler(mut self, handler: LoginHandler) -> Self {
        self.handlers.push(handler);
        self
    }

    /// Logs in whoever has a JSON Web Token of another backend: `login` with `{jwt: "<token>"}`. Several may
    /// be given, and the first that a token satisfies counts. They come after `resume` and `password`.
    ///
    /// # Panics
    /// If tokens for other applications would be accepted: keys of a set without an
    /// [audience](Jwt::audience), or two issuers with one [service](Jwt::service).
    #[cfg(feature = "jwt")]
    #[must_use]
    pub fn jwt(mut self, jwt: Jwt) -> Self {
        jwt.check(&self.jwts);
        self.jwts.push(jwt);
        self
    }

    /// Asks about each attempt to log in, also about one that failed already. With `false` the client
    /// gets `Login forbidden` (403) unless there is another error, with an error that one. Nothing lets
    /// in whom something else refuses.
    #[must_use]
    pub fn validate_login_attempt<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, Error>> + Send + 'static,
    {
        self.hooks.validate_login_attempt.push(hook(function));
        self
    }

    /// Tells of each login, before the client has its result.
    #[must_use]
    pub fn on_login<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.hooks.on_login.push(hook(function));
        self
    }

    /// Tells of each attempt that failed.
    #[must_use]
    pub fn on_login_failure<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(Attempt) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.hooks.on_login_failure.push(hook(function));
        self
    }

    /// Tells of each logout, before the documents of the user go.
    #[must_use]
    pub fn on_logout<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(Logout) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.hooks.on_logout.push(hook(function));
        self
    }

    /// Asks about each new user. With `false` whoever creates it gets `User validation failed` (403).
    #[must_use]
    pub fn validate_new_user<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(User) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<bool, Error>> + Send + 'static,
    {
        self.hooks.validate_new_user.push(hook(function));
        self
    }

    /// Completes each new user. The id stays as it is; the profile is what the function makes of
    /// `options.profile`.
    ///
    /// # Panics
    /// If there is such a function already, as in Meteor.
    #[must_use]
    pub fn on_create_user<F, Fut>(mut self, function: F) -> Self
    where
        F: Fn(Creation) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<User, Error>> + Send + 'static,
    {
        let before = self.hooks.on_create_user.replace(hook(function));
        assert!(before.is_none(), "on_create_user can be given once");
        self
    }

    /// Builds them: what this returns is the plugin, and the server's own access to its users.
    #[must_use]
    pub fn build(self) -> AccountsHandle {
        let variable = || std::env::var("ROOT_URL").ok().filter(|url| !url.is_empty());
        let root_url = self.root_url.or_else(variable);
        let root_url = root_url.as_deref().unwrap_or("http://localhost:3000/");
        if self.options.sets_up_second_factor && !self.sealer.has_key() {
            tracing::warn!(
                "secrets of second factors are stored as they are: set Accounts::oauth_secret_key, so \
                 that whoever reads the store cannot make codes"
            );
        }
        let services =
            MemoryCollection::new(&Collection::new("meteor_accounts_loginServiceConfiguration"));
        #[cfg(feature = "oauth")]
        let (oauth, published) = {
            let oauth = super::oauth::Logins::new(self.oauth, root_url);
            let published = oauth.published().map(|(name, fields)| (name.to_owned(), fields));
            let published: Vec<_> = published.chain(self.services).collect();
            #[cfg(feature = "jwt")]
            for name in self.jwts.iter().filter_map(Jwt::service_name) {
                let why = "is the name of an OAuth service and of a Jwt: a user of one would be one of the other";
                assert!(oauth.service(name).is_none(), "{name:?} {why}");
            }
            (oauth, published)
        };
        #[cfg(not(feature = "oauth"))]
        let published = self.services;
        for (name, mut fields) in published {
            fields.insert("service".to_owned(), name.as_str().into());
            // One that is there is replaced.
            services.remove(&name);
            services.insert_with_id(&name, &Ejson::Object(fields)).expect("an object of a new id");
        }
        let uses_cookies = self.options.uses_http_only_cookies;
        let cookies = uses_cookies.then(|| Cookies::new(root_url, self.options.limits_rates));
        let core = Arc::new(Core {
            cookies,
            store: self.store,
            options: self.options,
            hooks: self.hooks,
            handlers: self.handlers,
            #[cfg(feature = "jwt")]
            jwts: self.jwts,
            passwords: Passwords::new(self.algorithm, self.threads),
            sealer: self.sealer,
            held: Arc::default(),
            delays: Delays::new(),
            mails: Mails::new(self.mailer, self.templates, root_url),
            services,
            #[cfg(feature = "oauth")]
            oauth,
            watch: super::watch::Watch::default(),
            log: crate::log::Log::default(),
        });
        let weak = Arc::downgrade(&core);
        core.store.on_revocation(Arc::new(move |revocation| {
            if let Some(core) = weak.upgrade() {
                core.hear(revocation);
            }
        }));
        AccountsHandle::new(core)
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("options", &self.options).finish_non_exhaustive()
    }
}
