//! The forms in which passwords are stored: Meteor's, Django's and Devise's.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use pbkdf2::pbkdf2_hmac;
use sha1::Sha1;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::accounts::input::Password;

/// The most that a stored hash may ask of this server; whoever can write hashes must not be able to
/// stop it. They are several times what Django and Meteor use.
const BCRYPT_COST_MAX: u32 = 16;
const ITERATIONS_MAX: u32 = 10_000_000;
const MEMORY_BYTES_MAX: u64 = 512 * 1024 * 1024;
/// Of Argon2: passes over the memory, in KiB; of scrypt: blocks, in bytes.
const WORK_KIB_MAX: u64 = 4 * 1024 * 1024;
const PARALLELISM_MAX: u32 = 16;
const OUTPUT_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// A stored password that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// What was hashed.
    pub(super) of: Of,
    pub(super) algorithm: Algorithm,
}

/// What a stored hash is a hash of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    /// The 64 digits of its SHA-256, as with Meteor and Django's `bcrypt_sha256`.
    Digest,
    /// The password, as with Django's others.
    Plain,
    /// Bcrypt without a word on it is either: Meteor's of the digest, Devise's of the password.
    Either,
}

/// How a password fits a stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Wrong,
    /// Its digest was stored.
    Digest,
    /// It was stored itself.
    Plain,
    /// Its digest cannot tell: the client must send the password itself.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// The text, and its cost.
    Bcrypt(String, u32),
    Argon2(Argon2Hash),
    Pbkdf2 {
        digest: Pbkdf2Digest,
        iterations: u32,
        salt: String,
        output: Vec<u8>,
    },
    Scrypt {
        log_n: u8,
        r: u32,
        p: u32,
        salt: String,
        output: Vec<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pbkdf2Digest {
    Sha1,
    Sha256,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Argon2Hash {
    pub(super) variant: argon2::Algorithm,
    version: argon2::Version,
    pub(super) memory_kib: u32,
    pub(super) passes: u32,
    pub(super) parallelism: u32,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl Stored {
    /// Reads a stored password; `None` if it is none of these, or if it asks for too much.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('$')?;
        match name {
            "" if rest.starts_with("argon2") => Some(Self::argon2(Of::Digest, text)?),
            "" => Self::bcrypt(Of::Either, text),
            "argon2" => Self::argon2(Of::Plain, &text["argon2".len()..]),
            "bcrypt" => Self::bcrypt(Of::Plain, rest),
            "bcrypt_sha256" => Self::bcrypt(Of::Digest, rest),
            "pbkdf2_sha256" => Self::pbkdf2(Pbkdf2Digest::Sha256, rest),
            "pbkdf2_sha1" => Self::pbkdf2(Pbkdf2Digest::Sha1, rest),
            "scrypt" => Self::scrypt(rest),
            _ => None,
        }
    }

    /// Whether it is in the form in which we store: of the digest, and without a word of Django's.
    pub(super) fn is_as_ours(&self) -> bool {
        match &self.algorithm {
            Algorithm::Bcrypt(..) => self.of == Of::Either,
            _ => self.of == Of::Digest,
        }
    }

    fn bcrypt(of: Of, text: &str) -> Option<Self> {
        let parts: bcrypt::HashParts = text.parse().ok()?;
        let cost = parts.get_cost();
        let algorithm = Algorithm::Bcrypt(text.to_owned(), cost);
        (4..=BCRYPT_COST_MAX).contains(&cost).then_some(Self { of, algorithm })
    }

    /// `$argon2id$v=19$m=19456,t=2,p=1$<salt>$<output>`.
    fn argon2(of: Of, text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('$')?.split('$');
        let variant = match parts.next()? {
            "argon2id" => argon2::Algorithm::Argon2id,
            "argon2i" => argon2::Algorithm::Argon2i,
            "argon2d" => argon2::Algorithm::Argon2d,
            _ => return None,
        };
        let mut next = parts.next()?;
        let mut version = argon2::Version::V0x10;
        if let Some(number) = next.strip_prefix("v=") {
            version = argon2::Version::try_from(number.parse::<u32>().ok()?).ok()?;
            next = parts.next()?;
        }
        let mut costs = next.split(',');
        let mut cost = |name: &str| -> Option<u32> {
            costs.next()?.strip_prefix(name)?.strip_prefix('=')?.parse().ok()
        };
        let (memory_kib, passes, parallelism) = (cost("m")?, cost("t")?, cost("p")?);
        let mut bytes = || STANDARD_NO_PAD.decode(parts.next()?).ok();
        let (salt, output) = (bytes()?, bytes()?);
        let fits = u64::from(memory_kib) * 1024 <= MEMORY_BYTES_MAX
            && u64::from(memory_kib) * u64::from(passes) <= WORK_KIB_MAX
            && (1..=PARALLELISM_MAX).contains(&parallelism)
            && (8..=64).contains(&salt.len())
            && OUTPUT_BYTES.contains(&output.len())
            && parts.next().is_none();
        let hash = Argon2Hash { variant, version, memory_kib, passes, parallelism, salt, output };
        fits.then_some(Self { of, algorithm: Algorithm::Argon2(hash) })
    }

    /// `<iterations>$<salt>$<output>`.
    fn pbkdf2(digest: Pbkdf2Digest, text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '$');
        let iterations = parts.next()?.parse().ok()?;
        let salt = parts.next()?.to_owned();
        let output = STANDARD.decode(parts.next()?).ok()?;
        let fits = (1..=ITERATIONS_MAX).contains(&iterations)
            && salt.len() <= 256
            && OUTPUT_BYTES.contains(&output.len());
        let algorithm = Algorithm::Pbkdf2 { digest, iterations, salt, output };
        fits.then_some(Self { of: Of::Plain, algorithm })
    }

    /// `<N>$<salt>$<r>$<p>$<output>`.
    fn scrypt(text: &str) -> Option<Self> {
        let mut parts = text.split('$');
        let n: u64 = parts.next()?.parse().ok()?;
        let salt = parts.next()?.to_owned();
        let (r, p): (u32, u32) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let output = STANDARD.decode(parts.next()?).ok()?;
        let memory = n.checked_mul(128)?.checked_mul(r.into())?;
        let fits = n.is_power_of_two()
            && n > 1
            && memory <= MEMORY_BYTES_MAX
            && (1..=PARALLELISM_MAX).contains(&p)
            && memory * u64::from(p) / 1024 <= WORK_KIB_MAX
            && salt.len() <= 256
            && OUTPUT_BYTES.contains(&output.len())
            && parts.next().is_none();
        let log_n = n.trailing_zeros() as u8;
        let algorithm = Algorithm::Scrypt { log_n, r, p, salt, output };
        fits.then_some(Self { of: Of::Plain, algorithm })
    }

    /// How a password fits what is stored, found by as many hashes as there are ways to fit.
    pub(super) fn compare(&self, password: &Password) -> Fit {
        let fits = |text: Option<&str>| text.is_some_and(|text| self.algorithm.matches(text));
        let digest = password.digest();
        let (digest, plain) = match self.of {
            Of::Digest => (fits(Some(&digest)), false),
            Of::Plain if password.plain().is_none() => return Fit::Unknown,
            Of::Plain => (false, fits(password.plain())),
            // A digest that was sent as a text must not become the password.
            Of::Either => {
                (fits(Some(&digest)), fits(password.plain().filter(|text| !is_digest(text))))
            }
        };
        match (digest, plain) {
            (true, _) => Fit::Digest,
            (false, true) => Fit::Plain,
            (false, false) => Fit::Wrong,
        }
    }
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

impl Algorithm {
    fn matches(&self, text: &str) -> bool {
        match self {
            // No password has a NUL: bcrypt would take "a" and "a\0a" for the same.
            Self::Bcrypt(hash, _) => bcrypt::verify(text, hash).unwrap_or(false),
            Self::Argon2(hash) => hash.matches(text),
            Self::Pbkdf2 { digest, iterations, salt, output } => {
                let mut own = vec![0; output.len()];
                let (text, salt) = (text.as_bytes(), salt.as_bytes());
                match digest {
                    Pbkdf2Digest::Sha1 => pbkdf2_hmac::<Sha1>(text, salt, *iterations, &mut own),
                    Pbkdf2Digest::Sha256 => {
                        pbkdf2_hmac::<Sha256>(text, salt, *iterations, &mut own);
                    }
                }
                own.ct_eq(output).into()
            }
            Self::Scrypt { log_n, r, p, salt, output } => {
                let Ok(params) = scrypt::Params::new(*log_n, *r, *p) else { return false };
                let mut own = vec![0; output.len()];
                let done = scrypt::scrypt(text.as_bytes(), salt.as_bytes(), &params, &mut own);
                done.is_ok() && own.ct_eq(output).into()
            }
        }
    }
}

impl Argon2Hash {
    pub(super) fn new(memory_kib: u32, passes: u32, parallelism: u32, salt: Vec<u8>) -> Self {
        let (variant, version) = (argon2::Algorithm::Argon2id, argon2::Version::V0x13);
        let output = vec![0; 32];
        Self { variant, version, memory_kib, passes, parallelism, salt, output }
    }

    fn compute(&self, text: &str) -> Option<Vec<u8>> {
        let length = Some(self.output.len());
        let params =
            argon2::Params::new(self.memory_kib, self.passes, self.parallelism, length).ok()?;
        let mut own = vec![0; self.output.len()];
        argon2::Argon2::new(self.variant, self.version, params)
            .hash_password_into(text.as_bytes(), &self.salt, &mut own)
            .ok()?;
        Some(own)
    }

    fn matches(&self, text: &str) -> bool {
        self.compute(text).is_some_and(|own| own.ct_eq(&self.output).into())
    }

    /// The text of a password's hash with these costs and this salt.
    pub(super) fn hash(mut self, text: &str) -> Option<String> {
        self.output = self.compute(text)?;
        Some(self.to_text())
    }

    /// As Argon2's own libraries write it.
    pub(super) fn to_text(&self) -> String {
        let Self { variant, version, memory_kib, passes, parallelism, salt, output } = self;
        let (name, version) = (variant.as_str(), u32::from(*version));
        let [salt, output] = [salt, output].map(|bytes| STANDARD_NO_PAD.encode(bytes));
        format!("${name}$v={version}$m={memory_kib},t={passes},p={parallelism}${salt}${output}")
    }

    /// The same costs with an output that no password has.
    pub(super) fn with_output(mut self, output: Vec<u8>) -> Self {
        self.output = output;
        self
    }
}
