//! What a provider tells of a user, in the form of Meteor's `serviceData`.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::ejson::{Ejson, Object};

/// The longest text of a provider that is kept; a longer one is left out.
const TEXT_BYTES_MAX: usize = 1024;
/// The longest id. It must not be cut.
const ID_BYTES_MAX: usize = 256;
/// The longest token.
const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// How many addresses and scopes are kept.
const LIST_MAX: usize = 32;

/// What lets whoever has it act for the user at the provider: it is never stored.
pub(super) const TOKENS: [&str; 3] = ["accessToken", "refreshToken", "idToken"];

/// Which fields a service has: those of the Meteor package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Of `google-oauth`.
    Google,
    /// Of `github-oauth`.
    GitHub,
    /// As the provider calls them.
    Plain,
}

/// A user of a provider.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) service: Arc<str>,
    /// Unique at the provider.
    pub(super) id: String,
    /// Meteor's `serviceData`, with tokens.
    pub(super) data: Object,
    /// For a new user: `{profile: {name}}`.
    pub(super) options: Object,
    /// An address that the provider says to be the user's.
    pub(super) verified_email: Option<String>,
}

/// Tokens of a provider.
#[derive(Default)]
pub(super) struct ProviderTokens {
    pub(super) access: String,
    pub(super) refresh: Option<String>,
    pub(super) id: Option<String>,
    pub(super) scopes: Vec<String>,
    /// In milliseconds since 1970.
    pub(super) expires_at: Option<f64>,
}

impl Identity {
    /// From the claims of an ID token, or what a provider answers about a user.
    ///
    /// # Errors
    /// Without an id that can be kept, or with a token that cannot.
    pub(super) fn new(
        service: &Arc<str>,
        form: Form,
        claims: &Map<String, Value>,
        tokens: &ProviderTokens,
    ) -> Result<Self, &'static str> {
        let id = claims.get("sub").or_else(|| claims.get("id")).and_then(id_text);
        let id = id.ok_or("there is no `sub` or `id`, or it is too long")?;
        let mut data = Object::new();
        data.insert("id".to_owned(), id.as_str().into());
        for (name, theirs) in names(form) {
            if let Some(value) = claims.get(*theirs).and_then(scalar) {
                data.insert((*name).to_owned(), value);
            }
        }
        if form == Form::GitHub
            && let Some(emails) = claims.get("emails").and_then(Value::as_array)
        {
            data.insert("emails".to_owned(), Ejson::Array(github_emails(emails)));
        }
        let verified_email = verified_email(form, claims);
        if let (Form::GitHub, Some(email)) = (form, &verified_email) {
            data.entry("email".to_owned()).or_insert_with(|| email.as_str().into());
        }
        add_tokens(&mut data, tokens)?;
        let name = ["name", "preferred_username", "username", "login"];
        let name = name.iter().find_map(|name| claims.get(*name)?.as_str().filter(|t| fits(t)));
        let profile = Ejson::object(name.map(|name| ("name", name)));
        let options = Object::from_iter([("profile".to_owned(), profile)]);
        Ok(Self { service: Arc::clone(service), id, data, options, verified_email })
    }

    /// How many bytes it takes, roughly.
    pub(super) fn bytes(&self) -> usize {
        Ejson::Object(self.data.clone()).to_text().len()
            + Ejson::Object(self.options.clone()).to_text().len()
    }

    /// Without anything but an id.
    #[cfg(test)]
    pub(super) fn bare(service: &str, id: &str) -> Self {
        let claims = Map::from_iter([("sub".to_owned(), id.into())]);
        Self::new(&service.into(), Form::Plain, &claims, &ProviderTokens::default())
            .expect("an id is enough")
    }
}

/// Names of fields as they are stored, and as the provider has them.
fn names(form: Form) -> &'static [(&'static str, &'static str)] {
    match form {
        Form::Google => &[
            ("email", "email"),
            ("verified_email", "email_verified"),
            ("name", "name"),
            ("given_name", "given_name"),
            ("family_name", "family_name"),
            ("picture", "picture"),
            ("locale", "locale"),
        ],
        Form::GitHub => &[
            ("email", "email"),
            ("username", "login"),
            ("name", "name"),
            ("avatar", "avatar_url"),
            ("company", "company"),
            ("blog", "blog"),
            ("location", "location"),
            ("bio", "bio"),
        ],
        Form::Plain => &[
            ("email", "email"),
            ("email_verified", "email_verified"),
            ("verified_email", "verified_email"),
            ("name", "name"),
            ("given_name", "given_name"),
            ("family_name", "family_name"),
            ("preferred_username", "preferred_username"),
            ("username", "username"),
            ("login", "login"),
            ("picture", "picture"),
            ("avatar_url", "avatar_url"),
            ("locale", "locale"),
        ],
    }
}

fn fits(text: &str) -> bool {
    !text.is_empty() && text.len() <= TEXT_BYTES_MAX && !text.contains('\0')
}

/// A text, a number or a truth: what a record can hold of a stranger.
fn scalar(value: &Value) -> Option<Ejson> {
    match value {
        Value::String(text) if fits(text) => Some(text.as_str().into()),
        Value::Bool(is) => Some(Ejson::Bool(*is)),
        Value::Number(number) => number.as_f64().map(Ejson::from),
        _ => None,
    }
}

