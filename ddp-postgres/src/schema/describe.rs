//! Checks an application's description of tables against the database.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Client;

use super::Error;
use super::catalog::{
    self, ColumnEntry, Family, IndexEntry, MemberKeys, RelationEntry, TypeEntry, Types,
};
use super::comparable::Comparables;
use super::form::form;
use super::layout::{Column, Expression, Layout, Measure, Settings, Traits};
use super::name::{qualified, quoted};
use super::parted::{self, Parted};
use crate::nearest::did_you_mean;
use crate::table::secret::is_named_like_a_secret;
use crate::table::{Columns, Table};
use crate::value::ValueKind;

/// Limits recursion: composites may contain themselves through arrays.
const TYPE_DEPTH_MAX: u32 = 16;

/// What the catalogs say about some tables.
pub(crate) struct Catalogs {
    relations: HashMap<(String, String), RelationEntry>,
    columns: HashMap<u32, Vec<ColumnEntry>>,
    indexes: HashMap<u32, Vec<IndexEntry>>,
    member_keys: HashMap<u32, Vec<MemberKeys>>,
    cascading: HashMap<u32, Vec<String>>,
    families: HashMap<u32, Family>,
    parted: HashMap<u32, Parted>,
    /// Those to which a subscription applies rows, each with its member and the subscription.
    subscribed: HashMap<u32, (String, String)>,
    types: Types,
    lowering: HashSet<String>,
}

/// Finds a table in the database, and the types of its columns.
///
/// # Errors
///
/// If there is no such table, or it cannot be published as described.
pub async fn describe(client: &Client, table: &Table) -> Result<Layout, Error> {
    Catalogs::read(client, std::slice::from_ref(table)).await?.describe(table)
}

impl Catalogs {
    /// Reads what [`describe`](Self::describe) needs about these tables.
    pub(crate) async fn read(
        client: &Client,
        tables: &[Table],
    ) -> Result<Self, tokio_postgres::Error> {
        let names = tables.iter().map(|table| (table.schema.as_str(), table.name.as_str()));
        let relations = catalog::relations(client, names).await?;
        let of_tables = relations.values().filter(|relation| relation.is_table());
        let oids: Vec<u32> = of_tables.map(|relation| relation.oid).collect();
        // They go out together.
        let (columns, indexes, member_keys, cascading, families, parted, subscribed) = futures::try_join!(
            catalog::columns(client, &oids),
            catalog::unique_indexes(client, &oids),
            catalog::member_keys(client, &oids),
            catalog::cascading_columns(client, &oids),
            catalog::families(client, &oids),
            parted::parted(client, &oids),
            catalog::subscribed(client, &oids),
        )?;
        let (types, lowering) = futures::try_join!(
            Types::of(client, columns.values().flatten()),
            catalog::lowering(client, columns.values().flatten()),
        )?;
        Ok(Self {
            relations,
            columns,
            indexes,
            member_keys,
            cascading,
            families,
            parted,
            subscribed,
            types,
            lowering,
        })
    }

