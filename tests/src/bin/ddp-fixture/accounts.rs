//! What the browser halves of Meteor's own tests of accounts expect of their server: accounts with
//! the options and hooks of their setup, users in memory, and methods that look into them.
//!
//! - `getConnectionUserId`, `logCurrentUserId`: who is logged in.
//! - `removeAccountsTestUser(username)`, `removeUser(username)`: such a user is gone.
//! - `testInvalidateLogins(action)`: logins of this connection fail, with `"fail"` as forbidden and with
//!   `"hide"` by another error, until it is called with something else.
//! - `testCaptureLogins`, `testFetchCapturedLogins`: what the login hooks were told about this
//!   connection in between; `testCaptureLogouts` and `testFetchCapturedLogouts` of all connections.
//! - `testMeteorUser`: the user, whatever is published of it.
//! - `clearUsernameAndProfile`: takes both from the user. `expireTokens`: ends its login tokens.
//! - `getResetToken`: something while a token that resets the password works.
//! - `addSkipCaseInsensitiveChecksForTest(text)`, `removeSkipCaseInsensitiveChecksForTest(text)`: whether
//!   a name or an address may differ from another one in case only.
//! - `countUsersOnServer(query)`: how many have exactly this `username` or `emails.address`.
//! - `getInterceptedEmails(address)`: the mails to an address that has `intercept` in it.
//! - `addEmailForTestAndVerify(address)`: the user has it from now on, and gets the mail.
//! - `forceEnableUser2fa({username}, secret)`: the user has this second factor; returns a code of it.
//!   `getTokenFromSecret({selector, secret})`: a code of the secret, or of that of the user.
//! - `createUserOnServer(address)`: a new user, who gets a mail to set the first password.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ddp_core::ejson::Ejson;
use ddp_server::accounts::{
    Accounts, AccountsHandle, AccountsStore, Attempt, Letter, Mail, MailContext, MailTemplate,
    MailTemplates, Mailer, MemoryAccounts, Purpose, Selector, Service, User, totp_code,
};
use ddp_server::extract::{Connection, Invocation, Params, UserId};
use ddp_server::{Error, ServerBuilder};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::app::App;

#[derive(Default)]
struct Seen {
    /// What becomes of the logins of a connection.
    invalid: HashMap<String, String>,
    logins: HashMap<String, Vec<Value>>,
    logouts: Vec<Value>,
    mails: HashMap<String, Vec<Value>>,
}

/// What the methods look into.
#[derive(Clone)]
struct Scene {
    users: MemoryAccounts,
    seen: Arc<Mutex<Seen>>,
}

/// Keeps the mails that a test wants to see.
struct Interceptor(Arc<Mutex<Seen>>);

