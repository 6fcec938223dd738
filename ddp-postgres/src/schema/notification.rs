//! The payloads that triggers send: header and body.
//!
//! ```text
//! payload   = xid ' ' sequence ' ' part ' ' parts ' ' operation [family] ' ' body
//! xid       = the transaction's 64-bit id, in decimal digits
//! sequence  = 1, 2, … for each operation on the collection within the transaction; negative if the
//!             operation and the one before it may have been done in another order
//! part      = 1, 2, … parts; the bodies of all parts make up the operation's
//! operation = 'u' upsert: rows as JSON objects, separated by commas
//!           | 'k' keys: of rows that were upserted, as for 'd'; the rows are to be read
//!           | 'd' delete: keys as JSON values, separated by commas
//!           | 't' truncate: no body
//!           | 'r' requery: no body; rows changed, too many to say which
//! family    = a number for the table and all its partitions or children, if it may have some: whoever
//!             knows of other tables cannot tell whether the rows are still there
//! ```
//!
//! For example `7421 1 1 1 u {"id":7,"title":"milk"},{"id":8,"title":"bread"}`.

use serde_json::value::RawValue;

/// The kind of change in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OperationKind {
    /// Rows were inserted or updated.
    Upsert,
    /// Rows were inserted or updated; only their keys are sent.
    Keys,
    /// Rows were deleted, or their keys changed.
    Delete,
    /// All rows were removed at once.
    Truncate,
    /// More changed than a payload can hold.
    Requery,
}

impl OperationKind {
    fn letter(self) -> char {
        match self {
            Self::Upsert => 'u',
            Self::Keys => 'k',
            Self::Delete => 'd',
            Self::Truncate => 't',
            Self::Requery => 'r',
        }
    }

    fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "u" => Some(Self::Upsert),
            "k" => Some(Self::Keys),
            "d" => Some(Self::Delete),
            "t" => Some(Self::Truncate),
            "r" => Some(Self::Requery),
            _ => None,
        }
    }
}

/// One payload: an operation, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notification<'a> {
    /// The transaction, by its 64-bit id.
    pub xid: u64,
    /// The operation's number among the transaction's on this collection, from 1.
    pub sequence: u32,
    /// Whether the operation and the one before it may have been done in another order, as parts of
    /// one statement.
    pub is_same_statement: bool,
    /// Which part of the operation, from 1 to `parts`.
    pub part: u32,
    /// How many parts the operation has.
    pub parts: u32,
    /// What kind of operation it is.
    pub kind: OperationKind,
    /// The number of the family of tables that had rows of the collection.
    pub family: Option<i64>,
    /// This part of the operation's body.
    pub body: &'a str,
}

/// A payload or body that no trigger would send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0} in a notification")]
pub(crate) struct MalformedNotification(&'static str);

impl<'a> Notification<'a> {
    /// Reads a payload.
    ///
    /// # Errors
    ///
    /// If it does not have the form above.
    pub(crate) fn parse(payload: &'a str) -> Result<Self, MalformedNotification> {
        let mut words = payload.splitn(6, ' ');
        let mut word = |name| words.next().ok_or(MalformedNotification(name));
        let xid = number(word("xid")?, "xid")?;
        let sequence = word("sequence")?;
        let after = sequence.strip_prefix('-');
        let (part, parts) = (number(word("part")?, "part")?, number(word("parts")?, "parts")?);
        let operation = word("operation")?;
        let (letter, family) = operation.split_at(usize::from(operation.is_char_boundary(1)));
        let notification = Self {
            xid,
            sequence: number(after.unwrap_or(sequence), "sequence")?,
            is_same_statement: after.is_some(),
            part,
            parts,
            kind: OperationKind::from_letter(letter).ok_or(MalformedNotification("operation"))?,
            family: family_number(family)?,
            body: word("body")?,
        };
        if notification.sequence == 0 {
            return Err(MalformedNotification("sequence"));
        }
        if notification.part == 0 || notification.part > notification.parts {
            return Err(MalformedNotification("part"));
        }
        Ok(notification)
    }

    /// The inverse of [`parse`](Self::parse).
    #[must_use]
    pub(crate) fn payload(&self) -> String {
        let Self { xid, sequence, is_same_statement, part, parts, kind, family, body } = self;
        let sign = if *is_same_statement { "-" } else { "" };
        let family = family.map_or_else(String::new, |family| family.to_string());
        format!("{xid} {sign}{sequence} {part} {parts} {}{family} {body}", kind.letter())
    }
}

/// Accepts digits only: Rust's own parser would allow a sign.
fn number<N: std::str::FromStr>(
    word: &str,
    name: &'static str,
) -> Result<N, MalformedNotification> {
    let digits = word.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| word.parse().ok()).flatten().ok_or(MalformedNotification(name))
}

/// The number of a family, or nothing.
pub(crate) fn family_number(word: &str) -> Result<Option<i64>, MalformedNotification> {
    if word.is_empty() {
        return Ok(None);
    }
    let malformed = || MalformedNotification("family");
    let is_signed = word.starts_with('+');
    word.parse().ok().filter(|_| !is_signed).map(Some).ok_or_else(malformed)
}

