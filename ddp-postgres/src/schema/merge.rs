//! Rows that a MERGE moves to another partition.
//!
//! PostgreSQL puts such a row into the transition tables of DELETE and INSERT, and fires the statement
//! triggers of the actions that the MERGE names. If it names UPDATE only, the row is in no table that
//! anybody gets. So partitioned tables have one more trigger, on updates of the columns that tell the
//! partitions apart, which are part of each key and seldom set. It says "read again", unless the
//! statement certainly is no MERGE.
//!
//! Such columns cannot be altered or dropped anyway, so the trigger is in nobody's way.

use super::layout::Layout;
use super::sql::Capture;

/// The line of a function's context that follows its own: a statement, unless it is of a function in
/// SQL or the server speaks with other quotes. A name in its place is followed by a quote.
const CALLED_BY_OTHER: &str = r#"^[^"[:cntrl:]]*"[[:space:]]*(update|insert|with)[[:space:](]"#;

impl Layout {
    /// The trigger that each partitioned table of the family has besides others.
    pub(super) fn merge_captures(&self) -> &'static [Capture] {
        if self.parted.columns.is_empty() { &[] } else { &[Capture::Merge] }
    }

    /// The same, if this table is partitioned.
    pub(super) fn merge_captures_on(&self, relation: &str) -> &'static [Capture] {
        let is_parted = self.parted.relations.iter().any(|parted| parted == relation);
        if is_parted { self.merge_captures() } else { &[] }
    }

    /// The columns that may move a row.
    pub(super) fn moving_columns(&self) -> String {
        self.parted.columns.join(", ")
    }

    /// Returns if the statement is no MERGE. What a client sends is known; what a function runs is told
    /// by the lines of the context after the first, which is our own.
    pub(super) fn unless_merge(&self) -> String {
        format!(
            "    GET DIAGNOSTICS sent = PG_CONTEXT;
    sent := pg_catalog.substr(sent, pg_catalog.int4pl(pg_catalog.length(
        pg_catalog.split_part(sent, pg_catalog.chr(10), 1)), 2));
    IF (CASE WHEN pg_catalog.texteq(sent, '') THEN pg_catalog.texticregexne(pg_catalog.current_query(), 'merge|execute')
            ELSE pg_catalog.texticregexeq(sent, '{CALLED_BY_OTHER}') AND pg_catalog.texticregexne(sent, 'merge') END) THEN
        RETURN NULL;
    END IF;
    body := '';
"
        )
    }
}
