//! What login services keep about a user: the members of `services`.

use ddp_server::accounts::{Sealer, Service, is_totp_secret};
use ddp_server::ejson::{Ejson, Object};

use super::imported::Imported;
use super::losses::{Losses, Why};
use super::member::{ID_BYTES_MAX, take, text};
use super::secrets::Secrets;
use super::tokens;

/// As [`ddp_server::accounts`] keeps them.
const SECOND_FACTOR: &str = "twoFactorAuthentication";
const PASSWORDLESS: &str = "passwordless";

const FOREIGN_FACTOR: &str =
    "it has a second factor of another package, which is not asked for here";
const NO_SECRET: &str = "its second factor is active, and has no secret that can be read";

/// Reads all of them. An error says why the user must not be imported.
pub(super) fn read(
    services: Object,
    sealer: &Sealer,
    into: &mut Imported,
    losses: &mut Losses,
) -> Result<(), &'static str> {
    for (name, value) in services {
        let members = match value {
            // What is sealed says for which service, up to a slash.
            Ejson::Object(members) if name.len() <= ID_BYTES_MAX && !name.contains('/') => members,
            Ejson::Null => continue,
            _ => {
                losses.field(&format!("services.{name}"), Why::NoColumn);
                continue;
            }
        };
        match name.as_str() {
            "password" => tokens::password(members, into, losses),
            "resume" => tokens::resume(members, into, losses),
            "email" => tokens::email(members, into, losses),
            SECOND_FACTOR => second_factor(members, sealer, into, losses)?,
            PASSWORDLESS => passwordless(members, into, losses),
            _ => other(name, members, sealer, into, losses),
        }
    }
    Ok(())
}

/// `{secret, type}`. A user who had to show codes must not get in without them.
fn second_factor(
    mut members: Object,
    sealer: &Sealer,
    into: &mut Imported,
    losses: &mut Losses,
) -> Result<(), &'static str> {
    let (secret, kind) = (take(&mut members, "secret"), take(&mut members, "type"));
    losses.rest("services.twoFactorAuthentication.", &members);
    let mut data = Object::new();
    let secret_text = text(&secret, ID_BYTES_MAX).filter(|secret| is_totp_secret(secret));
    match (secret_text, &kind) {
        (Some(secret), Ejson::Null | Ejson::String(_)) => {
            let sealed = sealer.seal(secret, SECOND_FACTOR, &into.new.user.id);
            data.insert("secret".to_owned(), sealed);
            if !sealer.has_key() {
                losses.field("services.twoFactorAuthentication.secret", Why::Unsealed);
            }
        }
        // A second factor that was begun.
        (None, Ejson::Null) => {
            if !secret.is_null() {
                losses.field("services.twoFactorAuthentication.secret", Why::Form);
            }
            return Ok(());
        }
        _ => return Err(NO_SECRET),
    }
    if !kind.is_null() {
        data.insert("type".to_owned(), kind);
    }
    into.new.services.push((SECOND_FACTOR.to_owned(), Service { service_id: None, data }));
    Ok(())
}

/// `{createdAt, token, tokens: [{email, token}], isNewUser}`, with hashes. They are good for an hour.
fn passwordless(mut members: Object, into: &mut Imported, losses: &mut Losses) {
    let is_mailed = |item: &Ejson| {
        ["email", "token"].iter().all(|name| item.get(name).and_then(Ejson::as_str).is_some())
    };
    let is_good = |name: &str, value: &Ejson| match (name, value) {
        ("createdAt", Ejson::Date(_)) | ("token", Ejson::String(_)) => true,
        ("isNewUser", Ejson::Bool(_)) => true,
        ("tokens", Ejson::Array(items)) => items.iter().all(is_mailed),
        _ => false,
    };
    let mut data = Object::new();
    for name in ["createdAt", "token", "tokens", "isNewUser"] {
        let value = take(&mut members, name);
        if is_good(name, &value) {
            data.insert(name.to_owned(), value);
        } else if !value.is_null() {
            losses.field(&format!("services.{PASSWORDLESS}.{name}"), Why::Form);
        }
    }
    losses.rest("services.passwordless.", &members);
    into.new.services.push((PASSWORDLESS.to_owned(), Service { service_id: None, data }));
}

/// `{id, …}` of a provider such as Google, or what else the application keeps there.
fn other(
    name: String,
    mut members: Object,
    sealer: &Sealer,
    into: &mut Imported,
    losses: &mut Losses,
) {
    // As Rocket.Chat has them.
    let is_off = members.get("enabled").and_then(Ejson::as_bool) == Some(false);
    if ["totp", "email2fa"].contains(&name.as_str()) && !is_off {
        losses.note(FOREIGN_FACTOR);
    }
    let path = format!("services.{name}.");
    let service_id = match take(&mut members, "id") {
        Ejson::Null => None,
        Ejson::Number(number) => Some(Ejson::Number(number).to_text()),
        id => {
            let found = text(&id, ID_BYTES_MAX).map(str::to_owned);
            if found.is_none() {
                losses.field(&format!("{path}id"), Why::Form);
            }
            found
        }
    };
    let secrets = Secrets { sealer, service: &name, user_id: &into.new.user.id };
    let data = secrets.protect(members, &path, losses);
    into.new.services.push((name, Service { service_id, data }));
}
