//! Passwords: hashed, compared, and hashed anew when they are stored in an old form.

mod pool;
mod stored;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base64::Engine;

use self::pool::Pool;
use self::stored::{Algorithm, Argon2Hash, Fit, Stored};
use super::input::Password;
use super::store::PasswordHash;
use crate::error::Error;
use crate::extract::Connection;
use crate::random;
use crate::transport::Address;

/// How new passwords are hashed; what is stored in another form is replaced at the next login.
///
/// What gets hashed is the 64 digits of the password's SHA-256, which is what Meteor's clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PasswordAlgorithm {
    /// Bcrypt, as Meteor's `bcryptRounds`; its default, with 10.
    Bcrypt {
        /// 4 to 16: one more doubles the time, which is some 50 to 100 ms for 10.
        cost: u32,
    },
    /// Argon2id, as Meteor's `argon2Enabled`.
    Argon2id {
        /// Memory in KiB; Meteor's default is 19,456. At most 524,288.
        memory_kib: u32,
        /// Passes over the memory; Meteor's default is 2. At most 64.
        passes: u32,
        /// Lanes; Meteor's default is 1. At most 16.
        parallelism: u32,
    },
}

/// Whether a password can be compared with this stored one: it is in a form that is known, and its costs are
/// not more than a server takes on (bcrypt: 16; Argon2: 512 MiB, and 4 GiB over all passes).
#[must_use]
pub fn is_password_hash(text: &str) -> bool {
    Stored::read(text).is_some()
}

impl PasswordAlgorithm {
    /// Meteor's default.
    pub const BCRYPT: Self = Self::Bcrypt { cost: 10 };
    /// Argon2id with Meteor's parameters.
    pub const ARGON2ID: Self = Self::Argon2id { memory_kib: 19_456, passes: 2, parallelism: 1 };

    /// Whether hashes of these costs can be read again.
    pub(super) fn is_possible(self) -> bool {
        Stored::read(&self.dummy()).is_some()
    }

    fn salt() -> Vec<u8> {
        let mut salt = vec![0; 16];
        random::fill(&mut salt);
        salt
    }

    /// A hash that no password has, which takes as long to compare as a real one.
    fn dummy(self) -> String {
        match self {
            Self::Bcrypt { cost } => {
                let (salt, mut output) = (Self::salt(), [0; 23]);
                random::fill(&mut output);
                let [salt, output] =
                    [&salt[..], &output].map(|bytes| bcrypt::BASE_64.encode(bytes));
                format!("$2b${cost:02}${salt}{output}")
            }
            Self::Argon2id { memory_kib, passes, parallelism } => {
                let mut output = vec![0; 32];
                random::fill(&mut output);
                Argon2Hash::new(memory_kib, passes, parallelism, Self::salt())
                    .with_output(output)
                    .to_text()
            }
        }
    }

    fn hash(self, digest: &str) -> Option<PasswordHash> {
        let text = match self {
            Self::Bcrypt { cost } => bcrypt::hash(digest, cost).ok()?,
            Self::Argon2id { memory_kib, passes, parallelism } => {
                Argon2Hash::new(memory_kib, passes, parallelism, Self::salt()).hash(digest)?
            }
        };
        Some(text.into())
    }

    fn is_of(self, stored: &Stored) -> bool {
        match (self, &stored.algorithm) {
            (Self::Bcrypt { cost }, Algorithm::Bcrypt(_, other)) => cost == *other,
            (Self::Argon2id { memory_kib, passes, parallelism }, Algorithm::Argon2(other)) => {
                let own = (argon2::Algorithm::Argon2id, memory_kib, passes, parallelism);
                own == (other.variant, other.memory_kib, other.passes, other.parallelism)
            }
            _ => false,
        }
    }

    fn check(self, stored: Option<&str>, password: &Password) -> Verdict {
        let dummy = || {
            let dummy = Stored::read(&self.dummy());
            dummy.map(|dummy| dummy.compare(password));
        };
        let Some(stored) = stored.map(Stored::read) else {
            dummy();
            return Verdict::Wrong;
        };
        let Some(stored) = stored else {
            dummy();
            return Verdict::Unreadable;
        };
        let fit = stored.compare(password);
        match fit {
            Fit::Wrong => Verdict::Wrong,
            Fit::Unknown => {
                dummy();
                Verdict::NeedsPlain
            }
            Fit::Digest if self.is_of(&stored) && stored.is_as_ours() => Verdict::Right(None),
            Fit::Digest | Fit::Plain => Verdict::Right(self.hash(&password.digest())),
        }
    }
}

/// What comparing a password says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is right; with the hash to be stored in place of an old form.
    Right(Option<PasswordHash>),
    Wrong,
    /// The client must send the password itself, because only that was hashed.
    NeedsPlain,
    /// What is stored is no hash that is known, or asks for too much.
    Unreadable,
}

/// Hashes and compares passwords, on threads of its own.
#[derive(Debug)]
pub(super) struct Passwords {
    algorithm: PasswordAlgorithm,
    pool: Pool,
}

impl Passwords {
    pub(super) fn new(algorithm: PasswordAlgorithm, threads: Option<usize>) -> Self {
        Self { algorithm, pool: Pool::new(threads.unwrap_or_else(Pool::usual_threads)) }
    }

    /// The hash of a new password, for whoever is at the other end of this connection.
    pub(super) async fn hash(
        &self,
        password: Password,
        connection: Option<&Connection>,
    ) -> Result<PasswordHash, Error> {
        let algorithm = self.algorithm;
        let hash = self
            .pool
            .run(address_of(connection), move || algorithm.hash(&password.digest()))
            .await?;
        hash.ok_or_else(|| Error::internal("a password could not be hashed"))
    }

    /// Compares a password with what is stored. That nothing is stored takes as long to find out as
    /// that the password is wrong.
    pub(super) async fn check(
        &self,
        stored: Option<&PasswordHash>,
        password: Password,
        connection: Option<&Connection>,
    ) -> Result<Verdict, Error> {
        let (algorithm, stored) = (self.algorithm, stored.cloned());
        let stored = stored.map(|stored| Arc::<str>::from(stored.as_str()));
        self.pool
            .run(address_of(connection), move || algorithm.check(stored.as_deref(), &password))
            .await
    }
}

/// All clients whose address is unknown are one.
fn address_of(connection: Option<&Connection>) -> Option<Address> {
    connection.map(|connection| Address::of(connection.client_address().unwrap_or_default()))
}
