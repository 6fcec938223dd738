//! Passwords and tokens of a user: `services.password`, `services.resume` and `services.email`.

use std::cmp::Reverse;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ddp_server::accounts::{
    LoginToken, OneTimeToken, PasswordHash, Purpose, TokenHash, is_password_hash,
};
use ddp_server::ejson::{Ejson, Object};

use super::imported::Imported;
use super::losses::{Losses, Why};
use super::member::{ID_BYTES_MAX, date, items, take, text};

/// How many login tokens of a user are kept.
const LOGIN_MAX: usize = 1_000;

/// How many tokens that verify addresses are kept: with those for passwords as many as the store keeps.
const VERIFY_MAX: usize = 14;

/// The longest token.
const TOKEN_BYTES_MAX: usize = 1024;

const OLD_PASSWORD: &str =
    "its password is kept by SRP, as before Meteor 0.8.2: the user has to set a new one";
const UNKNOWN_PASSWORD: &str = "its password is not a hash of bcrypt or Argon2, or one of too high costs: the user has to set a new one";

/// `{bcrypt | argon2, reset, enroll}`.
pub(super) fn password(mut members: Object, into: &mut Imported, losses: &mut Losses) {
    let [argon2, bcrypt, srp] = ["argon2", "bcrypt", "srp"].map(|name| take(&mut members, name));
    into.new.password = [&argon2, &bcrypt].into_iter().find_map(hash);
    if into.new.password.is_some() {
        // An older one beside it is of no use.
    } else if !argon2.is_null() || !bcrypt.is_null() {
        losses.note(UNKNOWN_PASSWORD);
    } else if !srp.is_null() {
        losses.note(OLD_PASSWORD);
    }
    for purpose in [Purpose::Reset, Purpose::Enroll] {
        let (name, path) = match purpose {
            Purpose::Enroll => ("enroll", "services.password.enroll."),
            _ => ("reset", "services.password.reset."),
        };
        let value = take(&mut members, name);
        if !value.is_null() {
            into.one_time_tokens.extend(one_time(value, purpose, path, &into.new.user.id, losses));
        }
    }
    losses.rest("services.password.", &members);
}

/// A hash that passwords can be compared with. Those of Meteor begin with a dollar sign.
fn hash(value: &Ejson) -> Option<PasswordHash> {
    let text = value.as_str().filter(|text| text.starts_with('$'))?;
    is_password_hash(text).then(|| text.into())
}

/// `{loginTokens: [{when, hashedToken}]}`; old ones are `{when, token}`.
pub(super) fn resume(mut members: Object, into: &mut Imported, losses: &mut Losses) {
    let path = "services.resume.loginTokens";
    let tokens = items(take(&mut members, "loginTokens"), path, losses);
    for token in tokens {
        match login_token(token, losses) {
            Some(token) => into.login_tokens.push(token),
            None => losses.field(path, Why::Form),
        }
    }
    newest(&mut into.login_tokens, LOGIN_MAX, |token| token.when, path, losses);
    // What Meteor's servers clean up when they start.
    for name in ["haveLoginTokensToDelete", "loginTokensToDelete"] {
        take(&mut members, name);
    }
    losses.rest("services.resume.", &members);
}

fn login_token(value: Ejson, losses: &mut Losses) -> Option<LoginToken> {
    let Ejson::Object(mut members) = value else { return None };
    let [when, hashed, token] =
        ["when", "hashedToken", "token"].map(|name| take(&mut members, name));
    let hash = match (text(&hashed, TOKEN_BYTES_MAX), text(&token, TOKEN_BYTES_MAX)) {
        (Some(hashed), _) if is_token_hash(hashed) => TokenHash::from(hashed),
        (None, Some(token)) => TokenHash::of(token),
        _ => return None,
    };
    let when = date(&when)?;
    losses.rest("services.resume.loginTokens.", &members);
    Some(LoginToken { hash, when, expires: None })
}

