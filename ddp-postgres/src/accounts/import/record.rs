//! A document of Meteor's `users`, as the tables have it.

use ddp_server::accounts::{Email, NewUser, Sealer, User};
use ddp_server::ejson::{self, Date, Ejson};

use super::imported::{Imported, Refused};
use super::losses::{Losses, Why};
use super::member::{ID_BYTES_MAX, date, items, object, take, text};
use super::{extended, services};

/// The most characters of a username.
const USERNAME_CHARS_MAX: usize = 256;

/// What helps if no line can be read.
const EXPORT: &str = "export by --out, without --jsonArray and --pretty";

/// Reads a line, which is not empty.
pub(super) fn read(line: u64, bytes: &[u8], sealer: &Sealer) -> Result<Imported, Refused> {
    // Some editors and shells begin a file with it.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").filter(|_| line == 1).unwrap_or(bytes);
    let text = std::str::from_utf8(bytes)
        .map_err(|_| Refused::new(None, format!("the line is not in UTF-8: {EXPORT}")))?;
    let plain = ejson::parse_json(text)
        .map_err(|error| Refused::new(None, format!("the line is not JSON ({error}): {EXPORT}")))?;
    let Ejson::Object(plain) = plain else {
        return Err(Refused::new(None, format!("the line is not an object: {EXPORT}")));
    };
    let mut losses = Losses::default();
    let mut document = extended::document(plain, &mut losses);
    let id = id(&take(&mut document, "_id")).ok_or_else(|| {
        Refused::new(None, "its _id is not an ObjectID or a text of 1 to 256 bytes")
    })?;
    let mut user = User::new(id.clone());
    user.created_at = created_at(&take(&mut document, "createdAt"), &mut losses);
    user.username = username(take(&mut document, "username")).map_err(|()| {
        Refused::new(Some(&id), "its username is not a text of up to 256 characters")
    })?;
    user.emails = emails(take(&mut document, "emails"), &mut losses);
    user.profile = object(take(&mut document, "profile"), "profile", &mut losses);
    let services = object(take(&mut document, "services"), "services", &mut losses);
    losses.rest("", &document);
    let new = NewUser { user, password: None, services: Vec::new() };
    let (login_tokens, one_time_tokens) = (Vec::new(), Vec::new());
    let none = Losses::default();
    let mut imported = Imported { line, new, login_tokens, one_time_tokens, losses: none };
    services::read(services.unwrap_or_default(), sealer, &mut imported, &mut losses)
        .map_err(|why| Refused::new(Some(&id), why))?;
    imported.losses = losses;
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
