//! Describes a table to publish.

pub(crate) mod collection;
pub(crate) mod installation;
mod queue;
mod repeat;
mod retry;
pub(crate) mod secret;
pub(crate) mod tap;
pub(crate) mod watch;

/// How many rows a statement may touch before the collection is read again instead.
const ROWS_MAX: u32 = 10_000;

/// Which columns may be published, besides the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Columns {
    All,
    Named(Vec<String>),
}

/// A table whose rows are published as the documents of a collection.
///
/// It says which columns may be published, by [`columns`](Self::columns) or by
/// [`all_columns`](Self::all_columns). Nothing is checked here: when the server
/// [connects](crate::DbBuilder::connect), it looks up the columns' types and checks that the table
/// can be published.
///
/// ```
/// use ddp_postgres::Table;
///
/// let tasks = Table::new("tasks")
///     .columns(["title", "done", "list_id", "created_at"])
///     .camel_case()
///     .rows_max(1_000);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Table {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) collection: Option<String>,
    pub(crate) key: Option<Vec<String>>,
    pub(crate) columns: Option<Columns>,
    pub(crate) camel_case: bool,
    pub(crate) renamed: Vec<(String, String)>,
    pub(crate) ejson: Vec<String>,
    pub(crate) string_ids: bool,
    pub(crate) string_id_columns: Vec<String>,
    pub(crate) date_columns_as_dates: bool,
    pub(crate) without_nulls: bool,
    pub(crate) rows_max: u32,
    pub(crate) keys_only: bool,
}