    /// One of the tables, as it is to be published.
    pub(crate) fn describe(&self, table: &Table) -> Result<Layout, Error> {
        let relation = qualified(&table.schema, &table.name);
        let found = self.relations.get(&(table.schema.clone(), table.name.clone()));
        let Some(found) = found else {
            return Err(Error::NoTable { relation, remedy: remedy(&table.name) });
        };
        match found {
            _ if found.is_partition => return Err(Error::Partition { relation }),
            _ if found.is_temporary => return Err(Error::Temporary { relation }),
            _ if !found.is_table() => return Err(Error::NotATable { relation }),
            _ => {}
        }
        let mut family = self.families.get(&found.oid).cloned().unwrap_or_default();
        if let Some(member) = family.foreign.take() {
            return Err(Error::ForeignPart { relation, member });
        }
        if let Some((member, subscription)) = self.subscribed.get(&found.oid).cloned() {
            return Err(Error::Subscribed { relation, member, subscription });
        }
        let all = self.columns.get(&found.oid).map_or(&[][..], Vec::as_slice);
        let indexes = self.indexes.get(&found.oid).map_or(&[][..], Vec::as_slice);
        let key = find_key(table, &relation, all, indexes)?;
        let mut members = self.member_keys.get(&found.oid).into_iter().flatten();
        let shares_keys = members.any(|member| member.may_repeat(&key));
        let mut cascading = self.cascading.get(&found.oid).into_iter().flatten();
        let key_cascades = cascading.any(|column| key.contains(column));
        check_names(table, &relation, all)?;
        let Some(columns) = &table.columns else {
            return Err(unchosen(relation, all, &key));
        };
        let is_published = |column: &&ColumnEntry| match columns {
            Columns::Named(named) => key.contains(&column.name) || named.contains(&column.name),
            Columns::All => true,
        };
        let published: Vec<&ColumnEntry> = all.iter().filter(is_published).collect();
        if let Some(column) = published.iter().find(|column| column.is_virtual) {
            return Err(Error::VirtualColumn { relation, column: column.name.clone() });
        }
        let comparables = Comparables { lowering: &self.lowering, is_utf8: found.utf8 };
        let types = (&self.types, &comparables);
        let mut layout = layout(table, relation, (found, family), &published, types, &key)?;
        layout.shares_keys = shares_keys;
        layout.key_cascades = key_cascades;
        layout.parted = self.parted.get(&found.oid).cloned().unwrap_or_default();
        Ok(layout)
    }
}

/// The error for a table that does not say which columns it publishes.
fn unchosen(relation: String, columns: &[ColumnEntry], key: &[String]) -> Error {
    // A key of a secret is published whatever is listed.
    let others = columns.iter().filter(|column| !key.contains(&column.name));
    let listed = others.filter(|column| !column.is_virtual);
    let names = |named_so: bool| -> Vec<&str> {
        let names = listed.clone().map(|column| column.name.as_str());
        names.filter(|name| is_named_like_a_secret(name) == named_so).collect()
    };
    let (secret, columns) = (names(true), format!("{:?}", names(false)));
    let left_out = match secret.len() {
        0 => String::new(),
        _ => format!(" (named like secrets and left out here: {secret:?})"),
    };
    Error::NoChoice { relation, columns, left_out }
}

/// What to do about a table that is not there.
fn remedy(name: &str) -> String {
    match name.split_once('.') {
        Some((schema, table)) => format!(
            "a table of another schema is Table::new({table:?}).schema({schema:?}), without a dot in its name"
        ),
        None => "create it first, or name its schema with .schema(…)".to_owned(),
    }
}