impl Mailer for Interceptor {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), Error>> {
        if mail.to.to_uppercase().contains("INTERCEPT") {
            let headers: HashMap<_, _> = mail.headers.into_iter().collect();
            let options = json!({
                "to": mail.to, "from": mail.from, "subject": mail.subject, "text": mail.text,
                "html": mail.html, "headers": headers,
            });
            self.0.lock().mails.entry(mail.to).or_default().push(options);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Meteor's mails with the link alone as HTML, from somebody else.
fn templates() -> MailTemplates {
    let mut templates = MailTemplates::default();
    let with_html = |template: &mut MailTemplate| {
        let before = Arc::clone(template);
        *template = Arc::new(move |mail: &MailContext<'_>| Letter {
            html: Some(mail.url.to_owned()),
            from: Some("test@meteor.com".to_owned()),
            ..before(mail)
        });
    };
    with_html(&mut templates.reset_password);
    with_html(&mut templates.enroll_account);
    with_html(&mut templates.verify_email);
    templates.headers = vec![("My-Custom-Header".to_owned(), "Cool".to_owned())];
    templates
}

fn flag(value: Option<&Ejson>) -> bool {
    value.is_some_and(|value| !matches!(value, Ejson::Null | Ejson::Bool(false)))
}

fn profile_has(user: &User, key: &str) -> bool {
    flag(user.profile.as_ref().and_then(|profile| profile.get(key)))
}

fn id_of(connection: Option<&Connection>) -> Option<String> {
    connection.map(|connection| connection.id().to_owned())
}

/// An attempt as it is sent.
fn attempt_of(attempt: &Attempt) -> Result<Value, Error> {
    let error = attempt.error.as_ref().map(|error| {
        let code = error.code().map(ToString::to_string);
        json!({"error": code, "reason": error.reason(), "message": error.to_string()})
    });
    Ok(json!({
        "type": &*attempt.r#type,
        "allowed": attempt.allowed,
        "error": error,
        "methodName": attempt.method_name,
        "methodArguments": attempt.method_arguments(),
    }))
}

fn capture(seen: &Mutex<Seen>, attempt: &Attempt, successful: bool) {
    let Some(id) = id_of(attempt.connection.as_ref()) else { return };
    if let Some(logins) = seen.lock().logins.get_mut(&id) {
        let attempt = attempt_of(attempt).unwrap_or_default();
        logins.push(json!({"successful": successful, "attempt": attempt}));
    }
}

/// A user with all that is not secret.
fn document(user: &User) -> Result<Value, Error> {
    let mut document = json!({"_id": user.id, "emails": user.emails});
    if let Some(name) = &user.username {
        document["username"] = json!(name);
    }
    if let Some(profile) = &user.profile {
        document["profile"] = serde_json::from_str(&Ejson::Object(profile.clone()).to_text())
            .map_err(|error| Error::internal(error.to_string()))?;
    }
    Ok(document)
}

fn accounts(scene: &Scene, root_url: String) -> AccountsHandle {
    let seen = || Arc::clone(&scene.seen);
    let (invalid, logins, failures, logouts) = (seen(), seen(), seen(), seen());
    Accounts::new(scene.users.clone())
        .ambiguous_error_messages(false)
        .remove_default_rate_limit()
        .send_verification_email()
        .allow_profile_updates()
        .two_factor_authentication()
        .root_url(root_url)
        .mailer(Interceptor(seen()))
        .email_templates(templates())
        .validate_new_user(async |user| {
            if profile_has(&user, "invalidAndThrowException") {
                let why = "An exception thrown within Accounts.validateNewUser";
                return Err(Error::client(403, why));
            }
            Ok(!profile_has(&user, "invalid"))
        })
        .on_create_user(async |creation| {
            let mut user = creation.user;
            let profile = creation.options.get("profile").and_then(Ejson::as_object);
            user.profile = profile.cloned();
            if flag(creation.options.get("testOnCreateUserHook")) {
                let profile = user.profile.get_or_insert_default();
                profile.insert("touchedByOnCreateUser".to_owned(), Ejson::Bool(true));
            }
            Ok(user)
        })
        .validate_login_attempt(move |attempt| {
            let id = id_of(attempt.connection.as_ref());
            let action = id.and_then(|id| invalid.lock().invalid.get(&id).cloned());
            std::future::ready(match action.as_deref() {
                None => Ok(true),
                Some("fail") => Ok(false),
                Some("hide") => Err(Error::client(403, "hide actual error")),
                Some(other) => Err(Error::internal(format!("unknown action: {other}"))),
            })
        })
        .on_login(move |attempt| {
            capture(&logins, &attempt, true);
            std::future::ready(())
        })
        .on_login_failure(move |attempt| {
            capture(&failures, &attempt, false);
            std::future::ready(())
        })
        .on_logout(move |_| {
            logouts.lock().logouts.push(json!({"successful": true}));
            std::future::ready(())
        })
        .build()
}

/// The accounts, and the methods of their tests.
pub(crate) fn install(builder: ServerBuilder<App>, root_url: String) -> ServerBuilder<App> {
    let scene = Scene { users: MemoryAccounts::new(), seen: Arc::default() };
    let accounts = accounts(&scene, root_url);
    let builder = builder.plugin(accounts.clone());
    let builder = of_connections(builder, &scene);
    let builder = of_users(builder, &scene, &accounts);
    let builder = of_second_factors(builder, &scene);
    of_mails(builder, &scene, &accounts)
}

/// What a connection's logins do.
fn of_connections(builder: ServerBuilder<App>, scene: &Scene) -> ServerBuilder<App> {
    let seen = || Arc::clone(&scene.seen);
    let (invalid, capturing, fetched) = (seen(), seen(), seen());
    let (forgotten, logouts) = (seen(), seen());
    builder
        .method("getConnectionUserId", async |user: Option<UserId>| Ok::<_, Error>(name_of(user)))
        .method("logCurrentUserId", async |user: Option<UserId>| Ok::<_, Error>(name_of(user)))
        .method(
            "testInvalidateLogins",
            move |invocation: Invocation, Params((action,)): Params<(Value,)>| {
                if let Some(id) = id_of(invocation.connection()) {
                    let invalid = &mut invalid.lock().invalid;
                    match action {
                        Value::String(action) => invalid.insert(id, action),
                        _ => invalid.remove(&id),
                    };
                }
                std::future::ready(Ok::<_, Error>(()))
            },
        )
        .method("testCaptureLogins", move |invocation: Invocation| {
            if let Some(id) = id_of(invocation.connection()) {
                capturing.lock().logins.insert(id, Vec::new());
            }
            std::future::ready(Ok::<_, Error>(()))
        })
        .method("testFetchCapturedLogins", move |invocation: Invocation| {
            let id = id_of(invocation.connection());
            let logins = id.and_then(|id| fetched.lock().logins.remove(&id));
            std::future::ready(Ok::<_, Error>(logins.unwrap_or_default()))
        })
        .method("testCaptureLogouts", move || {
            forgotten.lock().logouts.clear();
            std::future::ready(Ok::<_, Error>(()))
        })
        .method("testFetchCapturedLogouts", move || {
            std::future::ready(Ok::<_, Error>(logouts.lock().logouts.clone()))
        })
}

fn name_of(user: Option<UserId>) -> Option<String> {
    user.map(String::from)
}

/// What becomes of users.
fn of_users(
    mut builder: ServerBuilder<App>,
    scene: &Scene,
    accounts: &AccountsHandle,
) -> ServerBuilder<App> {
    for name in ["removeAccountsTestUser", "removeUser"] {
        let accounts = accounts.clone();
        builder = builder.method(name, move |Params((name,)): Params<(String,)>| {
            let accounts = accounts.clone();
            async move {
                let found = accounts.find_user_by_username(&name).await?;
                if let Some(user) = found.filter(|user| user.username.as_ref() == Some(&name)) {
                    accounts.remove_user(&user.id).await?;
                }
                Ok::<_, Error>(())
            }
        });
    }
    for (name, is_skipped) in [
        ("addSkipCaseInsensitiveChecksForTest", true),
        ("removeSkipCaseInsensitiveChecksForTest", false),
    ] {
        let users = scene.users.clone();
        builder = builder.method(name, move |Params((text,)): Params<(String,)>| {
            users.skip_case_insensitive_checks(&text, is_skipped);
            std::future::ready(Ok::<_, Error>(()))
        });
    }
    let (cleared, reset) = (scene.users.clone(), scene.users.clone());
    let (shown, expired, counted) = (accounts.clone(), accounts.clone(), accounts.clone());
    builder
        .method("clearUsernameAndProfile", move |user: UserId| {
            std::future::ready(cleared.clear_username_and_profile(&user).map(drop))
        })
        .method("getResetToken", move |user: UserId| {
            let is_there = reset.has_one_time_token(&user, Purpose::Reset);
            std::future::ready(Ok::<_, Error>(is_there.then(|| json!({"reason": "reset"}))))
        })
        .method("testMeteorUser", move |user: Option<UserId>| {
            let accounts = shown.clone();
            async move {
                let Some(user) = user else { return Ok::<_, Error>(None) };
                accounts.find_user(&user).await?.as_ref().map(document).transpose()
            }
        })
        .method("expireTokens", move |user: Option<UserId>| {
            let accounts = expired.clone();
            async move {
                if let Some(user) = user {
                    accounts.logout_user(&user).await?;
                }
                Ok::<_, Error>(())
            }
        })
        .method("countUsersOnServer", move |Params((query,)): Params<(Value,)>| {
            let accounts = counted.clone();
            async move { count(&accounts, &query).await }
        })
}

async fn count(accounts: &AccountsHandle, query: &Value) -> Result<usize, Error> {
    let text = |key| query.get(key).and_then(Value::as_str);
    if let Some(name) = text("username") {
        let user = accounts.find_user_by_username(name).await?;
        return Ok(user.filter(|user| user.username.as_deref() == Some(name)).iter().count());
    }
    let address = text("emails.address").ok_or_else(|| Error::client(400, "Unknown query"))?;
    let user = accounts.find_user_by_email(address).await?;
    let addresses: HashSet<String> =
        user.into_iter().flat_map(|user| user.emails).map(|email| email.address).collect();
    Ok(usize::from(addresses.contains(address)))
}

const SECOND_FACTOR: &str = "twoFactorAuthentication";

/// The id of the user with this `username`, and its second factor.
async fn second_factor(
    users: &MemoryAccounts,
    selector: &Value,
) -> Result<(String, Option<(Service, u64)>), Error> {
    let unknown = || Error::client(404, "There is no such user");
    let name = selector.get("username").and_then(Value::as_str).ok_or_else(unknown)?;
    let user = users.find_user(&Selector::Username(name.to_owned())).await?.ok_or_else(unknown)?;
    let factor = users.find_service(&user.id, SECOND_FACTOR).await?;
    Ok((user.id, factor))
}

fn of_second_factors(builder: ServerBuilder<App>, scene: &Scene) -> ServerBuilder<App> {
    let (forced, asked) = (scene.users.clone(), scene.users.clone());
    let no_secret = || Error::client(500, "twoFactorAuthentication not set.");
    builder
        .method("forceEnableUser2fa", move |Params((selector, secret)): Params<(Value, String)>| {
            let users = forced.clone();
            async move {
                let (user, before) = second_factor(&users, &selector).await?;
                let data = [("secret", &*secret), ("type", "otp")];
                let data = data.map(|(key, value)| (key.to_owned(), value.into()));
                let new = Service { service_id: None, data: data.into_iter().collect() };
                let version = before.map_or(0, |(_, version)| version);
                let put = users.put_service(&user, SECOND_FACTOR, version, Some(&new));
                put.await.map_err(|error| Error::internal(format!("{error:?}")))?;
                totp_code(&secret).ok_or_else(no_secret)
            }
        })
        .method("getTokenFromSecret", move |Params((options,)): Params<(Value,)>| {
            let users = asked.clone();
            async move {
                let given = options.get("secret").and_then(Value::as_str).map(str::to_owned);
                let secret = match given {
                    Some(secret) => Some(secret),
                    None => {
                        let (_, factor) = second_factor(&users, &options["selector"]).await?;
                        let (factor, _) = factor.ok_or_else(no_secret)?;
                        factor.data.get("secret").and_then(Ejson::as_str).map(str::to_owned)
                    }
                };
                secret.as_deref().and_then(totp_code).ok_or_else(no_secret)
            }
        })
}

/// Mails, and what sends them.
fn of_mails(
    builder: ServerBuilder<App>,
    scene: &Scene,
    accounts: &AccountsHandle,
) -> ServerBuilder<App> {
    let seen = Arc::clone(&scene.seen);
    let (users, verified, created) = (scene.users.clone(), accounts.clone(), accounts.clone());
    builder
        .method("getInterceptedEmails", move |Params((address,)): Params<(String,)>| {
            std::future::ready(Ok::<_, Error>(seen.lock().mails.get(&address).cloned()))
        })
        .method(
            "addEmailForTestAndVerify",
            move |user: UserId, Params((address,)): Params<(String,)>| {
                let (users, accounts) = (users.clone(), verified.clone());
                async move {
                    users.push_email(&user, &address)?;
                    accounts.send_verification_email(&user, Some(&address)).await
                }
            },
        )
        .method("createUserOnServer", move |Params((address,)): Params<(String,)>| {
            let accounts = created.clone();
            async move {
                let id = accounts.create_user(&json!({"email": address})).await?;
                accounts.send_enrollment_email(&id, None).await?;
                let user = accounts.find_user(&id).await?;
                user.as_ref().map(document).transpose()
            }
        })
}
