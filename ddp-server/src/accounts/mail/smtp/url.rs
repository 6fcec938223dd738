//! What a `MAIL_URL` says.

use std::fmt;
use std::net::IpAddr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// The port of a server for mails that programs submit.
const SUBMISSION_PORT: u16 = 587;
/// The same where TLS begins at once.
const SUBMISSIONS_PORT: u16 = 465;

/// A mail server, and how it is talked to.
pub(super) struct MailUrl {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
    /// User and password.
    pub(super) credentials: Option<(String, String)>,
    /// What we call ourselves; without it, the name of this machine.
    pub(super) name: Option<String>,
}

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    /// At once.
    Wrapped,
    /// By STARTTLS, or no mail is sent.
    Required,
    /// By STARTTLS if the server offers it.
    Opportunistic,
    /// Never.
    Plain,
}

/// A `MAIL_URL` that cannot be understood. The text has no user and no password in it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("MAIL_URL: {0}")]
pub struct MailUrlError(String);

impl MailUrlError {
    /// TLS cannot be set up, whatever the server is.
    pub(super) fn of_tls(error: &lettre::transport::smtp::Error) -> Self {
        Self(format!("TLS cannot be set up: {error}"))
    }
}

impl MailUrl {
    pub(super) fn parse(text: &str) -> Result<Self, MailUrlError> {
        let url = Url::parse(text).map_err(|error| wrong(&format!("{error}; {FORM}")))?;
        let is_wrapped = match url.scheme() {
            "smtp" => false,
            "smtps" => true,
            other => return Err(wrong(&format!("{other} is neither smtp nor smtps; {FORM}"))),
        };
        // Part of a password may have been taken for the host or for what follows it.
        let rest = url.path().to_owned() + url.query().unwrap_or_default();
        if url.fragment().is_some() || rest.contains('@') || !matches!(url.path(), "" | "/") {
            return Err(wrong(&format!("nothing but options may follow the host; {FORM}")));
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            Some(Host::Domain(_)) | None => return Err(wrong(&format!("no host; {FORM}"))),
        };
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (user, Some(password)) if !user.is_empty() => {
                Some((decoded(user)?, decoded(password)?))
            }
            _ => return Err(wrong(&format!("user and password go together; {FORM}"))),
        };
        let usual = if is_loopback(&host) { Security::Plain } else { Security::Required };
        let mut security = if is_wrapped { Security::Wrapped } else { usual };
        let mut name = None;
        for (option, value) in url.query_pairs() {
            match (&*option, &*value) {
                ("secure", "true") => security = Security::Wrapped,
                ("requireTLS", "true") if !is_wrapped => security = Security::Required,
                ("opportunisticTLS", "true") if !is_wrapped => security = Security::Opportunistic,
                ("ignoreTLS", "true") if !is_wrapped => security = Security::Plain,
                ("name", host) if is_host(host) => name = Some(host.to_owned()),
                // There is no pool, and what is false changes nothing.
                ("pool", _) => {}
                ("secure", "false") if !is_wrapped => {}
                ("requireTLS" | "opportunisticTLS" | "ignoreTLS", "true" | "false") => {}
                _ => return Err(wrong(OPTIONS)),
            }
        }
        let usual = match security {
            Security::Wrapped => SUBMISSIONS_PORT,
            _ => SUBMISSION_PORT,
        };
        let port = url.port().unwrap_or(usual);
        Ok(Self { host, port, security, credentials, name })
    }
}

const FORM: &str = "write smtp://user:password@host:port or smtps://…, with reserved characters of \
    user and password percent-encoded (# as %23, / as %2F, @ as %40)";

const OPTIONS: &str = "an option that is not known: there are secure, requireTLS, opportunisticTLS \
    and ignoreTLS, each true or false, and name, the host that the server is told";

fn wrong(why: &str) -> MailUrlError {
    MailUrlError(why.to_owned())
}

fn decoded(text: &str) -> Result<String, MailUrlError> {
    let text = percent_decode_str(text).decode_utf8();
    let text = text.map_err(|_| wrong(&format!("user or password is not UTF-8; {FORM}")))?;
    if text.contains('\0') {
        return Err(wrong("user or password has a zero in it"));
    }
    Ok(text.into_owned())
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

fn is_host(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}

/// As [`Display`](fmt::Display): a `main` that returns the error shows this.
impl fmt::Debug for MailUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_security() {
        let table = [
            ("smtp://mail.example", "mail.example", 587, Security::Required),
            ("smtp://mail.example:25/?ignoreTLS=true", "mail.example", 25, Security::Plain),
            (
                "smtp://mail.example?opportunisticTLS=true",
                "mail.example",
                587,
                Security::Opportunistic,
            ),
            (
                "smtp://mail.example?requireTLS=false&pool=true",
                "mail.example",
                587,
                Security::Required,
            ),
            ("smtp://mail.example?secure=true", "mail.example", 465, Security::Wrapped),
            ("smtps://mail.example", "mail.example", 465, Security::Wrapped),
            ("smtps://[2001:db8::1]:1465?ignoreTLS=true", "2001:db8::1", 1465, Security::Wrapped),
            ("smtp://localhost", "localhost", 587, Security::Plain),
            ("smtp://127.0.0.1:25", "127.0.0.1", 25, Security::Plain),
            ("smtp://[::1]:25?requireTLS=true", "::1", 25, Security::Required),
            // Whoever has this name may be anywhere.
            ("smtp://localhost.example", "localhost.example", 587, Security::Required),
        ];
        for (text, host, port, security) in table {
            let url = MailUrl::parse(text).unwrap();
            assert_eq!(
                (url.host.as_str(), url.port, url.security),
                (host, port, security),
                "{text}"
            );
            assert!(url.credentials.is_none());
        }
        let named = MailUrl::parse("smtp://mail.example?name=app.example").unwrap();
        assert_eq!(named.name.as_deref(), Some("app.example"));
    }

    #[test]
    fn reserved_characters_are_percent_encoded() {
        let url =
            MailUrl::parse("smtp://me%40a.example:p%23%2F%3A%40%25%C3%A9@mail.example").unwrap();
        let (user, password) = url.credentials.unwrap();
        assert_eq!((user.as_str(), password.as_str()), ("me@a.example", "p#/:@%é"));
    }

    #[test]
    fn what_is_wrong_is_told_without_the_password() {
        for text in [
            "s3cret",
            "http://me:s3cret@mail.example",
            "smtp://me:s3cret",
            "smtp://me:s3cret@",
            "smtp://me:1s3cret#@mail.example",
            "smtp://me:1234/s3cret@mail.example",
            "smtp://me:1234?s3cret@mail.example",
            "smtp://me:%FFs3cret@mail.example",
            "smtp://me:%00s3cret@mail.example",
            "smtp://:s3cret@mail.example",
            "smtp://s3cret@mail.example",
            "smtp://me:s3cret@mail.example?tls.rejectUnauthorized=false",
            "smtp://me:s3cret@mail.example?name=a%0D%0Ab",
            "smtp://me:s3cret@mail.example:99999",
        ] {
            let error = MailUrl::parse(text).err().unwrap_or_else(|| panic!("{text} is taken"));
            let shown = format!("{error} {error:?}");
            assert!(shown.starts_with("MAIL_URL: ") && !shown.contains("s3cret"), "{shown}");
        }
    }
}