fn layout(
    table: &Table,
    relation: String,
    (found, family): (&RelationEntry, Family),
    published: &[&ColumnEntry],
    (types, comparables): (&Types, &Comparables<'_>),
    key: &[String],
) -> Result<Layout, Error> {
    let mut columns: Vec<Column> = Vec::with_capacity(published.len());
    for entry in published {
        // A key of several columns is none of these columns.
        let is_id = key == [entry.name.as_str()];
        let field = if is_id { "_id".to_owned() } else { table.field_name(&entry.name) };
        // Minimongo refuses such names, and DDP uses `_id` itself.
        if field.is_empty() || field.starts_with('$') || field.contains(['.', '\0']) {
            return Err(Error::FieldName { relation, field });
        }
        let is_taken = columns.iter().any(|column| *column.field == *field);
        if is_taken || (key.len() > 1 && field == "_id") {
            return Err(Error::DuplicateField { relation, field });
        }
        columns.push(column(table, &relation, entry, (types, comparables), field)?);
    }
    let number = |name: &String| columns.iter().position(|column| column.name == *name);
    let numbers: Vec<usize> = key.iter().filter_map(number).collect();
    let is_unsuitable = |number: &usize| {
        matches!(columns[*number].kind, ValueKind::Array(_) | ValueKind::Json | ValueKind::Ejson)
    };
    if numbers.iter().any(is_unsuitable) {
        return Err(unsuitable_key(&relation, key));
    }
    let traits = Traits {
        rows_max: table.rows_max,
        tree: found.kind == "p" || !family.below.is_empty(),
        utf8: found.utf8,
        row_security: found.has_row_security,
    };
    let names = (table.schema.as_str(), table.name.as_str());
    let mut layout = Layout::new(table.collection_name(), names, columns, numbers, traits);
    layout.keys_only = table.keys_only;
    layout.partitioned = found.kind == "p";
    layout.family = Family { number: found.family, ..family };
    Ok(layout)
}

fn no_column(relation: &str, columns: &[ColumnEntry], name: &str) -> Error {
    let meant = did_you_mean(name, columns.iter().map(|column| column.name.as_str()));
    Error::NoColumn { relation: relation.to_owned(), column: name.to_owned(), meant }
}

/// The key's columns, in order.
fn find_key(
    table: &Table,
    relation: &str,
    columns: &[ColumnEntry],
    indexes: &[IndexEntry],
) -> Result<Vec<String>, Error> {
    let Some(names) = &table.key else {
        let primary = indexes.iter().find(|index| index.is_primary);
        let primary = primary.ok_or_else(|| Error::NoKey { relation: relation.to_owned() })?;
        return Ok(primary.columns.clone());
    };
    for name in names {
        let Some(column) = columns.iter().find(|column| column.name == *name) else {
            return Err(no_column(relation, columns, name));
        };
        if !column.not_null {
            return Err(unsuitable_key(relation, names));
        }
    }
    let is_unique = |index: &IndexEntry| {
        (index.is_immediate || index.is_primary)
            && index.columns.len() == names.len()
            && index.columns.iter().all(|column| names.contains(column))
    };
    if !indexes.iter().any(is_unique) {
        return Err(unsuitable_key(relation, names));
    }
    Ok(names.clone())
}

fn unsuitable_key(relation: &str, key: &[String]) -> Error {
    let names: Vec<String> = key.iter().map(|name| quoted(name)).collect();
    Error::UnsuitableKey { relation: relation.to_owned(), key: names.join(", ") }
}

/// Refuses columns that do not exist: otherwise a misspelt one would silently be left out.
fn check_names(table: &Table, relation: &str, columns: &[ColumnEntry]) -> Result<(), Error> {
    let published = match &table.columns {
        Some(Columns::Named(named)) => named.as_slice(),
        Some(Columns::All) | None => &[],
    };
    let renamed = table.renamed.iter().map(|(column, _)| column);
    for name in published.iter().chain(renamed).chain(&table.ejson).chain(&table.string_id_columns)
    {
        if !columns.iter().any(|column| column.name == *name) {
            return Err(no_column(relation, columns, name));
        }
    }
    Ok(())
}

fn column(
    table: &Table,
    relation: &str,
    entry: &ColumnEntry,
    (types, comparable): (&Types, &Comparables<'_>),
    field: String,
) -> Result<Column, Error> {
    let resolved = types.resolve(entry.type_oid);
    let mut kind = value_kind(types, entry.type_oid, table.date_columns_as_dates, 0);
    if table.ejson.contains(&entry.name) {
        let is_json = resolved.is_some_and(|found| is_built_in(found, &["json", "jsonb"]));
        if !is_json {
            let (relation, column) = (relation.to_owned(), entry.name.clone());
            return Err(Error::NotJson { relation, column });
        }
        kind = ValueKind::Ejson;
    }
    if table.string_id_columns.contains(&entry.name) {
        kind = kind.of_ids().ok_or_else(|| {
            let (relation, column) = (relation.to_owned(), entry.name.clone());
            Error::NotInteger { relation, column }
        })?;
    } else if table.string_ids && field == "_id" {
        kind = kind.of_ids().unwrap_or(kind);
    }
    let form = form(types, entry.type_oid)
        .map_err(|()| Error::Names { relation: relation.to_owned(), column: entry.name.clone() })?;
    let expression = if let Some((expression, written)) = form {
        kind = written;
        expression
    } else if kind == ValueKind::BinaryHex {
        // Inside an array it stays hexadecimal.
        kind = ValueKind::Binary;
        Expression::Base64
    } else if resolved.is_some_and(|found| is_built_in(found, &["timestamptz"])) {
        Expression::Utc
    } else {
        Expression::Plain
    };
    let measure = match resolved {
        Some(found) if found.length >= 0 => Measure::Small,
        Some(found) if is_built_in(found, &["text", "varchar", "bpchar", "bytea"]) => {
            Measure::OctetLength
        }
        _ => Measure::ColumnSize,
    };
    Ok(Column {
        name: entry.name.clone(),
        field: field.into(),
        type_name: entry.type_name.clone(),
        nullable: !entry.not_null,
        without_nulls: table.without_nulls,
        settings: match expression {
            Expression::Plain | Expression::Text => settings(types, entry.type_oid, false, 0),
            Expression::Texts => {
                Settings { nulls: true, ..settings(types, entry.type_oid, false, 0) }
            }
            Expression::Identity(_) => Settings { names: true, ..Settings::default() },
            Expression::Base64 | Expression::Utc | Expression::Oids => Settings::default(),
        },
        comparable: comparable.of(entry, types),
        cast: resolved.map_or_else(|| "pg_catalog.text".to_owned(), |found| found.sql_name.clone()),
        kind,
        expression,
        measure,
    })
}

fn is_built_in(found: &TypeEntry, names: &[&str]) -> bool {
    found.is_built_in && names.contains(&found.name.as_str())
}

fn value_kind(types: &Types, oid: u32, dates: bool, depth: u32) -> ValueKind {
    let Some(found) = types.resolve(oid) else { return ValueKind::Text };
    if found.element != 0 && depth < TYPE_DEPTH_MAX {
        return match value_kind(types, found.element, dates, depth + 1) {
            // An array of a domain over an array looks like an array with more dimensions.
            array @ ValueKind::Array(_) => array,
            element => ValueKind::Array(Box::new(element)),
        };
    }
    if found.kind == "c" || (found.name == "hstore" && found.has_json_cast) {
        return ValueKind::Json;
    }
    if !found.is_built_in {
        return ValueKind::Text;
    }
    match found.name.as_str() {
        "bool" => ValueKind::Boolean,
        "int2" | "int4" => ValueKind::Integer,
        "int8" => ValueKind::BigInteger,
        "float4" | "float8" => ValueKind::Float,
        "numeric" => ValueKind::Numeric,
        "json" | "jsonb" => ValueKind::Json,
        "bytea" => ValueKind::BinaryHex,
        "date" if dates => ValueKind::DateAsDate,
        "date" => ValueKind::Date,
        "timestamp" | "timestamptz" => ValueKind::Timestamp,
        "interval" => ValueKind::Interval,
        _ => ValueKind::Text,
    }
}

/// Types of extensions whose text depends on no setting; that of others may.
const SETTLED: [&str; 9] = [
    "citext",
    "geography",
    "geometry",
    "hstore",
    "lquery",
    "ltree",
    "ltxtquery",
    "raster",
    "vector",
];

/// The session settings by which `to_json` writes a type. It writes times independently of them, but
/// not times within the text of a range.
fn settings(types: &Types, oid: u32, within_text: bool, depth: u32) -> Settings {
    let none = Settings::default();
    let common = Settings { common: true, ..none };
    let Some(found) = types.resolve(oid) else { return none };
    if depth > TYPE_DEPTH_MAX {
        return Settings { money: true, ..common };
    }
    let of = |oid, within_text| settings(types, oid, within_text, depth + 1);
    if found.element != 0 {
        return of(found.element, within_text);
    }
    if found.range_of != 0 {
        return of(found.range_of, true);
    }
    if is_built_in(found, &["money"]) {
        return Settings { money: true, ..none };
    }
    // The offset of a `timestamptz` depends on the session's time zone.
    if is_built_in(found, &["float4", "float8", "interval", "bytea", "point", "lseg", "box"])
        || is_built_in(found, &["path", "polygon", "line", "circle", "timestamptz"])
        || (within_text && is_built_in(found, &["date", "timestamp"]))
        || (found.kind == "b" && !found.is_built_in && !SETTLED.contains(&found.name.as_str()))
    {
        return common;
    }
    found.attributes.iter().map(|oid| of(*oid, within_text)).fold(none, Settings::and)
}
