//! What no two users may have: who has it, and who comes too late.

use std::collections::{HashMap, HashSet};

use super::imported::Imported;
use super::session::Session;
use crate::error::Error;

/// What must be unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Id,
    Username,
    Email,
    Service,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Username => "username",
            Self::Email => "email",
            Self::Service => "service",
        }
    }

    /// What the report says of a user who comes too late, before the other user's id.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Id => "an earlier line has its _id already, that of user",
            Self::Username => "its username, but for upper and lower case, is that of user",
            Self::Email => "an address of it, but for upper and lower case, is that of user",
            Self::Service => "its id at a login service is that of user",
        }
    }
}

/// Something that must be unique. Its key is that of all that count as equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Claim {
    kind: Kind,
    key: String,
}

impl Claim {
    fn new(kind: Kind, key: impl Into<String>) -> Self {
        Self { kind, key: key.into() }
    }

    /// No text that comes so far has a NUL in it.
    fn service(service: &str, id: &str) -> Self {
        Self::new(Kind::Service, format!("{service}\0{id}"))
    }
}

/// What becomes of a user.
#[derive(Debug)]
pub(super) enum Decision {
    Import,
    /// The user was there before this run.
    There,
    /// Another user has this already.
    Conflict(Kind, String),
}

/// Who has what the users of a batch want to have.
#[derive(Debug, Default)]
pub(super) struct Claims {
    owners: HashMap<Claim, String>,
    /// The ids that were there before this run.
    there: HashSet<String>,
    /// Names and addresses as they are compared.
    folded: HashMap<String, String>,
}

const IDS: &str = "SELECT u.id FROM accounts.users u WHERE u.id = ANY ($1::text[])";

/// One look into the index for each name.
const USERNAMES: &str = "SELECT f.name, f.folded,
        (SELECT u.id FROM accounts.users u WHERE accounts.fold(u.username) = f.folded)
    FROM (SELECT n.name, accounts.fold(n.name) AS folded
        FROM unnest($1::text[]) AS n (name) OFFSET 0) AS f";

const ADDRESSES: &str = "SELECT f.name, f.folded,
        (SELECT e.user_id FROM accounts.emails e WHERE accounts.fold(e.address) = f.folded)
    FROM (SELECT n.name, accounts.fold(n.name) AS folded
        FROM unnest($1::text[]) AS n (name) OFFSET 0) AS f";

const SERVICES: &str = "SELECT n.service, n.id,
        (SELECT s.user_id FROM accounts.services s WHERE s.service = n.service AND s.service_id = n.id)
    FROM unnest($1::text[], $2::text[]) AS n (service, id)";

/// What earlier batches have claimed: their ids, and in a rehearsal, which writes nothing, all else.
const CLAIMED: &str = "SELECT n.kind, n.key,
        (SELECT c.user_id FROM pg_temp.ddp_claims c WHERE c.kind = n.kind AND c.key = n.key)
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n (kind, key, place) ORDER BY n.place";

pub(super) const CREATE_CLAIMED: &str = "CREATE TEMPORARY TABLE ddp_claims (
    kind text, key text, user_id text NOT NULL, PRIMARY KEY (kind, key))";

const CLAIM: &str = "INSERT INTO pg_temp.ddp_claims (kind, key, user_id)
    SELECT n.kind, n.key, n.user_id FROM unnest($1::text[], $2::text[], $3::text[]) AS n (kind, key, user_id)";

impl Claims {
    /// Looks who has what these users want.
    pub(super) async fn look_up(session: &Session<'_>, users: &[Imported]) -> Result<Self, Error> {
        let mut claims = Self::default();
        let ids: Vec<&str> = users.iter().map(|user| user.new.user.id.as_str()).collect();
        for row in session.query(IDS, &[&ids]).await? {
            claims.there.insert(row.try_get(0)?);
        }
        let names = users.iter().filter_map(|user| user.new.user.username.as_deref()).collect();
        claims.look_up_folded(session, (Kind::Username, USERNAMES), names).await?;
        let emails = users.iter().flat_map(|user| &user.new.user.emails);
        let addresses = emails.map(|email| email.address.as_str()).collect();
        claims.look_up_folded(session, (Kind::Email, ADDRESSES), addresses).await?;
        let (services, ids): (Vec<&str>, Vec<&str>) = users.iter().flat_map(service_ids).unzip();
        for row in session.query(SERVICES, &[&services, &ids]).await? {
            let claim = Claim::service(row.try_get(0)?, row.try_get(1)?);
            claims.own(claim, row.try_get(2)?);
        }
        claims.look_up_claimed(session, users).await?;
        Ok(claims)
    }

