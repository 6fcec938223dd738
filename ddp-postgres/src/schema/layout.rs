//! A table as described by the database, ready to be published.

use std::sync::Arc;

use ddp_core::FieldName;

use super::Error;
use super::catalog::Family;
use super::name::{fitting, hash, qualified};
use super::parted::Parted;
use crate::compare::Comparable;
use crate::feed::Feed;
use crate::table::Table;
use crate::value::ValueKind;

/// How the SQL for a row reads a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    /// As it is.
    Plain,
    /// `bytea` as base64: `to_json` would follow `bytea_output`, at twice the size.
    Base64,
    /// `timestamptz` as a timestamp in UTC: `to_json` would use the session's time zone.
    Utc,
    /// As text: `to_json` would use the type's own cast.
    Text,
    /// An array of such values, as an array of text.
    Texts,
    /// The name of an object of this catalog, always with its schema.
    Identity(&'static str),
    /// An array of such names, as an array of their numbers.
    Oids,
}

/// How the size of a statement's rows is measured before they become JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// A few bytes at most.
    Small,
    /// `octet_length`, which needs no decompression.
    OctetLength,
    /// `pg_column_size`, which works for every type.
    ColumnSize,
}

/// Settings that a trigger function must set; each costs the writer time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    /// Of numbers, times, intervals and bytes.
    pub(super) common: bool,
    /// The locale of `money`.
    pub(super) money: bool,
    /// Whether all names are quoted.
    pub(super) names: bool,
    /// Whether the word NULL in the text of an array is a null.
    pub(super) nulls: bool,
}

impl Settings {
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            common: self.common || other.common,
            money: self.money || other.money,
            names: self.names || other.names,
            nulls: self.nulls || other.nulls,
        }
    }
}

/// A published column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub(super) name: String,
    pub(super) field: FieldName,
    pub(super) kind: ValueKind,
    pub(super) comparable: Comparable,
    /// The type that constants are cast to: the column's, without a domain's checks or a length
    /// limit.
    pub(super) cast: String,
    pub(super) type_name: String,
    pub(super) nullable: bool,
    /// Whether the field is left out where it is null.
    pub(super) without_nulls: bool,
    pub(super) expression: Expression,
    pub(super) measure: Measure,
    /// The session settings by which `to_json` would write it.
    pub(super) settings: Settings,
}

impl Column {
    /// The column's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the document's field: `_id` for a key of one column.
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
    #[cfg(feature = "__testing")]
    #[must_use]
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// Whether it may be null.
    #[cfg(feature = "__testing")]
    #[must_use]
    pub fn is_nullable(&self) -> bool {
        self.nullable
    }
}

impl Column {
    /// Whether the field is left out where it is null.
    pub(crate) fn is_without_nulls(&self) -> bool {
        self.without_nulls
    }

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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    pub(super) collection: Arc<str>,
    pub(super) schema: String,
    pub(super) table: String,
    pub(super) columns: Vec<Column>,
    /// The indexes of the key columns, in the key's order.
    pub(super) key: Vec<usize>,
    pub(super) rows_max: u32,
    /// Whether the rows are spread over several tables: partitions or children.
    pub(super) tree: bool,
    /// Whether these are partitions.
    pub(super) partitioned: bool,
    /// Whether the database stores text as UTF-8.
    pub(super) utf8: bool,
    /// Whether policies may hide rows from the role that described the table.
    pub(super) row_security: bool,
    /// Whether two rows may have the same key, at least until the transaction ends.
    pub(super) shares_keys: bool,
    /// Whether a foreign key changes a row's key when another row changes or goes.
    pub(super) key_cascades: bool,
    pub(super) hash: String,
    pub(super) channel: String,
    pub(super) relation: String,
    /// The tables besides this one whose changes may be changes of its rows.
    pub(super) family: Family,
    pub(super) parted: Parted,
    pub(super) feed: Feed,
    pub(super) keys_only: bool,
}

/// What [`Layout::new`] needs besides the columns.
pub(super) struct Traits {
    pub(super) rows_max: u32,
    pub(super) tree: bool,
    pub(super) utf8: bool,
    pub(super) row_security: bool,
}