impl Table {
    /// A table of the schema `public`, published as the collection of the same name.
    ///
    /// Names are case-sensitive, as PostgreSQL stores them: `Tasks` is the table created as
    /// `"Tasks"`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            schema: "public".to_owned(),
            name: name.into(),
            collection: None,
            key: None,
            columns: None,
            camel_case: false,
            renamed: Vec::new(),
            ejson: Vec::new(),
            string_ids: false,
            string_id_columns: Vec::new(),
            date_columns_as_dates: false,
            without_nulls: false,
            rows_max: ROWS_MAX,
            keys_only: false,
        }
    }

    /// The schema that holds the table.
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.schema = schema.into();
        self
    }

    /// The name of the collection, if it is not the table's.
    pub fn collection(mut self, collection: impl Into<String>) -> Self {
        self.collection = Some(collection.into());
        self
    }

    /// The column that becomes `_id`, if it is not the primary key. It must be `NOT NULL` and
    /// have a unique index of its own.
    pub fn key(self, column: impl Into<String>) -> Self {
        self.key_columns([column])
    }

    /// The columns that make up the key, if they are not the primary key. They must be `NOT NULL`
    /// and have a unique index of their own.
    ///
    /// If the key has several columns, `_id` is the text of a JSON array of their values, such as
    /// `[1,"a"]`, in this order or in the primary key's. The columns are fields as well, so queries
    /// can filter on them, but not on `_id`.
    pub fn key_columns(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.key = Some(columns.into_iter().map(Into::into).collect());
        self
    }

    /// The columns that may be published; those of the key always are.
    ///
    /// Other columns never leave the database, not even for another server. The last call of this
    /// and of [`all_columns`](Self::all_columns) holds. Without either,
    /// [`connect`](crate::DbBuilder::connect) fails, and its error lists the columns that there are.
    pub fn columns(mut self, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.columns = Some(Columns::Named(columns.into_iter().map(Into::into).collect()));
        self
    }

    /// Publishes all columns, and those that are added while the server runs.
    ///
    /// A column that is named like a secret (`password_hash`, `apiKey`, …) is a warning in the log.
    pub fn all_columns(mut self) -> Self {
        self.columns = Some(Columns::All);
        self
    }

    /// Names fields as JavaScript does: the column `list_id` becomes the field `listId`.
    pub fn camel_case(mut self) -> Self {
        self.camel_case = true;
        self
    }

    /// Names the field of one column.
    pub fn rename(mut self, column: impl Into<String>, field: impl Into<String>) -> Self {
        self.renamed.push((column.into(), field.into()));
        self
    }

    /// Sends an integer key as a string: the `_id` of row 1 is `"1"` instead of the number 1.
    ///
    /// For clients that do not know Meteor's rule for ids, which see such a number as `~1`, and for
    /// code that compares ids with strings, such as route parameters. Predicates on `_id` take strings
    /// as well as numbers. Columns that refer to such a key are named by
    /// [`string_id_columns`](Self::string_id_columns).
    pub fn string_ids(mut self) -> Self {
        self.string_ids = true;
        self
    }

    /// Sends these columns as strings, too: foreign keys that are integers, or arrays of integers,
    /// and refer to a table with [`string_ids`](Self::string_ids).
    ///
    /// Predicates on them take strings as well as numbers. A string that is not written like an
    /// integer (`"x"`, `"01"`) is no id, which compares as NULL does. The order is that of the
    /// numbers: `"9"` is less than `"10"`. Patterns (`like`, `starts_with`) are refused, as for other
    /// integers. A key of several columns keeps its `_id`, such as `[1,"a"]`.
    ///
    /// ```
    /// # use ddp_postgres::Table;
    /// let lists = Table::new("lists").columns(["title"]).string_ids();
    /// let tasks = Table::new("tasks")
    ///     .columns(["list_id", "watcher_ids", "title"])
    ///     .camel_case()
    ///     .string_ids()
    ///     .string_id_columns(["list_id", "watcher_ids"]);
    /// ```
    pub fn string_id_columns(
        mut self,
        columns: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.string_id_columns.extend(columns.into_iter().map(Into::into));
        self
    }

    /// Sends columns of type `date` as dates at midnight UTC instead of as strings such as
    /// `"2024-02-29"`. A calendar date is not an instant: west of Greenwich it shows as the day
    /// before.
    pub fn date_columns_as_dates(mut self) -> Self {
        self.date_columns_as_dates = true;
        self
    }

    /// Says that a `json` or `jsonb` column holds EJSON, so that `{"$date": 0}` in it reaches
    /// clients as a date. Without this they read exactly the JSON that is stored.
    pub fn ejson(mut self, column: impl Into<String>) -> Self {
        self.ejson.push(column.into());
        self
    }

    /// Leaves out fields that are NULL, as Meteor's documents do not have what nobody has set. Otherwise
    /// they are `null`.
    ///
    /// Predicates do not tell the two apart: nothing equals NULL in either case.
    pub fn without_nulls(mut self) -> Self {
        self.without_nulls = true;
        self
    }

    /// How many rows a statement may touch before its rows are no longer broadcast; servers read
    /// the collection again instead. 10,000 unless set.
    pub fn rows_max(mut self, rows: u32) -> Self {
        self.rows_max = rows;
        self
    }

    /// Broadcasts only the keys of inserted and updated rows. Use it if some roles that can connect
    /// must not see the rows, because any of them can listen. Each server reads the rows itself,
    /// with one SELECT for each transaction that changes the table while it is observed, or for up to
    /// 1,000 rows of several that wait. A row is shown as it is when read, which may be newer than the
    /// transaction.
    ///
    /// The [`wal`](crate::Feed::Wal) feed still sends whole rows: only roles that may replicate can
    /// read it.
    pub fn keys_only(mut self) -> Self {
        self.keys_only = true;
        self
    }

    /// The name of the collection.
    pub(crate) fn collection_name(&self) -> &str {
        self.collection.as_deref().unwrap_or(&self.name)
    }

    /// The name of the field that a column other than the key becomes.
    pub(crate) fn field_name(&self, column: &str) -> String {
        let renamed = self.renamed.iter().rev().find(|(renamed, _)| renamed == column);
        match renamed {
            Some((_, field)) => field.clone(),
            None if self.camel_case => camel_case(column),
            None => column.to_owned(),
        }
    }
}

/// `list_id` as `listId`. Underscores at the start and the end stay.
fn camel_case(column: &str) -> String {
    let leading = column.len() - column.trim_start_matches('_').len();
    let trailing = column.trim_end_matches('_').len().max(leading);
    let (start, end) = (&column[..leading], &column[trailing..]);
    let mut name = start.to_owned();
    for (index, word) in column[leading..trailing].split('_').filter(|w| !w.is_empty()).enumerate()
    {
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if index > 0 => name.extend(first.to_uppercase().chain(letters)),
            _ => name.push_str(word),
        }
    }
    name.push_str(end);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn camel_case_names() {
        for (column, field) in [
            ("list_id", "listId"),
            ("created_at", "createdAt"),
            ("title", "title"),
            ("_private_note_", "_privateNote_"),
            ("a__b", "aB"),
            ("___", "___"),
            ("", ""),
            ("x_ß_é", "xSSÉ"),
            ("alreadyCamel", "alreadyCamel"),
        ] {
            assert_eq!(camel_case(column), field, "{column}");
        }
    }

    #[test]
    fn the_last_rename_of_a_column_holds() {
        let table = Table::new("tasks").camel_case().rename("list_id", "a").rename("list_id", "b");
        assert_eq!(table.field_name("list_id"), "b");
        assert_eq!(table.field_name("done_at"), "doneAt");
        assert_eq!(table.collection_name(), "tasks");
        assert_eq!(table.collection("todos").collection_name(), "todos");
    }
}
