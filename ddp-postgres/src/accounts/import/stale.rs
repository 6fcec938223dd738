//! Users who were there before, and whether they still have what their documents say.

use std::collections::{BTreeSet, HashMap};

use super::claims::Claims;
use super::imported::Imported;
use super::session::Session;
use crate::error::Error;

const STORED: &str = "SELECT u.id, u.username, p.hash,
        ARRAY(SELECT accounts.fold(e.address) FROM accounts.emails e WHERE e.user_id = u.id),
        ARRAY(SELECT t.hash FROM accounts.login_tokens t WHERE t.user_id = u.id),
        ARRAY(SELECT s.service || ' ' || coalesce(s.service_id, '')
            FROM accounts.services s WHERE s.user_id = u.id)
    FROM accounts.users u LEFT JOIN accounts.passwords p ON p.user_id = u.id
    WHERE u.id = ANY ($1::text[])";

/// What a login needs, as it is stored or as a document has it.
#[derive(PartialEq, Eq)]
struct Credentials {
    username: Option<String>,
    password: Option<String>,
    addresses: BTreeSet<String>,
    login_tokens: BTreeSet<String>,
    services: BTreeSet<String>,
}

/// What is different about those who differ, by their ids.
pub(super) async fn find(
    session: &Session<'_>,
    claims: &Claims,
    users: &[&Imported],
) -> Result<HashMap<String, Vec<&'static str>>, Error> {
    let ids: Vec<&str> = users.iter().map(|user| user.new.user.id.as_str()).collect();
    let mut stored = HashMap::new();
    if !ids.is_empty() {
        for row in session.query(STORED, &[&ids]).await? {
            let set = |column| row.try_get(column).map(|texts: Vec<String>| texts.into_iter());
            let credentials = Credentials {
                username: row.try_get(1)?,
                password: row.try_get(2)?,
                addresses: set(3)?.collect(),
                login_tokens: set(4)?.collect(),
                services: set(5)?.collect(),
            };
            stored.insert(row.try_get::<_, String>(0)?, credentials);
        }
    }
    let differing = users.iter().filter_map(|user| {
        let (id, stored) = stored.remove_entry(&user.new.user.id)?;
        Some((id, differences(&stored, &Credentials::of(user, claims))))
    });
    Ok(differing.filter(|(_, differences)| !differences.is_empty()).collect())
}

impl Credentials {
    fn of(user: &Imported, claims: &Claims) -> Self {
        let Imported { new, login_tokens, .. } = user;
        let addresses = new.user.emails.iter().map(|email| claims.folded(&email.address));
        let service_id = |id: &Option<String>| id.clone().unwrap_or_default();
        let services = (new.services.iter())
            .map(|(name, service)| format!("{name} {}", service_id(&service.service_id)));
        Self {
            username: new.user.username.clone(),
            password: new.password.as_ref().map(|hash| hash.as_str().to_owned()),
            addresses: addresses.map(str::to_owned).collect(),
            login_tokens: login_tokens.iter().map(|token| token.hash.as_str().to_owned()).collect(),
            services: services.collect(),
        }
    }
}

fn differences(stored: &Credentials, read: &Credentials) -> Vec<&'static str> {
    let differences = [
        (stored.username != read.username, "it was there already, with another username"),
        (stored.password != read.password, "it was there already, with another password"),
        (stored.addresses != read.addresses, "it was there already, with other addresses"),
        (stored.login_tokens != read.login_tokens, "it was there already, with other login tokens"),
        (stored.services != read.services, "it was there already, with other login services"),
    ];
    differences.into_iter().filter(|(differs, _)| *differs).map(|(_, text)| text).collect()
}