/// A complete operation, joined from its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    /// The new rows, each as the text of a JSON object.
    Upsert(Vec<&'a str>),
    /// The keys of new or changed rows, each as the text of a JSON value.
    Keys(Vec<&'a str>),
    /// The keys of deleted rows, each as the text of a JSON value.
    Delete(Vec<&'a str>),
    /// All rows were removed.
    Truncate,
    /// The collection must be read again.
    Requery,
}

impl<'a> Operation<'a> {
    /// Parses a body.
    ///
    /// # Errors
    ///
    /// If the body is not a list of JSON values.
    pub(crate) fn parse(kind: OperationKind, body: &'a str) -> Result<Self, MalformedNotification> {
        match kind {
            OperationKind::Upsert => Ok(Self::Upsert(values(body)?)),
            OperationKind::Keys => Ok(Self::Keys(values(body)?)),
            OperationKind::Delete => Ok(Self::Delete(values(body)?)),
            OperationKind::Truncate => Ok(Self::Truncate),
            OperationKind::Requery => Ok(Self::Requery),
        }
    }
}

/// The JSON values of a list without its brackets.
fn values(body: &str) -> Result<Vec<&str>, MalformedNotification> {
    let malformed = || MalformedNotification("body");
    let mut values = Vec::new();
    let mut rest = body;
    loop {
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>();
        let value = stream.next().and_then(Result::ok).ok_or_else(malformed)?;
        values.push(value.get());
        let after = rest.get(stream.byte_offset()..).ok_or_else(malformed)?.trim_start();
        if after.is_empty() {
            return Ok(values);
        }
        rest = after.strip_prefix(',').ok_or_else(malformed)?;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_a_payload() {
        let notification =
            Notification::parse("18446744073709551615 2 1 3 u {\"a\": \"b c\"}").unwrap();
        assert_eq!(notification.xid, u64::MAX);
        assert_eq!((notification.sequence, notification.part, notification.parts), (2, 1, 3));
        assert_eq!(notification.body, "{\"a\": \"b c\"}");
        assert!(!notification.is_same_statement);
        assert_eq!(Notification::parse("5 1 1 1 t ").unwrap().kind, OperationKind::Truncate);
        let same = Notification::parse("5 -3 1 1 d 1").unwrap();
        assert_eq!((same.sequence, same.is_same_statement), (3, true));
        assert_eq!((same.family, same.body), (None, "1"));
        let of_tree = Notification::parse("5 1 1 1 d-9223372036854775808 1").unwrap();
        assert_eq!((of_tree.family, of_tree.body), (Some(i64::MIN), "1"));
    }

    #[test]
    fn refuses_other_payloads() {
        for payload in [
            "",
            " ",
            "1 1 1 1 u",
            "1 0 1 1 t ",
            "1 1 0 1 t ",
            "1 1 2 1 t ",
            "+1 1 1 1 t ",
            "-1 1 1 1 t ",
            "1 -0 1 1 t ",
            "1 --1 1 1 t ",
            "1 - 1 1 t ",
            "1 1 -1 1 t ",
            "1 1 1 1 x ",
            "1 1 1 1  ",
            "1 1 1 1 é ",
            "1 1 1 1 u+5 {}",
            "1 1 1 1 u- {}",
            "1 1 1 1 u9223372036854775808 {}",
            "1 4294967296 1 1 t ",
            "18446744073709551616 1 1 1 t ",
            "é 1 1 1 t ",
        ] {
            assert!(Notification::parse(payload).is_err(), "{payload}");
        }
    }

    #[test]
    fn takes_bodies_apart() {
        let body = r#"{"a":"},{"} , {"a":[1,2]}"#;
        let rows = vec![r#"{"a":"},{"}"#, r#"{"a":[1,2]}"#];
        assert_eq!(Operation::parse(OperationKind::Upsert, body), Ok(Operation::Upsert(rows)));
        let keys = Operation::parse(OperationKind::Delete, r#"1,"two",3"#);
        assert_eq!(keys, Ok(Operation::Delete(vec!["1", "\"two\"", "3"])));
        for body in ["", ",", "1,", "1 2", "1,,2", "{", "nul", "\"a"] {
            assert!(Operation::parse(OperationKind::Delete, body).is_err(), "{body}");
        }
    }

    proptest! {
        #[test]
        fn payloads_survive(xid: u64, sequence in 1..=u32::MAX, is_same_statement: bool,
                            part in 1..50u32, more in 0..50u32, family: Option<i64>, body: String) {
            let parts = part + more;
            let kind = OperationKind::Upsert;
            let body = &*body;
            let notification =
                Notification { xid, sequence, is_same_statement, part, parts, kind, family, body };
            let payload = notification.payload();
            prop_assert_eq!(Notification::parse(&payload), Ok(notification));
        }

        #[test]
        fn no_text_panics(text: String, number: u8) {
            let _ = Notification::parse(&text);
            let _ = Notification::parse(&format!("{number} 1 1 1 u {text}"));
            let _ = Operation::parse(OperationKind::Upsert, &text);
        }
    }
}
