//! The options of Meteor's `Accounts.config`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::store::User;
use crate::error::Error;

pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a token lasts that lasts for ever: a hundred years, as in Meteor.
pub(super) const FOR_EVER: Duration = Duration::from_secs(365 * 100 * 24 * 60 * 60);

/// How many hexadecimal digits a token has that is mailed to log in. Fewer could be found by trying.
pub(super) const TOKEN_SEQUENCE_MIN: usize = 6;
pub(super) const TOKEN_SEQUENCE_MAX: usize = 64;

/// What a client is told in place of a reason, if errors are ambiguous.
pub(super) const AMBIGUOUS: &str = "Something went wrong. Please check your credentials.";

/// What is configured.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) ambiguous_error_messages: bool,
    pub(super) forbid_client_account_creation: bool,
    pub(super) send_verification_email: bool,
    pub(super) restriction: Option<Restriction>,
    /// `None` if login tokens last for ever.
    pub(super) login_expiration: Option<Duration>,
    pub(super) password_reset_token_expiration: Duration,
    pub(super) password_enroll_token_expiration: Duration,
    /// The fields of the own user's document.
    pub(super) fields: Vec<String>,
    pub(super) limits_rates: bool,
    pub(super) allows_profile_updates: bool,
    pub(super) uses_http_only_cookies: bool,
    /// Whether clients set up a second factor.
    pub(super) sets_up_second_factor: bool,
    /// Whether clients log in by mailed tokens.
    pub(super) is_passwordless: bool,
    pub(super) login_token_expiration: Duration,
    /// How many digits such a token has.
    pub(super) token_sequence_length: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ambiguous_error_messages: true,
            forbid_client_account_creation: false,
            send_verification_email: false,
            restriction: None,
            login_expiration: Some(90 * DAY),
            password_reset_token_expiration: 3 * DAY,
            password_enroll_token_expiration: 30 * DAY,
            fields: ["profile", "username", "emails"].map(str::to_owned).to_vec(),
            limits_rates: true,
            allows_profile_updates: false,
            uses_http_only_cookies: false,
            sets_up_second_factor: false,
            is_passwordless: false,
            login_token_expiration: Duration::from_secs(60 * 60),
            token_sequence_length: TOKEN_SEQUENCE_MIN,
        }
    }
}

/// Which addresses new users may have.
#[derive(Clone)]
pub(super) enum Restriction {
    Domain(String),
    Where(Arc<dyn Fn(&str) -> bool + Send + Sync>),
}

impl Restriction {
    /// Whether a new user has such an address, or one that a login service has verified.
    pub(super) fn check(&self, user: &User, verified: Option<&str>) -> Result<(), Error> {
        let own = user.emails.iter().map(|email| email.address.as_str());
        let mut addresses = own.chain(verified);
        match self {
            Self::Domain(domain) => {
                let end = format!("@{}", domain.to_lowercase());
                if addresses.any(|address| address.to_lowercase().ends_with(&end)) {
                    return Ok(());
                }
                Err(Error::client(403, format!("@{domain} email required")))
            }
            Self::Where(fits) => {
                if addresses.any(|address| fits(address)) {
                    return Ok(());
                }
                Err(Error::client(403, "Email doesn't match the criteria."))
            }
        }
    }
}

impl fmt::Debug for Restriction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Domain(domain) => domain.fmt(f),
            Self::Where(_) => f.write_str("a function"),
        }
    }
}
