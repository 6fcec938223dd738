//! A document of Meteor's `users`, as the tables have it.

use ddp_server::accounts::{Email, NewUser, Sealer, User};
use ddp_server::ejson::{self, Date, Ejson};

use super::imported::{Imported, Refused};
use super::losses::{Losses, Why};
use super::member::{ID_BYTES_MAX, date, items, object, take, text};
use super::{extended, services};

/// The most characters of a username.
const USERNAME_CHARS_MAX: usize = 256;

/// Reads a line, which is not empty.
pub(super) fn read(
    line: u64,
    bytes: &[u8],
    sealer: &Sealer,
    losses: &mut Losses,
) -> Result<Imported, Refused> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| Refused::new(None, "the line is not in UTF-8"))?;
    let plain = ejson::parse_json(text)
        .map_err(|error| Refused::new(None, format!("the line is not JSON: {error}")))?;
    let Ejson::Object(plain) = plain else {
        let why = "the line is not an object: export without --jsonArray and --pretty";
        return Err(Refused::new(None, why));
    };
    let mut document = extended::document(plain, losses);
    let id = id(&take(&mut document, "_id")).ok_or_else(|| {
        Refused::new(None, "its _id is not an ObjectID or a text of 1 to 256 bytes")
    })?;
    let mut user = User::new(id.clone());
    user.created_at = created_at(&take(&mut document, "createdAt"), losses);
    user.username = username(take(&mut document, "username")).map_err(|()| {
        Refused::new(Some(&id), "its username is not a text of up to 256 characters")
    })?;
    user.emails = emails(take(&mut document, "emails"), losses);
    user.profile = object(take(&mut document, "profile"), "profile", losses);
    let services = object(take(&mut document, "services"), "services", losses);
    losses.rest("", &document);
    let new = NewUser { user, password: None, services: Vec::new() };
    let mut imported =
        Imported { line, new, login_tokens: Vec::new(), one_time_tokens: Vec::new() };
    services::read(services.unwrap_or_default(), sealer, &mut imported, losses)
        .map_err(|why| Refused::new(Some(&id), why))?;
    Ok(imported)
}

fn id(value: &Ejson) -> Option<String> {
    match value {
        Ejson::Custom { type_name, value } if type_name == "oid" => {
            value.as_str().map(str::to_owned)
        }
        other => text(other, ID_BYTES_MAX).map(str::to_owned),
    }
}

fn created_at(value: &Ejson, losses: &mut Losses) -> Option<Date> {
    let date = date(value);
    if date.is_none() && !value.is_null() {
        losses.field("createdAt", Why::Form);
    }
    date
}

fn username(value: Ejson) -> Result<Option<String>, ()> {
    match value {
        Ejson::Null => Ok(None),
        Ejson::String(name) if name.is_empty() => Ok(None),
        Ejson::String(name) if name.chars().count() <= USERNAME_CHARS_MAX => Ok(Some(name)),
        _ => Err(()),
    }
}

fn emails(value: Ejson, losses: &mut Losses) -> Vec<Email> {
    let mut emails = Vec::new();
    for item in items(value, "emails", losses) {
        let Ejson::Object(mut members) = item else {
            losses.field("emails", Why::Form);
            continue;
        };
        let (address, verified) = (take(&mut members, "address"), take(&mut members, "verified"));
        losses.rest("emails.", &members);
        match text(&address, ID_BYTES_MAX) {
            Some(address) => {
                let verified = verified.as_bool().unwrap_or_default();
                emails.push(Email { address: address.to_owned(), verified });
            }
            None => losses.field("emails.address", Why::Form),
        }
    }
    emails
}