fn id_text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (fits(&text) && text.len() <= ID_BYTES_MAX).then_some(text)
}

fn github_emails(emails: &[Value]) -> Vec<Ejson> {
    let email = |email: &Value| {
        let fields = ["email", "primary", "verified"];
        let fields = fields.map(|name| Some((name, email.get(name).and_then(scalar)?)));
        Ejson::object(fields.into_iter().flatten())
    };
    emails.iter().take(LIST_MAX).map(email).collect()
}

fn verified_email(form: Form, claims: &Map<String, Value>) -> Option<String> {
    let is = |value: Option<&Value>| value == Some(&Value::Bool(true));
    let email = if form == Form::GitHub {
        let emails = claims.get("emails")?.as_array()?;
        let primary = |email: &&Value| is(email.get("primary")) && is(email.get("verified"));
        emails.iter().find(primary)?.get("email")
    } else {
        let says = ["email_verified", "verified_email"].map(|name| claims.get(name));
        let is_verified = says.iter().any(|said| is(*said)) && !says.contains(&Some(&false.into()));
        claims.get("email").filter(|_| is_verified)
    };
    email?.as_str().filter(|email| fits(email)).map(str::to_owned)
}

fn add_tokens(data: &mut Object, tokens: &ProviderTokens) -> Result<(), &'static str> {
    let access = Some(&tokens.access).filter(|access| !access.is_empty());
    for (name, token) in TOKENS.iter().zip([access, tokens.refresh.as_ref(), tokens.id.as_ref()]) {
        let Some(token) = token else { continue };
        if token.len() > TOKEN_BYTES_MAX {
            return Err("a token has more than 16 KiB");
        }
        data.insert((*name).to_owned(), token.as_str().into());
    }
    let scopes = tokens.scopes.iter().filter(|scope| fits(scope)).take(LIST_MAX);
    let scopes: Vec<Ejson> = scopes.map(|scope| scope.as_str().into()).collect();
    if !scopes.is_empty() {
        data.insert("scope".to_owned(), Ejson::Array(scopes));
    }
    if let Some(expires_at) = tokens.expires_at {
        data.insert("expiresAt".to_owned(), expires_at.into());
    }
    Ok(())
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("service", &self.service).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(form: Form, claims: &Value) -> Result<Identity, &'static str> {
        let tokens = ProviderTokens { access: "access".to_owned(), ..ProviderTokens::default() };
        Identity::new(&"example".into(), form, claims.as_object().unwrap(), &tokens)
    }

    fn data(identity: &Identity) -> Value {
        serde_json::from_str(&Ejson::Object(identity.data.clone()).to_text()).unwrap()
    }

    #[test]
    fn google_has_the_fields_of_its_package() {
        let claims = json!({
            "sub": "1084", "iss": "https://accounts.google.com", "email": "g@example.com",
            "email_verified": true, "name": "Grace", "picture": "https://example.com/p", "hd": "x"
        });
        let google = of(Form::Google, &claims).unwrap();
        let expected = json!({
            "id": "1084", "email": "g@example.com", "verified_email": true, "name": "Grace",
            "picture": "https://example.com/p", "accessToken": "access"
        });
        assert_eq!(data(&google), expected);
        assert_eq!(google.verified_email.as_deref(), Some("g@example.com"));
    }

    #[test]
    fn github_has_the_fields_of_its_package_and_its_primary_address() {
        let with = |verified: bool| {
            let emails = json!([
                {"email": "old@example.com", "primary": false, "verified": true},
                {"email": "g@example.com", "primary": true, "verified": verified},
            ]);
            json!({"id": 9, "login": "grace", "name": null, "avatar_url": "a", "emails": emails})
        };
        let github = of(Form::GitHub, &with(true)).unwrap();
        let expected = json!({
            "id": "9", "username": "grace", "avatar": "a", "email": "g@example.com",
            "emails": with(true)["emails"], "accessToken": "access"
        });
        assert_eq!(data(&github), expected);
        assert_eq!(github.options.get("profile").unwrap().to_text(), r#"{"name":"grace"}"#);
        assert_eq!(of(Form::GitHub, &with(false)).unwrap().verified_email, None);
        // What it shows of a user itself is not said to be verified.
        let shown = json!({"id": 9, "email": "g@example.com", "email_verified": true});
        assert_eq!(of(Form::GitHub, &shown).unwrap().verified_email, None);
    }

    #[test]
    fn what_a_provider_says_is_bounded() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let claims = json!({"sub": "1", "name": long, "email": {"$ne": 1}, "locale": "\0"});
        let expected = json!({"id": "1", "accessToken": "access"});
        assert_eq!(data(&of(Form::Plain, &claims).unwrap()), expected);
        for id in [json!(null), json!(""), json!("x".repeat(ID_BYTES_MAX + 1)), json!({"a": 1})] {
            assert!(of(Form::Plain, &json!({"sub": id})).is_err(), "{id}");
        }
        let tokens =
            ProviderTokens { access: "x".repeat(TOKEN_BYTES_MAX + 1), ..Default::default() };
        let claims = Map::from_iter([("sub".to_owned(), json!("1"))]);
        assert!(Identity::new(&"example".into(), Form::Plain, &claims, &tokens).is_err());
    }
}
