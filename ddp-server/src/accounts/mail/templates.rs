//! What mails say: Meteor's `Accounts.emailTemplates`.

use std::fmt;
use std::sync::Arc;

use super::message::Mail;
use crate::accounts::store::{Purpose, User};
use crate::ejson::Ejson;

/// What a template is given. `Debug` does not show the link.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct MailContext<'a> {
    /// Whom the mail is for.
    pub user: &'a User,
    /// Where it goes.
    pub address: &'a str,
    /// The link, with the token.
    pub url: &'a str,
    /// The name of the site.
    pub site_name: &'a str,
    /// The token itself, if it can be typed instead of following the link.
    pub sequence: Option<&'a str>,
}

impl MailContext<'_> {
    /// `Hello Ada,` or `Hello,`, by `profile.name`. A name that is no line of at most 100 characters is
    /// left out: a stranger may have chosen it together with the address.
    #[must_use]
    pub fn greeting(&self) -> String {
        let name = self.user.profile.as_ref().and_then(|profile| profile.get("name"));
        match name.and_then(Ejson::as_str) {
            Some(name) if is_name(name) => format!("Hello {name},"),
            _ => "Hello,".to_owned(),
        }
    }
}

fn is_name(text: &str) -> bool {
    !text.contains(char::is_control) && text.chars().take(101).count() <= 100
}

impl fmt::Debug for MailContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailContext")
            .field("user", &self.user.id)
            .field("site_name", &self.site_name)
            .finish_non_exhaustive()
    }
}

/// What a mail says. `Debug` does not show its text, which has a token in it.
#[derive(Clone, Default)]
pub struct Letter {
    /// The subject.
    pub subject: String,
    /// The text.
    pub text: String,
    /// The same as HTML.
    pub html: Option<String>,
    /// A sender of its own.
    pub from: Option<String>,
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Writes a mail.
pub type MailTemplate = Arc<dyn Fn(&MailContext<'_>) -> Letter + Send + Sync>;

/// The templates of all mails, Meteor's at first, each to be replaced.
#[derive(Clone)]
#[non_exhaustive]
pub struct MailTemplates {
    /// The name of the site; without one, the host of the application's address.
    pub site_name: Option<String>,
    /// The sender.
    pub from: String,
    /// For tokens that reset passwords.
    pub reset_password: MailTemplate,
    /// For tokens that set the first password.
    pub enroll_account: MailTemplate,
    /// For tokens that verify addresses.
    pub verify_email: MailTemplate,
    /// For tokens to log in.
    pub send_login_token: MailTemplate,
    /// Further lines of each mail's head.
    pub headers: Vec<(String, String)>,
}

impl Default for MailTemplates {
    fn default() -> Self {
        let letter = |subject: &'static str, sentence: &'static str| -> MailTemplate {
            Arc::new(move |mail| Letter {
                subject: format!("{subject} {}", mail.site_name),
                text: format!(
                    "{}\n\n{sentence}, simply click the link below.\n\n{}\n\nThank you.\n",
                    mail.greeting(),
                    mail.url
                ),
                ..Letter::default()
            })
        };
        Self {
            site_name: None,
            from: "Accounts Example <no-reply@example.com>".to_owned(),
            reset_password: letter("How to reset your password on", "To reset your password"),
            enroll_account: letter(
                "An account has been created for you on",
                "To start using the service",
            ),
            verify_email: letter("How to verify email address on", "To verify your account email"),
            send_login_token: Arc::new(|mail| Letter {
                subject: format!("Your login token for {}", mail.site_name),
                text: format!(
                    "{}\n\nTo log in, enter this token:\n\n{}\n\nYou can click the link below \
                     instead.\n\n{}\n\nThank you.\n",
                    mail.greeting(),
                    mail.sequence.unwrap_or_default(),
                    mail.url
                ),
                ..Letter::default()
            }),
            headers: Vec::new(),
        }
    }
}

impl MailTemplates {
    pub(super) fn for_purpose(&self, purpose: Purpose) -> &MailTemplate {
        match purpose {
            Purpose::Reset => &self.reset_password,
            Purpose::Enroll => &self.enroll_account,
            Purpose::Verify => &self.verify_email,
        }
    }

    pub(super) fn mail(
        &self,
        template: &MailTemplate,
        root_url: &str,
        user: &User,
        address: &str,
        (url, sequence): (&str, Option<&str>),
    ) -> Mail {
        let host = root_url.split_once("://").map_or(root_url, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or(host);
        let site_name = self.site_name.as_deref().unwrap_or(host);
        let letter = template(&MailContext { user, address, url, site_name, sequence });
        Mail {
            to: address.to_owned(),
            from: one_line(letter.from.unwrap_or_else(|| self.from.clone())),
            subject: one_line(letter.subject),
            text: letter.text,
            html: letter.html,
            headers: self.headers.clone(),
        }
    }
}

/// A template may put what a user chose into a line of the head.
fn one_line(text: String) -> String {
    if text.contains(char::is_control) { text.replace(char::is_control, " ") } else { text }
}

impl fmt::Debug for MailTemplates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MailTemplates")
            .field("site_name", &self.site_name)
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}