    async fn look_up_folded(
        &mut self,
        session: &Session<'_>,
        (kind, sql): (Kind, &str),
        names: Vec<&str>,
    ) -> Result<(), Error> {
        for row in session.query(sql, &[&names]).await? {
            let (name, folded): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            self.own(Claim::new(kind, folded.clone()), row.try_get(2)?);
            self.folded.insert(name, folded);
        }
        Ok(())
    }

    async fn look_up_claimed(
        &mut self,
        session: &Session<'_>,
        users: &[Imported],
    ) -> Result<(), Error> {
        let is_claimed = |claim: &Claim| session.is_rehearsal || claim.kind == Kind::Id;
        let claims = users.iter().flat_map(|user| self.of(user)).filter(is_claimed);
        let claims: Vec<Claim> = claims.collect();
        let kinds: Vec<&str> = claims.iter().map(|claim| claim.kind.as_str()).collect();
        let keys: Vec<String> = claims.iter().map(|claim| storable(&claim.key)).collect();
        let rows = session.query(CLAIMED, &[&kinds, &keys]).await?;
        for (claim, row) in claims.into_iter().zip(rows) {
            self.own(claim, row.try_get(2)?);
        }
        Ok(())
    }

    fn own(&mut self, claim: Claim, owner: Option<String>) {
        if let Some(owner) = owner {
            self.owners.insert(claim, owner);
        }
    }

    /// A name or an address as it is compared.
    pub(super) fn folded<'a>(&'a self, name: &'a str) -> &'a str {
        self.folded.get(name).map_or(name, String::as_str)
    }

    /// What a user wants, beginning with the id.
    fn of(&self, user: &Imported) -> Vec<Claim> {
        let of = &user.new.user;
        let name = of.username.iter().map(|name| Claim::new(Kind::Username, self.folded(name)));
        let emails = of.emails.iter().map(|email| &email.address);
        let emails = emails.map(|address| Claim::new(Kind::Email, self.folded(address)));
        let services = service_ids(user).map(|(service, id)| Claim::service(service, id));
        let id = Claim::new(Kind::Id, &of.id);
        std::iter::once(id).chain(name).chain(emails).chain(services).collect()
    }

    /// Decides about the users in their order: who comes first has it.
    pub(super) fn decide(&mut self, users: &[Imported]) -> Vec<Decision> {
        users.iter().map(|user| self.decide_one(user)).collect()
    }

    fn decide_one(&mut self, user: &Imported) -> Decision {
        let (id, claims) = (&user.new.user.id, self.of(user));
        for claim in &claims {
            match self.owners.get(claim) {
                Some(other) => return Decision::Conflict(claim.kind, other.clone()),
                None if claim.kind == Kind::Id && self.there.contains(id) => {
                    self.owners.insert(claim.clone(), id.clone());
                    return Decision::There;
                }
                None => {}
            }
        }
        self.owners.extend(claims.into_iter().map(|claim| (claim, id.clone())));
        Decision::Import
    }

    /// Notes what these users have, for the next batches.
    pub(super) async fn claim(
        &self,
        session: &Session<'_>,
        users: &[Imported],
        decisions: &[Decision],
    ) -> Result<(), Error> {
        let mut rows: HashMap<Claim, &str> = HashMap::new();
        for (user, decision) in users.iter().zip(decisions) {
            let id = user.new.user.id.as_str();
            let claims = match decision {
                Decision::Conflict(..) => continue,
                Decision::Import if session.is_rehearsal => self.of(user),
                Decision::Import | Decision::There => vec![Claim::new(Kind::Id, id)],
            };
            rows.extend(claims.into_iter().map(|claim| (claim, id)));
        }
        let kinds: Vec<&str> = rows.keys().map(|claim| claim.kind.as_str()).collect();
        let keys: Vec<String> = rows.keys().map(|claim| storable(&claim.key)).collect();
        let ids: Vec<&str> = rows.values().copied().collect();
        session.execute(CLAIM, &[&kinds, &keys, &ids]).await.map(drop)
    }
}

/// The ids of a user at login services, with their names.
fn service_ids(user: &Imported) -> impl Iterator<Item = (&str, &str)> {
    let services = user.new.services.iter();
    services.filter_map(|(name, service)| Some((name.as_str(), service.service_id.as_deref()?)))
}

/// A key that PostgreSQL takes: no NUL, and none that is another one's without it.
fn storable(key: &str) -> String {
    match key.split_once('\0') {
        Some((service, id)) => format!("{}:{service}{id}", service.len()),
        None => key.to_owned(),
    }
}
