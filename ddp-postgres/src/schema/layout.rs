//! A table as the database knows it, ready to be published.

use std::sync::Arc;

use ddp_core::FieldName;

use super::name::{fitting, hash, quoted};
use crate::compare::Comparable;
use crate::feed::Feed;
use crate::value::ValueKind;

/// How the row's SQL reads a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// As it is.
    Plain,
    /// `bytea` as base64: `to_json` would write it as `bytea_output` says, at twice the size.
    Base64,
    /// `timestamptz` as the timestamp in UTC: `to_json` would write it in the session's time zone.
    Utc,
}

/// How a statement's rows are measured before their JSON is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// A few bytes at most.
    Small,
    /// `octet_length`, which needs no decompression.
    OctetLength,
    /// `pg_column_size`, which works for every type.
    ColumnSize,
}

/// A published column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    pub(super) name: String,
    pub(super) field: FieldName,
    pub(super) kind: ValueKind,
    pub(super) comparable: Comparable,
    /// The type that constants are cast to: the column's, without a domain's checks or a length.
    pub(super) cast: String,
    pub(super) type_name: String,
    pub(super) nullable: bool,
    pub(super) expression: Expression,
    pub(super) measure: Measure,
    /// Whether `to_json` writes it as the session's settings say.
    pub(super) needs_settings: bool,
}

impl Column {
    /// The column's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the document's field: `_id` for the key.
    #[must_use]
    pub fn field(&self) -> &FieldName {
        &self.field
    }

    /// How its values become EJSON.
    #[must_use]
    pub fn kind(&self) -> &ValueKind {
        &self.kind
    }

    /// Its type as SQL writes it, such as `character varying(20)`.
    #[must_use]
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// Whether it may be null.
    #[must_use]
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }
}

impl Column {
    /// How the column's values compare.
    pub(crate) fn comparable(&self) -> &Comparable {
        &self.comparable
    }

    /// The type that a constant is cast to in order to be compared, as SQL writes it.
    pub(crate) fn cast(&self) -> &str {
        &self.cast
    }
}

/// A published table: its columns, and the names of everything that is installed for it.
///
/// [`describe`](super::describe()) makes one.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(super) collection: Arc<str>,
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) columns: Vec<Column>,
    pub(super) key: usize,
    pub(super) string_ids: bool,
    pub(super) rows_max: u32,
    /// Whether rows may move between partitions, which row triggers see as something else.
    pub(super) partitioned: bool,
    /// Whether the database stores text as UTF-8.
    pub(super) utf8: bool,
    pub(super) hash: String,
    pub(super) channel: String,
    pub(super) relation: String,
    pub(super) feed: Feed,
    pub(super) keys_only: bool,
}

/// What [`Layout::new`] needs besides the columns.
pub(super) struct Traits {
    pub(super) string_ids: bool,
    pub(super) rows_max: u32,
    pub(super) partitioned: bool,
    pub(super) utf8: bool,
}

impl Layout {
    /// The caller has checked that there is a column of the key's number.
    pub(super) fn new(
        collection: &str,
        (schema, table): (&str, &str),
        columns: Vec<Column>,
        key: usize,
        traits: Traits,
    ) -> Self {
        let hash = hash(&[schema, table, collection]);
        let Traits { string_ids, rows_max, partitioned, utf8 } = traits;
        Self {
            collection: collection.into(),
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns,
            key,
            string_ids,
            rows_max,
            partitioned,
            utf8,
            channel: fitting(&format!("ddp_{collection}"), &format!("_{hash}")),
            relation: format!("{}.{}", quoted(schema), quoted(table)),
            hash,
            feed: Feed::default(),
            keys_only: false,
        }
    }

    /// The same with triggers that send by this feed.
    #[must_use]
    pub fn with_feed(mut self, feed: Feed) -> Self {
        self.feed = feed;
        self
    }

    /// The name of the collection.
    #[must_use]
    pub fn collection(&self) -> &Arc<str> {
        &self.collection
    }

    /// The channel that the table's triggers notify. At most 63 bytes; to be quoted in `LISTEN`.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The table's name with its schema, quoted for SQL.
    #[must_use]
    pub fn relation(&self) -> &str {
        &self.relation
    }

    /// The published columns, the key among them, in the table's order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Which of the columns is the key.
    #[must_use]
    pub fn key_index(&self) -> usize {
        self.key
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &Column {
        &self.columns[self.key]
    }

    /// The number of the column that becomes this field.
    #[must_use]
    pub fn column_of_field(&self, field: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.field == field)
    }

    /// The column that becomes this field.
    pub(crate) fn column_named(&self, field: &str) -> Option<&Column> {
        self.columns.iter().find(|column| &*column.field == field)
    }

    /// Whether integer keys travel as strings.
    #[must_use]
    pub fn string_ids(&self) -> bool {
        self.string_ids
    }
}
