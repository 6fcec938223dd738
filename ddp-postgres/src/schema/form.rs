//! How the SQL for a row writes a column, so that it says the same whatever the writer has set, and
//! whatever casts there are.

use super::catalog::{TypeEntry, Types};
use super::layout::Expression;
use crate::value::ValueKind;

/// Limits recursion: composites may contain themselves through arrays.
const TYPE_DEPTH_MAX: u32 = 16;

/// What a type contains that `to_json` does not write safely.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Contents {
    /// A type with a cast to json of its own: it may refuse a value, lose digits, or make no JSON.
    casts: bool,
    /// The name of an object, which has no schema if the session's `search_path` finds it.
    names: bool,
}

/// How a column is written, and what it becomes, if not by `to_json` as it is.
///
/// # Errors
///
/// Nothing if its values depend on the session in any form.
pub(super) fn form(types: &Types, oid: u32) -> Result<Option<(Expression, ValueKind)>, ()> {
    let Some(found) = types.resolve(oid) else { return Ok(None) };
    if let Some(catalog) = catalog_of_names(found) {
        return Ok(Some((Expression::Identity(catalog), ValueKind::Text)));
    }
    let whole = Some((Expression::Text, ValueKind::Text));
    if has_cast(found) {
        return Ok(whole);
    }
    if let Some(element) = types.resolve(found.element) {
        let texts = || ValueKind::Array(Box::new(ValueKind::Text));
        if catalog_of_names(element).is_some() {
            return Ok(Some((Expression::Oids, texts())));
        }
        if has_cast(element) && element.delimiter == "," {
            return Ok(Some((Expression::Texts, texts())));
        }
    }
    match contents(types, oid, 0) {
        Contents { names: true, .. } => Err(()),
        Contents { casts: true, .. } => Ok(whole),
        _ => Ok(None),
    }
}

fn contents(types: &Types, oid: u32, depth: u32) -> Contents {
    let Some(found) = types.resolve(oid) else { return Contents::default() };
    let mut all = Contents { casts: has_cast(found), names: catalog_of_names(found).is_some() };
    if depth < TYPE_DEPTH_MAX {
        let parts = [found.element, found.range_of];
        for part in
            parts.into_iter().filter(|oid| *oid != 0).chain(found.attributes.iter().copied())
        {
            let part = contents(types, part, depth + 1);
            all.casts |= part.casts;
            all.names |= part.names;
        }
    }
    all
}

/// The `to_json` of PostgreSQL calls a function for it. The one of hstore takes every value, and says
/// all of it.
fn has_cast(found: &TypeEntry) -> bool {
    found.has_json_cast && found.name != "hstore"
}

/// The catalog of the objects that such a value names, if names may lack their schema.
fn catalog_of_names(found: &TypeEntry) -> Option<&'static str> {
    if !found.is_built_in {
        return None;
    }
    Some(match found.name.as_str() {
        "regclass" => "pg_class",
        "regproc" | "regprocedure" => "pg_proc",
        "regoper" | "regoperator" => "pg_operator",
        "regtype" => "pg_type",
        "regconfig" => "pg_ts_config",
        "regdictionary" => "pg_ts_dict",
        "regcollation" => "pg_collation",
        _ => return None,
    })
}
