//! How a column's values compare, by its type and collation.

use std::collections::HashSet;

use super::catalog::{ColumnEntry, TypeEntry, Types};
use crate::compare::{Collation, Comparable, Element, Json, Lower};

/// What matters besides the columns and their types.
pub(super) struct Comparables<'a> {
    /// The collations in which `lower` maps A–Z to a–z.
    pub(super) lowering: &'a HashSet<String>,
    /// Whether the database stores text as UTF-8.
    pub(super) is_utf8: bool,
}

impl Comparables<'_> {
    pub(super) fn of(&self, entry: &ColumnEntry, types: &Types) -> Comparable {
        let Some(found) = types.resolve(entry.type_oid) else { return Comparable::Other };
        if found.element == 0 {
            return self.scalar(entry, found);
        }
        // Array operators need the same type on both sides, and a domain is a different type.
        let Some(element) = types.get(found.element).filter(|element| element.kind != "d") else {
            return Comparable::Other;
        };
        match self.scalar(entry, element) {
            // Elements are written as JSON, where an array cannot be told from a dimension.
            Comparable::Json(_) => Comparable::Other,
            comparable => {
                Comparable::Array(Box::new(Element { comparable, length: element.length }))
            }
        }
    }

    fn scalar(&self, entry: &ColumnEntry, found: &TypeEntry) -> Comparable {
        match found.kind.as_str() {
            "e" => return Comparable::Enum,
            _ if !found.is_built_in => {
                let is_citext = found.name == "citext" && found.kind == "b";
                return if is_citext { Comparable::CiText } else { Comparable::Other };
            }
            _ => {}
        }
        match found.name.as_str() {
            "bool" => Comparable::Boolean,
            "int2" | "int4" | "int8" => Comparable::Integer,
            "float4" => Comparable::Real,
            "float8" => Comparable::Double,
            "numeric" => Comparable::Numeric,
            "text" | "varchar" if entry.is_deterministic => Comparable::Text(self.collation(entry)),
            "bpchar" if entry.is_deterministic => Comparable::Padded(self.collation(entry)),
            "uuid" => Comparable::Uuid,
            "date" => Comparable::Date,
            "time" => Comparable::Time,
            "timestamp" => Comparable::Timestamp,
            "timestamptz" => Comparable::TimestampTz,
            "bytea" => Comparable::Binary,
            "jsonb" | "json" => {
                Comparable::Json(Json { is_binary: found.name == "jsonb", is_utf8: self.is_utf8 })
            }
            _ => Comparable::Other,
        }
    }

    fn collation(&self, entry: &ColumnEntry) -> Collation {
        let lower = if entry.lowers_ascii_only {
            Lower::AsciiOnly
        } else if self.lowering.contains(&entry.collation) {
            Lower::AsciiToo
        } else {
            Lower::Unknown
        };
        let is_utf8 = self.is_utf8;
        Collation { is_bytewise: entry.is_bytewise && is_utf8, lower, is_utf8 }
    }
}
