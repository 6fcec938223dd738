//! What is kept of a user's second factor: Meteor's `services.twoFactorAuthentication`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::totp::DIGITS;
use super::{recovery, totp};
use crate::accounts::core::later;
use crate::ejson::{Date, Ejson};

/// The `type` of one that is active.
const OTP: &str = "otp";

/// How many wrong codes in a row cost nothing.
const FREE: u32 = 5;

/// How long no code is taken after the first wrong one beyond them; each further one doubles it.
const FIRST: Duration = Duration::from_secs(30);

/// The most that it grows to.
///
/// A guess is right with a chance of 21 in 1,000,000: so many steps are good at a time. With one guess
/// an hour, whoever knows the password gets in within a day with 0.05 %, and needs 33,000 guesses or 3.8
/// years for even odds. The count is in the store, so it is the same for all connections, addresses and
/// servers, and outlives them.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Meteor's `secret` and `type`, and what it does not have. `secret` is a text or sealed.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    #[serde(default)]
    pub(super) secret: Ejson,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    r#type: Option<String>,
    /// The step of the last code that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_step: Option<u64>,
    /// Hashes of the recovery codes that are left.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recovery_codes: Vec<String>,
    /// How many wrong codes came since the last right one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wrong_codes: Option<u32>,
    /// Before this no code of the app is looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next_code_at: Option<Date>,
}

/// What became of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spent {
    Right,
    Wrong,
    /// It was not looked at, nor will the next one be for so long.
    Wait(Duration),
    /// The secret cannot be read, so no code of the app can be right.
    Unreadable,
}

