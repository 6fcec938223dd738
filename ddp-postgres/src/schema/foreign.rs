//! Keeps triggers away from tables that get a foreign partition or child.
//!
//! PostgreSQL refuses each statement on such a table that touches a foreign row if the table has a
//! trigger with transition tables, disabled or not, before any function of ours runs. So the triggers
//! must go when the foreign table comes. An event trigger drops them in the same transaction, if the role that
//! installs may create one; otherwise a server does when it next checks its tables.

use tokio_postgres::{Error, GenericClient};

/// The event trigger; a database has one.
const EVENT_TRIGGER: &str = "ddp_foreign_parts";
/// Its function in the schema `ddp`.
pub(super) const FUNCTION: &str = "foreign_parts";

/// The body of the function. It runs as the role that installed it, as triggers are dropped by their
/// tables' owners only, and never fails the command that fired it. Writers wait for it no longer than
/// for an installation.
const BODY: &str = "
DECLARE
    found pg_catalog.record;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_foreign_table f
            JOIN pg_catalog.pg_inherits i ON i.inhrelid = f.ftrelid) THEN
        RETURN;
    END IF;
    FOR found IN
        WITH RECURSIVE above (oid) AS (
            SELECT i.inhparent FROM pg_catalog.pg_foreign_table f
                JOIN pg_catalog.pg_inherits i ON i.inhrelid = f.ftrelid
            UNION
            SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN above a ON i.inhrelid = a.oid
        )
        SELECT t.tgname AS name, t.tgrelid::pg_catalog.regclass AS relation
        FROM above a JOIN pg_catalog.pg_trigger t ON t.tgrelid = a.oid
            JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
        WHERE p.pronamespace = pg_catalog.to_regnamespace('ddp')
            AND (t.tgoldtable IS NOT NULL OR t.tgnewtable IS NOT NULL)
    LOOP
        BEGIN
            EXECUTE pg_catalog.format('DROP TRIGGER %I ON %s', found.name, found.relation);
        EXCEPTION WHEN OTHERS THEN
            RAISE WARNING 'trigger % makes statements on % fail, as it has a foreign part now: %',
                found.name, found.relation, SQLERRM USING HINT = 'Drop the trigger.';
        END;
    END LOOP;
EXCEPTION WHEN OTHERS THEN
    RAISE WARNING 'triggers of tables with foreign parts were not looked for: %', SQLERRM;
END
";

/// Whether the event trigger is there, and what this version would install.
const IS_THERE: &str = "SELECT EXISTS (
    SELECT FROM pg_catalog.pg_event_trigger e JOIN pg_catalog.pg_proc p ON p.oid = e.evtfoid
    WHERE e.evtname = $1 AND e.evtenabled = 'A' AND p.prosrc = $2
        AND p.pronamespace = pg_catalog.to_regnamespace('ddp'))";

/// Creates the event trigger, or leaves everything as it is if the role may not.
pub(super) fn sql() -> String {
    format!(
        "DO $ddp_do$ BEGIN
    CREATE OR REPLACE FUNCTION ddp.{FUNCTION}() RETURNS pg_catalog.event_trigger LANGUAGE plpgsql
        SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '800ms' AS $ddp${BODY}$ddp$;
    COMMENT ON FUNCTION ddp.{FUNCTION}() IS 'Drops the triggers of tables that get a foreign part';
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_event_trigger
            WHERE evtname OPERATOR(pg_catalog.=) '{EVENT_TRIGGER}') THEN
        CREATE EVENT TRIGGER {EVENT_TRIGGER} ON ddl_command_end
            WHEN TAG IN ('ALTER TABLE', 'ALTER FOREIGN TABLE', 'CREATE FOREIGN TABLE')
            EXECUTE FUNCTION ddp.{FUNCTION}();
    END IF;
    -- Statements fail whatever session_replication_role is.
    ALTER EVENT TRIGGER {EVENT_TRIGGER} ENABLE ALWAYS;
EXCEPTION WHEN OTHERS THEN
    RAISE LOG 'no event trigger looks for foreign parts of published tables: %', SQLERRM;
END $ddp_do$;
"
    )
}

/// Drops the function, and so the event trigger.
pub(super) const DROP: &str = "DROP FUNCTION ddp.foreign_parts() CASCADE;";

/// Whether nothing is to be done.
pub(super) async fn is_there(client: &impl GenericClient) -> Result<bool, Error> {
    client.query_one(IS_THERE, &[&EVENT_TRIGGER, &BODY]).await?.try_get(0)
}
