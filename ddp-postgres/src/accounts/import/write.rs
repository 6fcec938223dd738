//! Writes the users of a batch by one statement for each table.

use std::collections::HashMap;
use std::time::SystemTime;

use ddp_server::accounts::Service;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::claims::Claims;
use super::imported::Imported;
use super::losses::{Losses, Why};
use super::report::Kept;
use super::session::Session;
use crate::accounts::row::{object_text, time};
use crate::error::Error;

/// What became of the users that were written.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) kept: Kept,
    /// What is not kept of users, by their ids: addresses that they have in another spelling as well, and
    /// tokens that were there already.
    pub(super) lost: HashMap<String, Losses>,
    /// How those differ who were there before, by their ids.
    pub(super) differing: HashMap<String, Vec<&'static str>>,
}

const USERS: &str = "INSERT INTO accounts.users (id, created_at, username, profile)
    SELECT n.id, n.created_at, n.username, n.profile::jsonb
    FROM unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[])
        AS n (id, created_at, username, profile)";

const EMAILS: &str = "INSERT INTO accounts.emails (user_id, address, verified)
    SELECT n.user_id, n.address, n.verified
    FROM unnest($1::text[], $2::text[], $3::bool[]) WITH ORDINALITY
        AS n (user_id, address, verified, place)
    ORDER BY n.place";

const PASSWORDS: &str = "INSERT INTO accounts.passwords (user_id, hash)
    SELECT n.user_id, n.hash FROM unnest($1::text[], $2::text[]) AS n (user_id, hash)";

const LOGIN_TOKENS: &str = "INSERT INTO accounts.login_tokens (hash, user_id, when_)
    SELECT n.hash, n.user_id, n.when_
    FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS n (hash, user_id, when_)
    ON CONFLICT (hash) DO NOTHING RETURNING user_id";

const ONE_TIME_TOKENS: &str =
    "INSERT INTO accounts.one_time_tokens (hash, kind, user_id, address, when_)
    SELECT n.hash, n.kind, n.user_id, n.address, n.when_
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[])
        AS n (hash, kind, user_id, address, when_)
    ON CONFLICT (hash) DO NOTHING RETURNING user_id";

const SERVICES: &str = "INSERT INTO accounts.services (user_id, service, service_id, data)
    SELECT n.user_id, n.service, n.service_id, n.data::jsonb
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
        AS n (user_id, service, service_id, data)";

/// Writes them, or in a rehearsal says what would be written.
pub(super) async fn write(
    session: &Session<'_>,
    users: &[&Imported],
    claims: &Claims,
) -> Result<Written, Error> {
    let mut written = Written { kept: counts(users), ..Written::default() };
    let emails = emails(users, claims, &mut written);
    if session.is_rehearsal {
        return Ok(written);
    }
    write_users(session, users).await?;
    let ids: Vec<&str> = emails.iter().map(|email| email.user_id).collect();
    let addresses: Vec<&str> = emails.iter().map(|email| email.address).collect();
    let verified: Vec<bool> = emails.iter().map(|email| email.verified).collect();
    session.execute(EMAILS, &[&ids, &addresses, &verified]).await?;
    let login_tokens = write_login_tokens(session, users).await?;
    let one_time_tokens = write_one_time_tokens(session, users).await?;
    write_services(session, users).await?;
    let kept = &mut written.kept;
    (kept.login_tokens, kept.one_time_tokens) =
        (login_tokens.values().sum(), one_time_tokens.values().sum());
    for user in users {
        let id = user.new.user.id.as_str();
        let is_short = |written: &HashMap<String, u64>, had: usize| {
            written.get(id).copied().unwrap_or_default() < had as u64
        };
        if is_short(&login_tokens, user.login_tokens.len()) {
            written.lose(id, "services.resume.loginTokens", Why::Taken);
        }
        if is_short(&one_time_tokens, user.one_time_tokens.len()) {
            let paths = "services.password.reset, services.email.verificationTokens";
            written.lose(id, paths, Why::Taken);
        }
    }
    Ok(written)
}

impl Written {
    fn lose(&mut self, id: &str, path: &str, why: Why) {
        self.lost.entry(id.to_owned()).or_default().field(path, why);
    }
}

fn counts(users: &[&Imported]) -> Kept {
    let mut kept = Kept::default();
    for user in users {
        kept.passwords += u64::from(user.new.password.is_some());
        kept.login_tokens += user.login_tokens.len() as u64;
        kept.one_time_tokens += user.one_time_tokens.len() as u64;
        kept.services += user.new.services.len() as u64;
        let of = |(name, _): &&(String, Service)| name == "twoFactorAuthentication";
        if let Some((_, factor)) = user.new.services.iter().find(of) {
            kept.second_factors += u64::from(factor.data.contains_key("type"));
        }
    }
    kept
}

