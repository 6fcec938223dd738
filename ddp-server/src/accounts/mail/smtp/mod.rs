//! Mails by SMTP.

mod message;
#[cfg(test)]
mod sink;
#[cfg(test)]
mod tests;
mod url;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{self, AsyncSmtpTransport, AsyncSmtpTransportBuilder};
use lettre::{AsyncTransport, Message, Tokio1Executor};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use self::url::MailUrlError;

use self::message::message;
use self::url::{MailUrl, Security};
use super::{LogMailer, Mail, Mailer};
use crate::error::Error;

/// How many mails are on their way to the server at once; others wait.
const AT_ONCE_MAX: usize = 5;

/// How long a mail may take, with the wait for its turn.
const SENT_WITHIN: Duration = Duration::from_secs(30);

/// The most characters of what a mail server says that are told.
const REPLY_CHARS_MAX: usize = 300;

/// Sends mails by SMTP, to the server that Meteor's `MAIL_URL` names.
///
/// ```no_run
/// use ddp_server::accounts::{Accounts, MailUrlError, MemoryAccounts, SmtpMailer};
///
/// # fn main() -> Result<(), MailUrlError> {
/// let accounts = Accounts::new(MemoryAccounts::new()).mailer(SmtpMailer::from_env()?);
/// # let _ = accounts;
/// # Ok(())
/// # }
/// ```
///
/// The URL is `smtp://user:password@host:port`, or `smtps://…` for TLS from the beginning. Reserved
/// characters of user and password are percent-encoded. The port is 587, with `smtps` 465, unless it
/// is given.
///
/// | option, as in `?requireTLS=true` | |
/// |---|---|
/// | `requireTLS` | no mail without STARTTLS; so it is without any option, but for a server on this machine, which gets mails without TLS |
/// | `opportunisticTLS` | TLS only if the server offers it: whoever is between can prevent that, and read the password |
/// | `ignoreTLS` | no TLS |
/// | `secure` | TLS from the beginning, as with `smtps` |
/// | `name` | the host that this machine is called when it greets the server; its own name without it |
///
/// Certificates are those of the operating system, or of the file that the variable `SSL_CERT_FILE`
/// names. Each mail has a connection of its own, at most 5 at a time, and 30 seconds with the wait
/// for its turn. Errors name host and port, and what the server said; never the password.
///
/// A name, a subject or a header stays within its line, whatever it has in it. Addresses that are not
/// ASCII need a server with `SMTPUTF8`.
#[derive(Clone)]
pub struct SmtpMailer(Option<Arc<Relay>>);

/// A mail server.
struct Relay {
    /// `host:port`.
    name: String,
    transport: AsyncSmtpTransportBuilder,
    turns: Semaphore,
}

impl SmtpMailer {
    /// The server of the variable `MAIL_URL`. If it is not set, or empty, mails are written to the log
    /// as by [`LogMailer`], which is Meteor's way for development.
    ///
    /// # Errors
    /// If it cannot be understood.
    pub fn from_env() -> Result<Self, MailUrlError> {
        match std::env::var("MAIL_URL") {
            Ok(url) if !url.is_empty() => Self::new(&url),
            _ => Ok(Self(None)),
        }
    }

    /// The server of this URL. Nothing is sent yet.
    ///
    /// # Errors
    /// If it cannot be understood, or the program has chosen a provider for rustls that cannot do TLS
    /// 1.2 and 1.3.
    pub fn new(url: &str) -> Result<Self, MailUrlError> {
        Self::open(MailUrl::parse(url)?, TlsParameters::new)
    }

    fn open(
        url: MailUrl,
        tls: impl FnOnce(String) -> Result<TlsParameters, smtp::Error>,
    ) -> Result<Self, MailUrlError> {
        let MailUrl { host, port, security, credentials, name } = url;
        let is_v6 = host.contains(':');
        let name_of_relay =
            if is_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.as_str())
            .port(port)
            .timeout(Some(SENT_WITHIN));
        if security != Security::Plain {
            let tls = tls(host).map_err(|error| MailUrlError::of_tls(&error))?;
            transport = transport.tls(match security {
                Security::Wrapped => Tls::Wrapper(tls),
                Security::Opportunistic => Tls::Opportunistic(tls),
                Security::Required | Security::Plain => Tls::Required(tls),
            });
        }
        if let Some((user, password)) = credentials {
            transport = transport.credentials(Credentials::new(user, password));
        }
        if let Some(name) = name {
            transport = transport.hello_name(ClientId::Domain(name));
        }
        let turns = Semaphore::new(AT_ONCE_MAX);
        Ok(Self(Some(Arc::new(Relay { name: name_of_relay, transport, turns }))))
    }
}

impl Relay {
    async fn send(&self, message: Message) -> Result<(), Error> {
        let sent = timeout(SENT_WITHIN, async {
            let _turn = self.turns.acquire().await;
            // One for each mail: a connection that a mail gave up on is in no known state.
            let transport = self.transport.clone().build::<Tokio1Executor>();
            transport.send(message).await
        });
        let why = match sent.await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => reason(&error),
            Err(_) => format!("not within {} seconds", SENT_WITHIN.as_secs()),
        };
        Err(Error::internal(format!("a mail was not sent by {}: {why}", self.name)))
    }
}

/// Why a mail was not sent. A server that refuses a password may repeat what it was sent, so its words
/// are told only where they are about the mail.
fn reason(error: &smtp::Error) -> String {
    match error.status().map(u16::from) {
        None | Some(421 | 450..=453 | 550..=559) => {
            let text = error.to_string().replace(char::is_control, " ");
            text.chars().take(REPLY_CHARS_MAX).collect()
        }
        Some(code @ (432 | 454 | 530..=539)) => {
            format!("the server refuses user and password of MAIL_URL ({code})")
        }
        Some(code) => format!("the server answers {code}"),
    }
}

impl Mailer for SmtpMailer {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), Error>> {
        let Some(relay) = &self.0 else { return LogMailer.send(mail) };
        Box::pin(async move { relay.send(message(mail)?).await })
    }
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.as_ref().map(|relay| &relay.name);
        f.debug_tuple("SmtpMailer").field(&name).finish()
    }
}
