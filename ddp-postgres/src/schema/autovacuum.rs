//! Has autovacuum give way to an installation.
//!
//! PostgreSQL ends an autovacuum for the sake of whoever has waited for its lock as long as
//! `deadlock_timeout`. Where writers would queue behind us we never wait that long. But a lock that
//! only a vacuum or a migration disturbs may be waited for longer, and does the same.

use tokio_postgres::Client;

use super::name::{hash, literal, qualified};

/// How long to wait after PostgreSQL has told an autovacuum to end, in milliseconds.
const END_MILLIS: u32 = 1_000;

/// The tables at which autovacuum is at work. Its processes are of no role, which every role can see.
const AT_WORK: &str = "
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    JOIN pg_catalog.pg_class c ON c.oid = l.relation
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE l.granted AND l.mode = 'ShareUpdateExclusiveLock' AND a.usesysid IS NULL
    AND a.datname = pg_catalog.current_database()";

/// Ends autovacuums of the tables that are about to be locked. If that fails, the lock itself will
/// tell why.
pub(super) async fn give_way(client: &Client, relations: &[&str]) {
    let at_work = match client.query(AT_WORK, &[]).await {
        Ok(rows) => rows,
        Err(error) => return tracing::debug!(%error, "no looking for autovacuums"),
    };
    let names = at_work.iter().filter_map(|row| {
        let (schema, table) = (row.try_get(0).ok()?, row.try_get(1).ok()?);
        Some(qualified(schema, table))
    });
    for relation in names.filter(|name| relations.contains(&name.as_str())) {
        tracing::info!(relation, "asking autovacuum to give way");
        if let Err(error) = client.batch_execute(&give_way_sql(&relation)).await {
            tracing::debug!(%error, "autovacuum was not asked to give way");
        }
    }
}

/// Waits until no autovacuum has this table, if one has. Never fails, and changes nothing.
pub(super) fn give_way_sql(relation: &str) -> String {
    let (tag, name) = (format!("$ddp_{}$", hash(&[relation])), literal(relation));
    format!(
        "DO {tag} BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a
            ON a.pid OPERATOR(pg_catalog.=) l.pid
        WHERE l.relation OPERATOR(pg_catalog.=) pg_catalog.to_regclass({name}) AND l.granted
            AND l.mode OPERATOR(pg_catalog.=) 'ShareUpdateExclusiveLock' AND a.usesysid IS NULL) THEN
        PERFORM pg_catalog.set_config('lock_timeout', (
            SELECT pg_catalog.int4pl(s.setting::pg_catalog.int4, {END_MILLIS})::pg_catalog.text
            FROM pg_catalog.pg_settings s WHERE s.name OPERATOR(pg_catalog.=) 'deadlock_timeout'), true);
        LOCK TABLE ONLY {relation} IN SHARE UPDATE EXCLUSIVE MODE;
    END IF;
EXCEPTION WHEN OTHERS THEN
    RAISE LOG 'autovacuum of % does not give way: %', {name}, SQLERRM;
END {tag};
"
    )
}
