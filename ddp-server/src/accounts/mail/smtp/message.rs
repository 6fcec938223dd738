//! Makes the bytes of a mail.
//!
//! Whatever a name, a subject or a header has in it, it stays within its line: control characters
//! become spaces, and addresses with one are refused.

use lettre::address::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MessageBuilder, MultiPart, SinglePart};

use crate::accounts::mail::Mail;
use crate::error::Error;
use crate::random;

/// The lines that a mail has anyway, which headers of one's own cannot set.
const OWN: [&str; 10] = [
    "from",
    "to",
    "cc",
    "bcc",
    "sender",
    "subject",
    "date",
    "message-id",
    "mime-version",
    "received",
];

pub(super) fn message(mail: Mail) -> Result<Message, Error> {
    let Mail { to, from, subject, text, html, headers } = mail;
    let from = mailbox(&from)?;
    let id = format!("<{}@{}>", random::id(), from.email.domain());
    let mut message = Message::builder()
        .from(from)
        .to(Mailbox::new(None, address(&to)?))
        .subject(one_line(&subject))
        .message_id(Some(id))
        .date_now();
    for (name, value) in &headers {
        message = header(message, name, value)?;
    }
    let message = match (text.is_empty(), html) {
        (true, Some(html)) => message.singlepart(SinglePart::html(html)),
        (false, Some(html)) => message.multipart(MultiPart::alternative_plain_html(text, html)),
        (_, None) => message.singlepart(SinglePart::plain(text)),
    };
    message.map_err(|error| Error::internal(format!("a mail cannot be written: {error}")))
}

fn header(message: MessageBuilder, name: &str, value: &str) -> Result<MessageBuilder, Error> {
    let lower = name.to_ascii_lowercase();
    if lower == "reply-to" {
        return Ok(message.reply_to(mailbox(value)?));
    }
    if OWN.contains(&&*lower) || lower.starts_with("content-") {
        let text = format!("a mail has its own {name}, which the headers of templates cannot set");
        return Err(Error::internal(text));
    }
    let is_name =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    let name = Some(name).filter(|_| is_name);
    let name = name.and_then(|name| HeaderName::new_from_ascii(name.to_owned()).ok());
    let name = name.ok_or_else(|| {
        let text =
            "the name of a header of a mail has 1 to 76 visible characters of ASCII, and no colon";
        Error::internal(text)
    })?;
    Ok(message.raw_header(HeaderValue::new(name, one_line(value))))
}

/// `name <address>`, or an address alone.
fn mailbox(text: &str) -> Result<Mailbox, Error> {
    let text = text.trim();
    let Some((name, rest)) = text.rsplit_once('<') else {
        return Ok(Mailbox::new(None, address(text)?));
    };
    let Some(inner) = rest.strip_suffix('>') else { return Err(no_address(text)) };
    let name = name.trim();
    let name = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')).unwrap_or(name);
    let name = Some(one_line(name)).filter(|name| !name.is_empty());
    Ok(Mailbox::new(name, address(inner)?))
}

fn address(text: &str) -> Result<Address, Error> {
    if text.contains(|letter: char| letter.is_control() || letter.is_whitespace()) {
        return Err(no_address(text));
    }
    text.parse().map_err(|_| no_address(text))
}

fn no_address(text: &str) -> Error {
    Error::internal(format!("no address that mails can have: {text:?}"))
}

fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail() -> Mail {
        Mail {
            to: "ada@example.com".to_owned(),
            from: "The Site <no-reply@example.com>".to_owned(),
            subject: "Hello".to_owned(),
            text: "A text".to_owned(),
            html: None,
            headers: Vec::new(),
        }
    }

    fn head(mail: Mail) -> String {
        let bytes = message(mail).unwrap().formatted();
        let text = String::from_utf8(bytes).unwrap();
        text.split_once("\r\n\r\n").unwrap().0.to_owned()
    }

    /// The names of the lines of a head.
    fn names(head: &str) -> Vec<&str> {
        let lines = head.lines().filter(|line| !line.starts_with([' ', '\t']));
        lines.map(|line| line.split(':').next().unwrap()).collect()
    }

    #[test]
    fn no_text_leaves_its_line() {
        let usual = head(mail());
        let odd = Mail {
            from: "\"The\r\nBcc: evil@example.com\r\n Site\" <no-reply@example.com>".to_owned(),
            subject: "Hello\r\nBcc: evil@example.com\r\n\r\nA body\n.\r\nQUIT".to_owned(),
            headers: vec![("X-Site".to_owned(), "a\r\nBcc: evil@example.com\n\nb\0".to_owned())],
            ..mail()
        };
        let odd = head(odd);
        let mut expected = names(&usual);
        expected.push("X-Site");
        expected.sort_unstable();
        let mut found = names(&odd);
        found.sort_unstable();
        assert_eq!(found, expected, "{odd}");
        assert!(odd.is_ascii());
    }

    #[test]
    fn addresses_and_names_of_headers_are_checked() {
        for to in ["a@b.c\r\nBcc: x@y.z", "a@b.c, x@y.z", "a b@c.d", "a", "", "<a@b.c>", "a@b.c>"] {
            assert!(message(Mail { to: to.to_owned(), ..mail() }).is_err(), "{to:?}");
        }
        for from in ["a <b@c.d", "a <b@c.d\r\n>", "<>", "a <b@c.d> e"] {
            assert!(message(Mail { from: from.to_owned(), ..mail() }).is_err(), "{from:?}");
        }
        for name in ["", "X: a\r\nBcc", "X\r\nBcc", "X Y", "é", "Bcc", "TO", "content-type"] {
            let headers = vec![(name.to_owned(), "x@y.z".to_owned())];
            assert!(message(Mail { headers, ..mail() }).is_err(), "{name:?}");
        }
    }

    #[test]
    fn names_and_subjects_are_in_any_script() {
        let mail = Mail {
            from: "Zoë, the \"Site\" <no-reply@example.com>".to_owned(),
            subject: "Přihlášení — 登录".to_owned(),
            headers: vec![("reply-to".to_owned(), "Zoë <help@example.com>".to_owned())],
            ..mail()
        };
        let head = head(mail);
        assert!(head.is_ascii(), "{head}");
        let line =
            |name: &str| head.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(line("Subject: ").contains("=?utf-8?b?"), "{head}");
        assert!(line("From: ").contains("=?utf-8?b?") && head.contains("<no-reply@example.com>"));
        assert!(line("Reply-To: ").ends_with("<help@example.com>"), "{head}");
        assert!(line("Message-ID: ").ends_with("@example.com>"), "{head}");
    }
}
