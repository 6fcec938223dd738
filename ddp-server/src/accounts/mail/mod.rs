//! Mails: what they say, and how they leave.

mod message;
#[cfg(feature = "smtp")]
mod smtp;
mod templates;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio::time::timeout;

pub use self::message::Mail;
#[cfg(feature = "smtp")]
pub use self::smtp::{MailUrlError, SmtpMailer};
pub use self::templates::{Letter, MailContext, MailTemplate, MailTemplates};

use super::store::{Purpose, User};
use crate::error::Error;
use crate::log::Log;

/// How many mails that clients caused are under way at most; others are not sent, and logged.
const UNDER_WAY_MAX: usize = 100;

/// How long each of them may take.
const SENT_WITHIN: Duration = Duration::from_secs(60);

/// Sends mails: by SMTP, by the API of a service, or into a test.
pub trait Mailer: Send + Sync + 'static {
    /// Sends a mail. What a client caused is not waited for by the client.
    ///
    /// # Errors
    /// Why it was not sent; the log says so. The text should not have the mail in it.
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), Error>>;
}

/// Writes mails to the log, with their links, at level `info`: Meteor's way without `MAIL_URL`, for
/// development. Whoever reads that log can reset passwords.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogMailer;

impl Mailer for LogMailer {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), Error>> {
        let Mail { to, from, subject, text, .. } = mail;
        tracing::info!(to, from, subject, text, "a mail that no mailer was set for");
        Box::pin(std::future::ready(Ok(())))
    }
}

/// All that mails need.
#[derive(Clone)]
pub(super) struct Mails {
    pub(super) mailer: Arc<dyn Mailer>,
    pub(super) templates: MailTemplates,
    /// With a slash at its end.
    pub(super) root_url: String,
    under_way: Arc<Semaphore>,
}

impl Mails {
    pub(super) fn new(mailer: Arc<dyn Mailer>, templates: MailTemplates, root_url: &str) -> Self {
        let root_url = format!("{}/", root_url.trim_end_matches('/'));
        Self { mailer, templates, root_url, under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)) }
    }

    /// The mail for a token.
    pub(super) fn mail(&self, purpose: Purpose, user: &User, address: &str, token: &str) -> Mail {
        let path = match purpose {
            Purpose::Reset => "reset-password",
            Purpose::Enroll => "enroll-account",
            Purpose::Verify => "verify-email",
        };
        let url = format!("{}#/{path}/{token}", self.root_url);
        let template = self.templates.for_purpose(purpose);
        self.templates.mail(template, &self.root_url, user, address, (&url, None))
    }

    /// The mail for a token to log in, which can be typed or followed as a link.
    pub(super) fn login_token_mail(&self, user: &User, address: &str, sequence: &str) -> Mail {
        let selector = utf8_percent_encode(address, NON_ALPHANUMERIC);
        let url = format!("{}?loginToken={sequence}&selector={selector}", self.root_url);
        let templates = &self.templates;
        let link = (url.as_str(), Some(sequence));
        templates.mail(&templates.send_login_token, &self.root_url, user, address, link)
    }

    /// Does something in the background that no client is to wait for, so that the time it takes tells
    /// nothing. Beyond a number of them it is not done.
    pub(super) fn behind<F>(&self, what: &'static str, log: &Log, work: F)
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let Ok(place) = Arc::clone(&self.under_way).try_acquire_owned() else {
            return not_sent(log, what, "too many are under way: see whether the mailer is slow");
        };
        let log = log.clone();
        tokio::spawn(async move {
            // It must not keep its place for ever.
            match timeout(SENT_WITHIN, work).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => not_sent(&log, what, &error.to_string()),
                Err(_) => not_sent(&log, what, "the mailer took longer than a minute"),
            }
            drop(place);
        });
    }
}

/// Says so in the log, which clients may cause as often as they like.
fn not_sent(log: &Log, what: &str, why: &str) {
    log.line("a mail was not sent", what, why, |what, why, count| {
        tracing::error!(what, why, count, "a mail was not sent");
    });
}

impl fmt::Debug for Mails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mails").field("root_url", &self.root_url).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_mailer_that_hangs_gives_its_places_back() {
        let mails = Mails::new(Arc::new(LogMailer), MailTemplates::default(), "http://localhost");
        let log = Log::default();
        let sends = |mails: &Mails| {
            let (sent, is_sent) = oneshot::channel();
            mails.behind("reset", &log, async move {
                let _ = sent.send(());
                ready(Ok(())).await
            });
            is_sent
        };
        for _ in 0..UNDER_WAY_MAX {
            mails.behind("reset", &log, pending());
        }
        assert!(sends(&mails).await.is_err(), "there is no place");
        tokio::time::sleep(SENT_WITHIN + Duration::from_millis(1)).await;
        assert!(sends(&mails).await.is_ok());
    }
}
