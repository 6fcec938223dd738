//! Logins by tokens that are mailed, as Meteor's `accounts-passwordless` has them.

mod record;

use std::time::Duration;

use data_encoding::HEXUPPER;
use tokio::time::{Instant, sleep_until};

use self::record::{Mailed, Record, Refused};
use super::attempt::CreatedLoginToken;
use super::core::{Core, now};
use super::delays::too_many;
use super::handler::Login;
use super::store::{LoginUser, Selector, User};
use super::{kept, second_factor};
use crate::error::Error;
use crate::random;
use crate::write_fence::WriteFence;

/// What Meteor keeps them under, in `services`.
const SERVICE: &str = "passwordless";

/// At most so many addresses of a user get a mail.
const MAILS_MAX: usize = 10;

/// Refusals take at least so long where they must not tell who exists: who has a token costs a write.
const REFUSED_AFTER: Duration = Duration::from_millis(250);

/// How often it is tried to forget tokens that others change meanwhile.
const FORGET_TRIES: usize = 16;

/// A token to be mailed.
pub(super) struct Letter {
    pub(super) address: String,
    pub(super) sequence: String,
}

/// A token as users type it.
fn sequence(digits: usize) -> String {
    let mut bytes = vec![0; digits.div_ceil(2)];
    random::fill(&mut bytes);
    let mut text = HEXUPPER.encode(&bytes);
    text.truncate(digits);
    text
}

/// Makes tokens for a user: one for each address or, if it was found by one, for that. Returns what is
/// to be mailed, which is nothing if the application sends the token by another way.
pub(super) async fn issue(
    core: &Core,
    user: &User,
    by: &Selector,
    is_new_user: bool,
) -> Result<Vec<Letter>, Error> {
    let digits = core.options.token_sequence_length;
    let is_meant = |address: &str| match by {
        Selector::Email(by) => by.to_lowercase() == address.to_lowercase(),
        _ => true,
    };
    let addresses = user.emails.iter().map(|email| &email.address);
    let letters: Vec<Letter> = addresses
        .filter(|address| is_meant(address))
        .take(MAILS_MAX)
        .map(|address| Letter { address: address.clone(), sequence: sequence(digits) })
        .collect();
    if letters.is_empty() {
        return Err(core.refusal("Login tokens could not be generated"));
    }
    let token = sequence(digits);
    let renewed = kept::change(core, &user.id, SERVICE, |record: &mut Option<Record>| {
        let mailed = letters.iter().map(|one| Mailed::new(&one.address, &one.sequence)).collect();
        let record = record.get_or_insert_default();
        record.renew((&user.id, &token), mailed, is_new_user, now())
    });
    renewed.await?.map_err(|wait| {
        let seconds = wait.as_millis().div_ceil(1000);
        too_many(u32::try_from(seconds).unwrap_or(u32::MAX))
    })?;
    if let Some(hook) = &core.hooks.on_create_login_token
        && !hook(CreatedLoginToken { token, user_id: user.id.clone() }).await?
    {
        return Ok(Vec::new());
    }
    Ok(letters)
}

/// Mails the tokens.
pub(super) async fn mail(core: &Core, user: &User, letters: Vec<Letter>) -> Result<(), Error> {
    for Letter { address, sequence } in letters {
        let mail = core.mails.login_token_mail(user, &address, &sequence);
        core.mails.mailer.send(mail).await?;
    }
    Ok(())
}

/// What a client logs in with.
pub(super) struct Sent {
    pub(super) by: Selector,
    pub(super) token: String,
    pub(super) code: Option<String>,
}

/// Forgets what was mailed to a user to log in, because the user's password or sessions end.
pub(super) async fn forget(core: &Core, user_id: &str) -> Result<(), Error> {
    // Read or not: a record that is broken goes as well.
    for _ in 0..FORGET_TRIES {
        let Some((_, version)) = core.store.find_service(user_id, SERVICE).await? else {
            return Ok(());
        };
        match core.store.put_service(user_id, SERVICE, version, None).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(error) => return Err(core.conflict(error)),
        }
    }
    Err(too_many(1))
}

/// Logs in by a token, which then does not work again.
pub(super) async fn log_in(core: &Core, sent: Sent, fence: &WriteFence) -> Result<Login, Error> {
    let target = core.delays.target(&sent.by);
    core.delays.wait(target).await;
    let begun = Instant::now();
    let found = core.store.find_login_user(&sent.by).await?;
    let refused = match &found {
        Some(found) => attempt(core, found, &sent, fence).await?,
        None => {
            // As much is read for somebody who does not exist.
            core.store.find_service("", SERVICE).await?;
            core.delays.failed(target);
            Some(core.refusal("User not found"))
        }
    };
    match (refused, found) {
        (None, Some(found)) => {
            core.delays.passed(target);
            // As the user is now, with its address verified.
            Ok(Login::user(found.user.id))
        }
        (None, None) => Err(core.refusal("User not found")),
        (Some(error), found) => {
            if core.options.ambiguous_error_messages {
                sleep_until(begun + REFUSED_AFTER).await;
            }
            Ok(Login::failed(found.map(|found| found.user), error))
        }
    }
}

/// Why a user does not get in. `None` if nothing is in the way; then the token has been used, and the
/// code.
async fn attempt(
    core: &Core,
    found: &LoginUser,
    sent: &Sent,
    fence: &WriteFence,
) -> Result<Option<Error>, Error> {
    let user_id = &found.user.id;
    if found.has_2fa {
        // A token without its code is still good.
        let refused = match compare(core, user_id, sent, false).await? {
            Ok(_) => second_factor::refuses(core, found, sent.code.as_deref()).await?,
            Err(refused) => Some(refused),
        };
        if refused.is_some() {
            return Ok(refused);
        }
    }
    match compare(core, user_id, sent, true).await? {
        // Whoever reads the mail has the address.
        Ok(Some(address)) if !core.store.verify_email(user_id, &address, fence).await? => {
            Ok(Some(core.refusal("Email or token mismatch")))
        }
        Ok(_) => Ok(None),
        Err(refused) => Ok(Some(refused)),
    }
}

/// Whether a token is right: then says where it was mailed to, and takes it away if it is used.
async fn compare(
    core: &Core,
    user_id: &str,
    sent: &Sent,
    is_used: bool,
) -> Result<Result<Option<String>, Error>, Error> {
    let (sequence, lifetime) = (sent.token.to_uppercase(), core.options.login_token_expiration);
    let compared = kept::change(core, user_id, SERVICE, |record: &mut Option<Record>| {
        let Some(kept) = record else { return Err(Refused::NotSet) };
        let address = kept.check(&sent.by, (user_id, &sequence), (now(), lifetime))?;
        if is_used {
            *record = None;
        }
        Ok(address)
    });
    Ok(compared.await?.map_err(|refused| {
        core.delays.failed(core.delays.target(&sent.by));
        core.refusal(match (refused, &sent.by) {
            (Refused::NotSet, _) => "User has no token set",
            (Refused::Expired, _) => "Expired token",
            (Refused::Mismatch, Selector::Email(_)) => "Email or token mismatch",
            (Refused::Mismatch, _) => "Token mismatch",
        })
    }))
}