/// A row of the table `emails`.
struct EmailRow<'a> {
    user_id: &'a str,
    address: &'a str,
    verified: bool,
}

/// Each address once, in the first of its spellings, and verified if it is so in any of them.
fn emails<'a>(users: &[&'a Imported], claims: &Claims, written: &mut Written) -> Vec<EmailRow<'a>> {
    let mut rows: Vec<EmailRow<'a>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for user in users {
        let user_id = user.new.user.id.as_str();
        for email in &user.new.user.emails {
            let place =
                *places.entry(claims.folded(&email.address).to_owned()).or_insert(rows.len());
            match rows.get_mut(place) {
                Some(row) => {
                    row.verified |= email.verified;
                    written.lose(user_id, "emails", Why::Twice);
                }
                None => {
                    let (address, verified) = (email.address.as_str(), email.verified);
                    rows.push(EmailRow { user_id, address, verified });
                }
            }
        }
    }
    rows
}

async fn write_users(session: &Session<'_>, users: &[&Imported]) -> Result<(), Error> {
    let of = || users.iter().map(|user| &user.new.user);
    let ids: Vec<&str> = of().map(|user| user.id.as_str()).collect();
    let created: Vec<Option<SystemTime>> = of().map(|user| user.created_at.map(time)).collect();
    let names: Vec<Option<&str>> = of().map(|user| user.username.as_deref()).collect();
    let profiles: Vec<Option<String>> =
        of().map(|user| user.profile.as_ref().map(object_text)).collect();
    session.execute(USERS, &[&ids, &created, &names, &profiles]).await?;
    let hashed = users
        .iter()
        .filter_map(|user| Some((user.new.user.id.as_str(), user.new.password.as_ref()?.as_str())));
    let (ids, hashes): (Vec<&str>, Vec<&str>) = hashed.unzip();
    session.execute(PASSWORDS, &[&ids, &hashes]).await.map(drop)
}

/// Returns how many tokens were written of each user.
async fn write_login_tokens(
    session: &Session<'_>,
    users: &[&Imported],
) -> Result<HashMap<String, u64>, Error> {
    let tokens =
        || users.iter().flat_map(|user| user.login_tokens.iter().map(move |token| (user, token)));
    let ids: Vec<&str> = tokens().map(|(user, _)| user.new.user.id.as_str()).collect();
    let hashes: Vec<&str> = tokens().map(|(_, token)| token.hash.as_str()).collect();
    let when: Vec<SystemTime> = tokens().map(|(_, token)| time(token.when)).collect();
    count_by_user(session.query(LOGIN_TOKENS, &[&hashes, &ids, &when]).await?)
}

async fn write_one_time_tokens(
    session: &Session<'_>,
    users: &[&Imported],
) -> Result<HashMap<String, u64>, Error> {
    let tokens = || users.iter().flat_map(|user| &user.one_time_tokens);
    let hashes: Vec<&str> = tokens().map(|token| token.hash.as_str()).collect();
    let kinds: Vec<&str> = tokens().map(|token| token.purpose.as_str()).collect();
    let ids: Vec<&str> = tokens().map(|token| token.user_id.as_str()).collect();
    let addresses: Vec<&str> = tokens().map(|token| token.address.as_str()).collect();
    let when: Vec<SystemTime> = tokens().map(|token| time(token.when)).collect();
    let params: [&(dyn ToSql + Sync); 5] = [&hashes, &kinds, &ids, &addresses, &when];
    count_by_user(session.query(ONE_TIME_TOKENS, &params).await?)
}

fn count_by_user(rows: Vec<Row>) -> Result<HashMap<String, u64>, Error> {
    let mut counts = HashMap::new();
    for row in rows {
        *counts.entry(row.try_get(0)?).or_default() += 1;
    }
    Ok(counts)
}

async fn write_services(session: &Session<'_>, users: &[&Imported]) -> Result<(), Error> {
    let services = || {
        users.iter().flat_map(|user| user.new.services.iter().map(move |service| (user, service)))
    };
    let ids: Vec<&str> = services().map(|(user, _)| user.new.user.id.as_str()).collect();
    let names: Vec<&str> = services().map(|(_, (name, _))| name.as_str()).collect();
    let service_ids: Vec<Option<&str>> =
        services().map(|(_, (_, service))| service.service_id.as_deref()).collect();
    let data: Vec<String> =
        services().map(|(_, (_, service))| object_text(&service.data)).collect();
    session.execute(SERVICES, &[&ids, &names, &service_ids, &data]).await.map(drop)
}