/// Whether it is base64 of 32 bytes.
fn is_token_hash(hash: &str) -> bool {
    STANDARD.decode(hash).is_ok_and(|bytes| bytes.len() == 32)
}

/// `{verificationTokens: [{token, address, when}]}`.
pub(super) fn email(mut members: Object, into: &mut Imported, losses: &mut Losses) {
    let path = "services.email.verificationTokens";
    let tokens = items(take(&mut members, "verificationTokens"), path, losses);
    let of =
        |token| one_time(token, Purpose::Verify, &format!("{path}."), &into.new.user.id, losses);
    let mut tokens: Vec<OneTimeToken> = tokens.into_iter().filter_map(of).collect();
    newest(&mut tokens, VERIFY_MAX, |token| token.when, path, losses);
    into.one_time_tokens.extend(tokens);
    losses.rest("services.email.", &members);
}

/// `{token, email, when, reason}`, or `{token, address, when}`. The token is kept as its hash.
fn one_time(
    value: Ejson,
    purpose: Purpose,
    path: &str,
    user_id: &str,
    losses: &mut Losses,
) -> Option<OneTimeToken> {
    let read = |value: Ejson| {
        let Ejson::Object(mut members) = value else { return None };
        let [token, email, address, when, reason] =
            ["token", "email", "address", "when", "reason"].map(|name| take(&mut members, name));
        let address =
            text(&email, ID_BYTES_MAX).or_else(|| text(&address, ID_BYTES_MAX))?.to_owned();
        // Meteor before 2.0 had tokens that enrol in the place of those that reset.
        let is_enrolment = purpose == Purpose::Reset && reason.as_str() == Some("enroll");
        let purpose = if is_enrolment { Purpose::Enroll } else { purpose };
        let (hash, when) = (TokenHash::of(text(&token, TOKEN_BYTES_MAX)?), date(&when)?);
        let token = OneTimeToken { hash, purpose, user_id: user_id.to_owned(), address, when };
        Some((token, members))
    };
    let Some((token, rest)) = read(value) else {
        losses.field(path.trim_end_matches('.'), Why::Form);
        return None;
    };
    losses.rest(path, &rest);
    Some(token)
}

/// Keeps the newest.
fn newest<T, K: Ord>(
    tokens: &mut Vec<T>,
    max: usize,
    when: impl Fn(&T) -> K,
    path: &str,
    losses: &mut Losses,
) {
    if tokens.len() > max {
        tokens.sort_by_key(|token| Reverse(when(token)));
        tokens.truncate(max);
        losses.field(path, Why::TooMany);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_told_from_other_texts() {
        let bcrypt = "$2b$10$CVzwkQLhgaeq0p09U1fO6OLueOzVfbMKQMnItbeUVy9LI9kGSFfsu";
        let argon2 = "$argon2id$v=19$m=64,t=1,p=1$C6uI0H0JGcjqM7MPjv4daw$6T0OcIFOuaotJy2rGRh0CeNtm+CINT8pPsgmeyY/C/s";
        let is_hash = |text: &str| hash(&text.into()).is_some();
        assert!(is_hash(bcrypt) && is_hash(&bcrypt.replace("2b", "2a")) && is_hash(argon2));
        for other in [
            "",
            "$2b$",
            "secret",
            &bcrypt[1..],
            &bcrypt[..59],
            &bcrypt.replace("10", "17"),
            "$argon2id$rubbish",
            &argon2[..argon2.len() - 30],
            &argon2.replace("m=64", "m=1048576"),
            "pbkdf2_sha256$1000$GkhDMTZma9WLyGrMjOSY31$zpFvcUnRaywaFnxilcL7oD/3WzIPN1KZD5NqmJVVmaU=",
        ] {
            assert!(!is_hash(other), "{other}");
        }
        assert!(is_token_hash("XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQtg="));
        assert!(
            !is_token_hash("XohImNooBHFR0OVvjcYpJ3NgPQ1qq73WKhHvch0VQt") && !is_token_hash("AQID")
        );
    }
}
