//! From what an application says about a table to what the database knows.

use tokio_postgres::Client;

use super::catalog::{self, ColumnEntry, TypeEntry, Types};
use super::comparable::Comparables;
use super::layout::{Column, Expression, Layout, Measure, Traits};
use super::name::quoted;
use super::{Error, catalog::RelationEntry};
use crate::table::Table;
use crate::value::ValueKind;

/// Composites may contain themselves by way of arrays.
const TYPE_DEPTH_MAX: u32 = 16;

/// Finds a table in the database, and the types of its columns.
///
/// # Errors
///
/// If there is no such table, or it cannot be published as it is said to be.
pub async fn describe(client: &Client, table: &Table) -> Result<Layout, Error> {
    let relation = format!("{}.{}", quoted(&table.schema), quoted(&table.name));
    let found = catalog::relation(client, &table.schema, &table.name).await?;
    let Some(found) = found else { return Err(Error::NoTable { relation }) };
    let all = match found.kind.as_str() {
        _ if found.is_partition => return Err(Error::Partition { relation }),
        "r" | "p" => catalog::columns(client, found.oid).await?,
        _ => return Err(Error::NotATable { relation }),
    };
    let key = find_key(table, &relation, &all)?.name.clone();
    check_names(table, &relation, &all)?;
    let published: Vec<ColumnEntry> = all
        .into_iter()
        .filter(|column| match &table.columns {
            Some(published) => column.name == key || published.contains(&column.name),
            None => true,
        })
        .collect();
    let types = Types::of(client, &published).await?;
    let comparables =
        Comparables { lowering: catalog::lowering(client, &published).await?, is_utf8: found.utf8 };
    layout(table, relation, &found, &published, (&types, &comparables), &key)
}

fn layout(
    table: &Table,
    relation: String,
    found: &RelationEntry,
    published: &[ColumnEntry],
    (types, comparables): (&Types, &Comparables),
    key: &str,
) -> Result<Layout, Error> {
    let mut columns: Vec<Column> = Vec::with_capacity(published.len());
    let mut key_index = 0;
    for (index, entry) in published.iter().enumerate() {
        let field = if entry.name == key {
            key_index = index;
            "_id".to_owned()
        } else {
            table.field_name(&entry.name)
        };
        // Minimongo refuses these, and DDP has its own use for `_id`.
        if field.is_empty() || field.starts_with('$') || field.contains(['.', '\0']) {
            return Err(Error::FieldName { relation, field });
        }
        if columns.iter().any(|column| *column.field == *field) {
            return Err(Error::DuplicateField { relation, field });
        }
        columns.push(column(table, &relation, entry, (types, comparables), field)?);
    }
    let traits = Traits {
        string_ids: table.string_ids,
        rows_max: table.rows_max,
        partitioned: found.kind == "p",
        utf8: found.utf8,
    };
    let names = (table.schema.as_str(), table.name.as_str());
    let mut layout = Layout::new(table.collection_name(), names, columns, key_index, traits);
    layout.keys_only = table.keys_only;
    Ok(layout)
}

fn find_key<'a>(
    table: &Table,
    relation: &str,
    columns: &'a [ColumnEntry],
) -> Result<&'a ColumnEntry, Error> {
    let relation = || relation.to_owned();
    let Some(name) = &table.key else {
        let primary = columns.iter().find(|column| column.is_primary);
        return primary.ok_or_else(|| Error::NoKey { relation: relation() });
    };
    let Some(key) = columns.iter().find(|column| column.name == *name) else {
        return Err(Error::NoColumn { relation: relation(), column: name.clone() });
    };
    if !key.not_null || !(key.is_unique || key.is_primary) {
        return Err(Error::UnsuitableKey { relation: relation(), column: name.clone() });
    }
    Ok(key)
}

/// Refuses columns that do not exist: a misspelt name would silently stay unpublished.
fn check_names(table: &Table, relation: &str, columns: &[ColumnEntry]) -> Result<(), Error> {
    let published = table.columns.iter().flatten();
    let renamed = table.renamed.iter().map(|(column, _)| column);
    for name in published.chain(renamed).chain(&table.ejson) {
        if !columns.iter().any(|column| column.name == *name) {
            return Err(Error::NoColumn { relation: relation.to_owned(), column: name.clone() });
        }
    }
    Ok(())
}

fn column(
    table: &Table,
    relation: &str,
    entry: &ColumnEntry,
    (types, comparable): (&Types, &Comparables),
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
    // Inside of arrays it stays hexadecimal.
    let expression = match &kind {
        ValueKind::BinaryHex => {
            kind = ValueKind::Binary;
            Expression::Base64
        }
        _ if resolved.is_some_and(|found| is_built_in(found, &["timestamptz"])) => Expression::Utc,
        _ => Expression::Plain,
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
        needs_settings: expression == Expression::Plain
            && needs_settings(types, entry.type_oid, false, 0),
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
            // An array of a domain over arrays looks like one of more dimensions.
            array @ ValueKind::Array(_) => array,
            element => ValueKind::Array(Box::new(element)),
        };
    }
    if found.kind == "c" {
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

/// Whether `to_json` writes a type as the session's settings say. Times are safe from them where
/// `to_json` sees them, but not within the text of a range.
fn needs_settings(types: &Types, oid: u32, within_text: bool, depth: u32) -> bool {
    let Some(found) = types.resolve(oid) else { return false };
    if depth > TYPE_DEPTH_MAX {
        return true;
    }
    let needs = |oid, within_text| needs_settings(types, oid, within_text, depth + 1);
    if found.element != 0 {
        return needs(found.element, within_text);
    }
    if found.range_of != 0 {
        return needs(found.range_of, true);
    }
    if is_built_in(found, &["float4", "float8", "interval", "bytea", "point", "lseg", "box"])
        || is_built_in(found, &["path", "polygon", "line", "circle"])
    {
        return true;
    }
    // The offset of a time with a zone tells the session's.
    if is_built_in(found, &["timestamptz"]) {
        return true;
    }
    if within_text && is_built_in(found, &["date", "timestamp"]) {
        return true;
    }
    found.attributes.iter().any(|attribute| needs(*attribute, within_text))
}