impl Record {
    /// One that waits for its first code.
    pub(super) fn new(secret: Ejson) -> Self {
        let (r#type, last_step, recovery_codes, wrong_codes, next_code_at) = Default::default();
        Self { secret, r#type, last_step, recovery_codes, wrong_codes, next_code_at }
    }

    pub(super) fn is_active(&self) -> bool {
        self.r#type.as_deref().is_some_and(|r#type| !r#type.is_empty())
    }

    /// Makes it active, with these recovery codes.
    pub(super) fn activate(&mut self, codes: &[String], user_id: &str) {
        self.r#type = Some(OTP.to_owned());
        let hashes = codes.iter().filter_map(|code| recovery::hash(code, user_id));
        self.recovery_codes = hashes.collect();
    }

    /// Uses a code: of the app, or to recover. What is no word is dropped from it, as in Meteor.
    pub(super) fn spend(
        &mut self,
        code: &str,
        user_id: &str,
        secret: Option<&[u8]>,
        now: Date,
    ) -> Spent {
        // Too long to be found by trying, so these are always looked at.
        if let Some(hash) = recovery::hash(code, user_id) {
            if !recovery::take(&mut self.recovery_codes, &hash) {
                return Spent::Wrong;
            }
            (self.wrong_codes, self.next_code_at) = (None, None);
            return Spent::Right;
        }
        if let Some(wait) = self.wait(now) {
            return Spent::Wait(wait);
        }
        let is_word = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
        let code: String = code.chars().filter(is_word).collect();
        if code.len() != DIGITS || !code.bytes().all(|digit| digit.is_ascii_digit()) {
            return Spent::Wrong;
        }
        let Some(secret) = secret else { return Spent::Unreadable };
        match totp::step_of(secret, &code, totp::step_at(now), self.last_step) {
            Some(step) => {
                self.last_step = Some(step);
                (self.wrong_codes, self.next_code_at) = (None, None);
                Spent::Right
            }
            None => {
                let count = self.wrong_codes.unwrap_or_default().saturating_add(1);
                self.wrong_codes = Some(count);
                self.next_code_at = pause(count).map(|pause| later(now, pause));
                Spent::Wrong
            }
        }
    }

    /// How long until a code of the app is looked at.
    fn wait(&self, now: Date) -> Option<Duration> {
        let millis = self.next_code_at?.millis()?.checked_sub(now.millis()?)?;
        let wait = Duration::from_millis(u64::try_from(millis).ok()?);
        // Clocks of servers differ. One that is much longer than it can be comes from one that was wrong.
        (!wait.is_zero() && wait <= 2 * LONGEST).then_some(wait.min(LONGEST))
    }
}

/// How long no code is taken after so many wrong ones.
fn pause(count: u32) -> Option<Duration> {
    let more = count.checked_sub(FREE)?;
    let doubled = more.checked_sub(1)?;
    Some(FIRST.saturating_mul(1 << doubled.min(16)).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    fn at(seconds: i64) -> Date {
        Date::from_millis(1_700_000_000_000 + seconds * 1000)
    }

    fn code(seconds: i64) -> String {
        totp::code(SECRET, totp::step_at(at(seconds)))
    }

    fn record() -> Record {
        Record::new(Ejson::from("a secret"))
    }

    #[test]
    fn a_code_works_once_and_none_before_it_works_afterwards() {
        let mut record = record();
        let mut spend = |code: &str, now| record.spend(code, "ada", Some(SECRET), at(now));
        let (first, second) = (code(0), code(30));
        assert_eq!(spend(&format!(" {}-{}\n", &first[..3], &first[3..]), 0), Spent::Right);
        assert_eq!(spend(&first, 1), Spent::Wrong);
        assert_eq!(spend(&second, 2), Spent::Right);
        assert_eq!(spend(&first, 3), Spent::Wrong);
        assert_eq!(spend(&code(60), 4), Spent::Right);
    }

    #[test]
    fn guesses_become_one_an_hour() {
        let mut record = record();
        let (mut now, mut pauses) = (0, Vec::new());
        // In 60 days no guess is right.
        while now < 60 * 24 * 60 * 60 {
            let taken = record.spend("000000", "ada", Some(SECRET), at(now));
            if taken == Spent::Right {
                break;
            }
            match record.wait(at(now)) {
                None => pauses.push(0),
                Some(wait) => {
                    let early = record.spend("000000", "ada", Some(SECRET), at(now));
                    assert_eq!(early, Spent::Wait(wait));
                    pauses.push(wait.as_secs());
                    now += i64::try_from(wait.as_secs()).unwrap();
                }
            }
            if pauses.len() > 20 {
                break;
            }
        }
        assert_eq!(pauses[..13], [0, 0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600]);
        assert!(pauses[13..].iter().all(|pause| *pause == 3600), "{pauses:?}");
        // The right one ends it.
        assert_eq!(record.spend(&code(now), "ada", Some(SECRET), at(now)), Spent::Right);
        assert_eq!(record.wait(at(now)), None);
        // A clock that was far ahead does not lock anybody out.
        record.next_code_at = Some(at(10_000_000));
        assert_eq!(record.wait(at(0)), None);
    }

    #[test]
    fn a_recovery_code_works_once_whatever_was_guessed_before() {
        let mut record = record();
        let codes = recovery::new_codes();
        record.activate(&codes, "ada");
        assert!(record.is_active());
        for _ in 0..20 {
            record.spend("000000", "ada", Some(SECRET), at(0));
        }
        assert!(matches!(record.spend("000000", "ada", Some(SECRET), at(0)), Spent::Wait(_)));
        assert_eq!(record.spend(&codes[3], "alan", None, at(0)), Spent::Wrong);
        let sloppy = codes[3].to_lowercase().replace('-', " ");
        assert_eq!(record.spend(&sloppy, "ada", None, at(0)), Spent::Right);
        assert_eq!(record.spend(&codes[3], "ada", None, at(0)), Spent::Wrong);
        assert_eq!(record.recovery_codes.len(), recovery::COUNT - 1);
        assert_eq!(record.spend("000000", "ada", None, at(0)), Spent::Unreadable);
    }
}
