//! What is kept of the tokens that were mailed to a user: Meteor's `services.passwordless`.

use std::time::Duration;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::accounts::core::later;
use crate::accounts::store::Selector;
use crate::ejson::Date;

/// After so many wrong tries the tokens are forgotten.
///
/// With the limit of requests that makes 100 tries an hour, and each hits one of 16^6 tokens: in
/// a year somebody who never stops gets in with 5 %, and has sent the user 87,600 mails. The counts are
/// in the store, so they are the same for all connections, addresses and servers.
pub(super) const TRIES_MAX: u32 = 10;

/// How many tokens can be asked for in an hour.
pub(super) const REQUESTS_MAX: u32 = 10;
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Meteor's, and how often it was tried and asked for.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<Date>,
    /// The hash of the one that is not mailed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<Mailed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    is_new_user: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrong_tries: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requests: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    requests_since: Option<Date>,
}

/// The hash of a token, and where it was mailed to.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Mailed {
    email: String,
    token: String,
}

impl Mailed {
    pub(super) fn new(email: &str, sequence: &str) -> Self {
        Self { email: email.to_owned(), token: hash(email, sequence) }
    }
}

/// Why a token does not log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    NotSet,
    Expired,
    Mismatch,
}

/// The hash of a token as Meteor has it: `owner` is an address, or the user's id.
fn hash(owner: &str, sequence: &str) -> String {
    HEXLOWER.encode(&Sha256::digest(format!("{owner}{sequence}")))
}

impl Record {
    /// Puts new tokens in the place of the last ones. If there were too many of late, it says when the
    /// next ones can be had.
    pub(super) fn renew(
        &mut self,
        (user_id, sequence): (&str, &str),
        tokens: Vec<Mailed>,
        is_new_user: bool,
        now: Date,
    ) -> Result<(), Duration> {
        let age = self.requests_since.and_then(|since| age(since, now));
        let left = age.and_then(|age| HOUR.checked_sub(age)).filter(|left| !left.is_zero());
        let (since, count) = match (left, self.requests_since, self.requests) {
            (Some(left), Some(_), Some(count)) if count >= REQUESTS_MAX => return Err(left),
            (Some(_), Some(since), Some(count)) => (since, count),
            _ => (now, 0),
        };
        *self = Self {
            created_at: Some(now),
            token: Some(hash(user_id, sequence)),
            tokens,
            is_new_user: is_new_user.then_some(true),
            wrong_tries: None,
            requests: Some(count + 1),
            requests_since: Some(since),
        };
        Ok(())
    }

    /// Compares a token, and says to which address it was mailed, if it was. A wrong one is counted,
    /// and the last of them ends the right one.
    pub(super) fn check(
        &mut self,
        by: &Selector,
        (user_id, sequence): (&str, &str),
        (now, lifetime): (Date, Duration),
    ) -> Result<Option<String>, Refused> {
        let Some(created_at) = self.created_at else { return Err(Refused::NotSet) };
        if later(created_at, lifetime) <= now {
            return Err(Refused::Expired);
        }
        let is = |stored: &str, owner: &str| -> Choice {
            stored.as_bytes().ct_eq(hash(owner, sequence).as_bytes())
        };
        let found = if let Selector::Email(address) = by {
            let address = address.to_lowercase();
            let own = self.tokens.iter().filter(|own| own.email.to_lowercase() == address);
            let mut own = own.filter(|own| is(&own.token, &own.email).into());
            own.next().map(|own| Some(own.email.clone()))
        } else {
            let token = self.token.as_deref();
            token.filter(|token| is(token, user_id).into()).map(|_| None)
        };
        found.ok_or_else(|| {
            let tries = self.wrong_tries.unwrap_or_default().saturating_add(1);
            self.wrong_tries = Some(tries);
            if tries >= TRIES_MAX {
                let Self { requests, requests_since, .. } = *self;
                *self = Self { requests, requests_since, ..Self::default() };
            }
            Refused::Mismatch
        })
    }
}

/// How long ago something was; `None` if it is yet to come, by a clock that was wrong.
fn age(since: Date, now: Date) -> Option<Duration> {
    let millis = now.millis()?.checked_sub(since.millis()?)?;
    Some(Duration::from_millis(u64::try_from(millis).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = HOUR;

    fn at(seconds: i64) -> Date {
        Date::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn email(address: &str) -> Selector {
        Selector::Email(address.to_owned())
    }

    fn record() -> Record {
        let mut record = Record::default();
        let mailed = vec![Mailed::new("Ada@b.c", "ABCDEF"), Mailed::new("l@b.c", "123456")];
        record.renew(("ada", "FEDCBA"), mailed, false, at(0)).unwrap();
        record
    }

    #[test]
    fn tokens_are_stored_as_meteor_stores_them() {
        // printf a@b.cABCDEF | sha256sum
        let expected = "e700cf8542aaa11d030b7977fd189eda6211fe4efb94750027bcf9a7be75b5f5";
        assert_eq!(hash("a@b.c", "ABCDEF"), expected);
    }

    #[test]
    fn a_token_is_good_for_its_address_and_its_time() {
        let mut record = record();
        let mut check = |by: &Selector, token, seconds| {
            record.check(by, ("ada", token), (at(seconds), LIFETIME))
        };
        let id = Selector::Id("ada".to_owned());
        assert_eq!(check(&email("ada@B.c"), "ABCDEF", 1), Ok(Some("Ada@b.c".to_owned())));
        assert_eq!(check(&email("l@b.c"), "ABCDEF", 1), Err(Refused::Mismatch));
        assert_eq!(check(&id, "ABCDEF", 1), Err(Refused::Mismatch));
        assert_eq!(check(&email("ada@b.c"), "FEDCBA", 1), Err(Refused::Mismatch));
        assert_eq!(check(&id, "FEDCBA", 1), Ok(None));
        assert_eq!(check(&email("ada@b.c"), "ABCDEF", 3599), Ok(Some("Ada@b.c".to_owned())));
        assert_eq!(check(&email("ada@b.c"), "ABCDEF", 3600), Err(Refused::Expired));
    }

    #[test]
    fn wrong_tries_end_it_and_requests_are_counted_over_all() {
        let mut record = record();
        let by = email("ada@b.c");
        for _ in 0..TRIES_MAX {
            let wrong = record.check(&by, ("ada", "000000"), (at(1), LIFETIME));
            assert_eq!(wrong, Err(Refused::Mismatch));
        }
        let right = record.check(&by, ("ada", "ABCDEF"), (at(2), LIFETIME));
        assert_eq!(right, Err(Refused::NotSet));
        for count in 1..REQUESTS_MAX {
            record.renew(("ada", "A"), Vec::new(), false, at(i64::from(count))).unwrap();
        }
        let refused = record.renew(("ada", "A"), Vec::new(), false, at(3000));
        assert_eq!(refused, Err(Duration::from_secs(600)));
        record.renew(("ada", "A"), Vec::new(), false, at(3600)).unwrap();
        assert_eq!(record.requests, Some(1));
        // A clock that was ahead.
        record.requests = Some(REQUESTS_MAX);
        record.requests_since = Some(at(10_000_000));
        record.renew(("ada", "A"), Vec::new(), false, at(0)).unwrap();
    }
}