impl Layout {
    /// The caller has checked that the key is not empty and that its columns exist.
    pub(super) fn new(
        collection: &str,
        (schema, table): (&str, &str),
        columns: Vec<Column>,
        key: Vec<usize>,
        traits: Traits,
    ) -> Self {
        let hash = hash(&[schema, table, collection]);
        let Traits { rows_max, tree, utf8, row_security } = traits;
        Self {
            collection: collection.into(),
            schema: schema.to_owned(),
            table: table.to_owned(),
            columns,
            key,
            rows_max,
            tree,
            partitioned: false,
            utf8,
            row_security,
            shares_keys: false,
            key_cascades: false,
            channel: fitting(&format!("ddp_{collection}"), &format!("_{hash}")),
            relation: qualified(schema, table),
            hash,
            family: Family::default(),
            parted: Parted::default(),
            feed: Feed::default(),
            keys_only: false,
        }
    }

    /// Only the names of what is installed for a table, without its columns.
    pub(crate) fn of_names(table: &Table) -> Self {
        let traits = Traits { rows_max: 0, tree: false, utf8: true, row_security: false };
        let names = (table.schema.as_str(), table.name.as_str());
        Self::new(table.collection_name(), names, Vec::new(), Vec::new(), traits)
    }

    /// The feed that the triggers use.
    pub(crate) fn feed(&self) -> Feed {
        self.feed
    }

    /// Whether policies may hide rows from the role that described the table.
    pub(crate) fn has_policies(&self) -> bool {
        self.row_security
    }

    /// Whether its triggers may get rows that only one session sees.
    pub(crate) fn has_temporary_part(&self) -> bool {
        self.family.has_temporary
    }

    /// Whether a table, by its quoted name, is a partition that is being detached.
    pub(super) fn is_leaving(&self, relation: &str) -> bool {
        self.family.leaving.iter().any(|leaving| leaving == relation)
    }

    /// The feed on which nobody listens for the table's changes.
    pub(super) fn other_feed(&self) -> Feed {
        match self.feed {
            Feed::Notify => Feed::Wal,
            Feed::Wal => Feed::Notify,
        }
    }

    /// The error for triggers that use the other feed.
    pub(crate) fn unheard(&self) -> Error {
        let (installed, configured) = (self.other_feed(), self.feed);
        Error::OtherFeed { relation: self.relation.clone(), installed, configured }
    }

    /// The same layout with triggers that use this feed.
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

    /// The channel that the table's triggers notify. At most 63 bytes; must be quoted in `LISTEN`.
    #[must_use]
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// The table's name with its schema, quoted for SQL.
    #[must_use]
    pub fn relation(&self) -> &str {
        &self.relation
    }

    /// The published columns, including the key, in the table's order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The indexes of the key columns, in the key's order; at least one.
    #[must_use]
    pub fn key(&self) -> &[usize] {
        &self.key
    }

    /// The key columns, in the key's order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().map(|number| &self.columns[*number])
    }

    /// The index of the column that alone is the key, and becomes `_id`. `None` if the key has
    /// several columns.
    #[must_use]
    pub fn id_column(&self) -> Option<usize> {
        if let [number] = self.key[..] { Some(number) } else { None }
    }

    /// The index of the column that becomes this field.
    #[must_use]
    pub fn column_of_field(&self, field: &str) -> Option<usize> {
        self.columns.iter().position(|column| &*column.field == field)
    }

    /// Whether the database stores text as UTF-8.
    pub(crate) fn is_utf8(&self) -> bool {
        self.utf8
    }

    /// The column that becomes this field.
    pub(crate) fn column_named(&self, field: &str) -> Option<&Column> {
        self.columns.iter().find(|column| &*column.field == field)
    }

    /// Refuses a table whose broadcasts may contain rows that this role may not see. With keys
    /// only, this server reads the rows itself.
    pub(crate) fn check_row_security(&self) -> Result<(), Error> {
        if self.row_security && !self.sends_keys() {
            return Err(Error::RowSecurity { relation: self.relation.clone() });
        }
        Ok(())
    }
}
