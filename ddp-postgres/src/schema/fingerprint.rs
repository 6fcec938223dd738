//! The comments on the installed functions, which describe the messages they send.

use std::fmt;

use super::Layout;
use super::layout::Settings;
use super::name::hash;

/// The newest version of the message format. Raise it when earlier versions would misread the messages.
pub(super) const FORMAT: u32 = 3;
/// That of tables without partitions and children, whose messages say nothing of a family.
const FORMAT_OF_ONE_TABLE: u32 = 2;

/// Stands for the columns if only keys are sent.
const KEYS_ONLY: &str = "keys";

/// What the installed functions of a collection say about themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// The table and the collection, for human readers.
    title: String,
    pub(super) format: u32,
    /// The feed that they use.
    pub(super) feed: String,
    /// How the key is written.
    key: String,
    /// How each column is written, or that only keys are sent.
    columns: Vec<String>,
    /// Everything else about functions and triggers.
    definition: String,
}

impl Layout {
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let short = |parts: &[&str]| hash(parts)[..8].to_owned();
        let column = |column: &super::Column| {
            let is_settled = column.settings == Settings::default();
            let settings = if is_settled { "" } else { "settings" };
            short(&[&column.name, &column.sql("t"), settings])
        };
        Fingerprint {
            title: format!("{} as {}", self.relation(), self.collection()),
            format: if self.tree { FORMAT } else { FORMAT_OF_ONE_TABLE },
            feed: self.feed.name().to_owned(),
            key: short(&[&self.key_json_sql("t")]),
            columns: if self.sends_keys() {
                vec![KEYS_ONLY.to_owned()]
            } else {
                self.columns().iter().map(column).collect()
            },
            definition: hash(&[&self.definition()]),
        }
    }
}

impl Fingerprint {
    /// Reads a comment; `None` if it is not one of ours.
    pub(super) fn parse(comment: &str) -> Option<Self> {
        let (title, rest) = comment.strip_prefix("Tells the changes of ")?.rsplit_once(" (")?;
        let mut parts = rest.strip_suffix(')')?.split(", ");
        let mut part = |name: &str| parts.next()?.strip_prefix(name)?.strip_prefix(' ');
        let format = part("format")?.parse().ok()?;
        // Another format may continue differently.
        if !(FORMAT_OF_ONE_TABLE..=FORMAT).contains(&format) {
            return Some(Self { title: title.to_owned(), format, ..Self::default() });
        }
        Some(Self {
            title: title.to_owned(),
            format,
            feed: part("feed")?.to_owned(),
            key: part("key")?.to_owned(),
            columns: part("columns")?.split(' ').map(str::to_owned).collect(),
            definition: part("definition")?.to_owned(),
        })
    }

    /// The table's quoted name, and the collection.
    pub(super) fn subject(&self) -> Option<(&str, &str)> {
        let mut is_quoted = false;
        let is_end = |(at, c): (usize, char)| {
            is_quoted ^= c == '"';
            (!is_quoted && self.title[at..].starts_with(" as ")).then_some(at)
        };
        let end = self.title.char_indices().find_map(is_end)?;
        Some((&self.title[..end], &self.title[end + " as ".len()..]))
    }

    /// Whether a server that would install `self` can read what `other` sends. Every server can
    /// read keys-only messages; a keys-only server reads nothing else.
    pub(super) fn reads(&self, other: &Self) -> bool {
        self.format == other.format
            && self.feed == other.feed
            && self.key == other.key
            && (other.columns == [KEYS_ONLY]
                || self.columns.iter().all(|column| other.columns.contains(column)))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, format, feed, key, columns, definition } = self;
        let columns = columns.join(" ");
        write!(
            f,
            "Tells the changes of {title} (format {format}, feed {feed}, key {key}, columns {columns}, \
             definition {definition})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::fixture::layout;
    use crate::value::ValueKind;

    #[test]
    fn comments_name_table_and_collection_however_these_are_called() {
        for (table, collection) in
            [("tasks", "tasks"), (r#"a as "b" as c"#, "d as (e) as f"), ("t", "")]
        {
            let table = crate::table::Table::new(table).schema("s as t").collection(collection);
            let layout = Layout::of_names(&table);
            let comment = Fingerprint::parse(&layout.fingerprint().to_string()).unwrap();
            assert_eq!(comment.subject(), Some((layout.relation(), collection)));
        }
    }

    #[test]
    fn comments_survive_and_tell_who_can_read_whose_messages() {
        let id = ("id", ValueKind::Integer);
        let few = layout(std::slice::from_ref(&id), false).fingerprint();
        let more = layout(&[id, ("a", ValueKind::Text)], false).fingerprint();
        let other = layout(&[("a", ValueKind::Text)], false).fingerprint();
        for fingerprint in [&few, &more, &other] {
            assert_eq!(Fingerprint::parse(&fingerprint.to_string()).as_ref(), Some(fingerprint));
        }
        assert!(few.reads(&few) && few.reads(&more));
        assert!(!more.reads(&few) && !more.reads(&other) && !other.reads(&more));
        let mut keys = layout(&[("id", ValueKind::Integer)], false);
        keys.keys_only = true;
        let keys = keys.fingerprint();
        assert!(more.reads(&keys) && !keys.reads(&more));
        let newer = more.to_string().replace("(format 2, feed", "(format 4, whatever");
        let newer = Fingerprint::parse(&newer).unwrap();
        assert!(newer.format == 4 && !few.reads(&newer));
        for comment in
            ["", "Tells the changes of a (format)", "Tells the changes of a (format x, key)"]
        {
            assert_eq!(Fingerprint::parse(comment), None, "{comment}");
        }
    }
}
