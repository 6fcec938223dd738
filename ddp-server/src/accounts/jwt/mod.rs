//! Logins by tokens of another backend, for users whom that backend knows.

mod error;
mod fetch;
mod key;
mod refusal;
mod remote;
mod token;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

pub use self::error::JwtError;
use self::fetch::{Source, Url};
use self::key::Key;
pub(super) use self::refusal::Refusal;
use self::remote::RemoteKeys;
use self::token::Unchecked;
use crate::ejson::Date;

/// Which JSON Web Tokens log in: `login` with `{jwt: "<token>"}`, for
/// [`Accounts::jwt`](super::Accounts::jwt).
///
/// ```
/// use ddp_server::Server;
/// use ddp_server::accounts::{Accounts, Jwt, MemoryAccounts};
///
/// # fn main() -> Result<(), ddp_server::accounts::JwtError> {
/// # let secret = "a secret that only the other backend has too";
/// let jwt = Jwt::hs256(secret)?.audience("todos").issuer("https://app.example");
/// let accounts = Accounts::new(MemoryAccounts::new()).jwt(jwt.create_users());
/// let server = Server::builder().plugin(accounts).build();
/// # let _ = server;
/// # Ok(())
/// # }
/// ```
///
/// The other backend gives its users tokens that live for some minutes. In Django, with PyJWT:
///
/// ```python
/// import time, jwt
/// from django.conf import settings
/// from django.contrib.auth.decorators import login_required
/// from django.http import JsonResponse
///
/// @login_required
/// def ddp_token(request):
///     claims = {"sub": str(request.user.pk), "name": request.user.get_full_name(),
///               "aud": "todos", "iss": "https://app.example", "exp": int(time.time()) + 3600}
///     return JsonResponse({"jwt": jwt.encode(claims, settings.DDP_JWT_SECRET, algorithm="HS256")})
/// ```
///
/// and in Rails, with the gem `jwt`:
///
/// ```ruby
/// class DdpTokensController < ApplicationController
///   before_action :authenticate_user!
///
///   def show
///     claims = { sub: current_user.id.to_s, name: current_user.name, aud: "todos",
///                iss: "https://app.example", exp: 1.hour.from_now.to_i }
///     render json: { jwt: JWT.encode(claims, Rails.application.credentials.ddp_jwt_secret, "HS256") }
///   end
/// end
/// ```
///
/// Meteor's client then logs in, and is logged in again after a reload until the token ends:
///
/// ```js
/// const { jwt } = await (await fetch("/ddp-token")).json();
/// Accounts.callLoginMethod({ methodArguments: [{ jwt }] });
/// ```
///
/// # Who logs in
/// The claim `sub`, or [another](Self::claim), is a text or a whole number. Without more, it is the id of
/// a user in the store, as when the users of the store are those of the other backend: whoever has the key
/// can log in as anybody. With [`service`](Self::service) it is the id of a login service, so that the
/// store's users have ids of their own, and only those whom the service knows can log in.
/// [`create_users`](Self::create_users) makes them. A user who is not there, or not active, is refused.
///
/// # What is checked
/// - The signature, by a key of the algorithm that the token names: `HS256` for secrets; `RS256` (2,048 to
///   8,192 bits), `ES256` or `EdDSA` (Ed25519) for public keys. `none` is not among them, and a public key
///   is never taken for a secret.
/// - `exp`, which must be there. To the second: no clock is given leeway, since the login ends with it.
/// - `nbf`, if it is there, with a [leeway](Self::leeway) of 30 seconds.
/// - `aud`: one that was [named](Self::audience). A token that names any is refused if none was named.
/// - `iss`, if one was [named](Self::issuer).
///
/// Tokens have at most 8 KiB, and no extensions (`crit`).
///
/// # When it ends
/// No login token outlives the JWT. When that ends, the server closes the connection; the client connects
/// again, is told that its session has expired, and is logged out. It may log in by a new JWT before.
pub struct Jwt {
    keys: Keys,
    audiences: Vec<String>,
    any_audience: bool,
    issuer: Option<String>,
    claim: String,
    leeway: Duration,
    service: Option<String>,
    creates: bool,
}

enum Keys {
    One(Key),
    Remote(Arc<RemoteKeys>),
}

/// What a token that is right says.
pub(super) struct Verified {
    pub(super) user_id: String,
    pub(super) expires: Date,
    pub(super) claims: Map<String, Value>,
}

impl Jwt {
    fn new(keys: Keys) -> Self {
        Self {
            keys,
            audiences: Vec::new(),
            any_audience: false,
            issuer: None,
            claim: "sub".to_owned(),
            leeway: Duration::from_secs(30),
            service: None,
            creates: false,
        }
    }

    /// Tokens that are signed with a secret of at least 32 bytes, by `HS256`.
    ///
    /// # Errors
    /// If it is shorter, or a key in PEM.
    pub fn hs256(secret: impl AsRef<[u8]>) -> Result<Self, JwtError> {
        Ok(Self::new(Keys::One(Key::secret(secret.as_ref())?)))
    }

    /// Tokens that are signed with the private key of this public one, in PEM
    /// (`-----BEGIN PUBLIC KEY-----`): by `RS256` with one of RSA, by `ES256` with one of P-256, by
    /// `EdDSA` with one of Ed25519.
    ///
    /// # Errors
    /// If it is none of these.
    pub fn public_key(pem: impl AsRef<[u8]>) -> Result<Self, JwtError> {
        Ok(Self::new(Keys::One(Key::public(pem.as_ref())?)))
    }

    /// Tokens that are signed with any key of a set (JWKS, RFC 7517) at this URL: `https`, or
    /// `http` on this machine. Those of `RS256`, `ES256` and `EdDSA` are used, the
    /// first 64; secrets in it are not.
    ///
    /// It is read when the first token comes, once more when a token names a key that is not in it, at most
    /// once a minute, and when it is older than ten minutes. All who wait share one read of at most 10
    /// seconds and 256 KiB, which follows no redirects. While it cannot be read, the keys that were read
    /// last stay in use, and the log says so.
    ///
    /// A set is often shared by many applications, so [`audience`](Self::audience) is needed.
    ///
    /// # Errors
    /// If it is no such URL.
    pub fn jwks_url(url: impl AsRef<str>) -> Result<Self, JwtError> {
        Ok(Self::remote(Source::Url(Url::parse(url.as_ref())?)))
    }

    /// The same from a file, which is read whenever a URL would be.
    #[must_use]
    pub fn jwks_file(path: impl Into<PathBuf>) -> Self {
        Self::remote(Source::File(path.into()))
    }

    fn remote(source: Source) -> Self {
        Self::new(Keys::Remote(Arc::new(RemoteKeys::new(source))))
    }

    /// Accepts tokens for this audience. May be called for several.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Accepts tokens whatever their audience is: also those which their issuer made for another
    /// application, if it signs them with the same key.
    #[must_use]
    pub fn any_audience(mut self) -> Self {
        self.any_audience = true;
        self
    }

    /// Accepts only tokens of this issuer.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// The claim that is the user's id; `sub`.
    #[must_use]
    pub fn claim(mut self, claim: impl Into<String>) -> Self {
        self.claim = claim.into();
        self
    }

    /// By how much the clock of whoever made a token may be ahead, for `nbf`; 30 seconds.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Finds users by their record of a login service, Meteor's `services.<name>.id`, and not by their id.
    /// Two issuers, who may have given the same id to different users, need two names.
    #[must_use]
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// Creates users who log in for the first time, with a record of the login service `jwt` unless
    /// [another](Self::service) is named. [`on_create_user`](super::Accounts::on_create_user) is given the
    /// claims as `options.claims`; without it, a user has no more than a claim `name` as `profile.name`.
    /// [`validate_new_user`](super::Accounts::validate_new_user) and restrictions of addresses hold.
    #[must_use]
    pub fn create_users(mut self) -> Self {
        self.creates = true;
        self.service.get_or_insert_with(|| "jwt".to_owned());
        self
    }

    /// Panics if tokens of others would be accepted beside these ones.
    pub(super) fn check(&self, others: &[Self]) {
        let is_shared = matches!(self.keys, Keys::Remote(_));
        assert!(
            !is_shared || self.any_audience || !self.audiences.is_empty(),
            "keys of a set need Jwt::audience, as tokens for other applications may be signed with them"
        );
        let is_same = |other: &&Self| other.service.is_some() && other.service == self.service;
        // Without a name of the issuer nobody can tell that it is the same one.
        let is_mixed_up = |other: &Self| other.issuer.is_none() || other.issuer != self.issuer;
        assert!(
            !others.iter().filter(is_same).any(is_mixed_up),
            "tokens of two issuers need two names by Jwt::service, as both may have a user of the same id; \
             two keys of one issuer need Jwt::issuer"
        );
    }

    pub(super) fn service_name(&self) -> Option<&str> {
        self.service.as_deref()
    }

    pub(super) fn creates_users(&self) -> bool {
        self.creates
    }

    /// Checks a token as a client sent it.
    pub(super) async fn verify(&self, text: &str) -> Result<Verified, Refusal> {
        let token = Unchecked::read(text)?;
        self.check_signature(&token).await?;
        let claims = token.into_claims()?;
        if let Some(issuer) = &self.issuer {
            claims.check_issuer(issuer)?;
        }
        if !self.any_audience {
            claims.check_audience(&self.audiences)?;
        }
        let now = SystemTime::now().into();
        let expires = claims.expires(now)?;
        claims.check_begun(now, self.leeway)?;
        Ok(Verified { user_id: claims.user_id(&self.claim)?, expires, claims: claims.0 })
    }

    async fn check_signature(&self, token: &Unchecked<'_>) -> Result<(), Refusal> {
        let (algorithm, id) = (token.header.alg.as_str(), token.header.kid.as_deref());
        let read;
        let keys = match &self.keys {
            Keys::One(key) => std::slice::from_ref(key),
            Keys::Remote(_) if !matches!(algorithm, "RS256" | "ES256" | "EdDSA") => {
                return Err(Refusal::Algorithm);
            }
            Keys::Remote(remote) => {
                read = remote.for_token(algorithm, id).await?;
                &*read
            }
        };
        if !keys.iter().any(|key| key.is_of(algorithm)) {
            return Err(Refusal::Algorithm);
        }
        let mut meant = keys.iter().filter(|key| key.is_meant(algorithm, id)).peekable();
        if meant.peek().is_none() {
            return Err(Refusal::UnknownKey);
        }
        let is_right = meant.any(|key| key.has_signed(token.message, &token.signature));
        if is_right { Ok(()) } else { Err(Refusal::Signature) }
    }
}

impl fmt::Debug for Jwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: &dyn fmt::Debug = match &self.keys {
            Keys::One(key) => key,
            Keys::Remote(remote) => remote,
        };
        f.debug_struct("Jwt")
            .field("keys", keys)
            .field("audiences", &self.audiences)
            .field("issuer", &self.issuer)
            .field("claim", &self.claim)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
