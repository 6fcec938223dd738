//! The functions and triggers by which our table of users follows another one, made for its columns.

use super::users_table::{UsersTable, Verified};

/// How our users become those of these rows, which are named `t`.
struct Follow<'a> {
    users: &'a UsersTable,
}

impl UsersTable {
    /// The statements, for the schema `accounts`. They replace what was there before.
    pub(super) fn statements(&self, schema: &str) -> Vec<String> {
        let table = self.quoted();
        let follow = Follow { users: self };
        // By replacing, what has been granted on them stays, and nothing waits for readers of the table.
        let mut statements = vec![
            follow.trigger_function(),
            follow.all_function(&table),
            follow.write_function(&table),
        ];
        for function in ["follow_users()", "follow_all()", "write_user(text, text, text)"] {
            statements.push(format!("REVOKE ALL ON FUNCTION accounts.{function} FROM PUBLIC"));
        }
        let name: String = schema.chars().take(40).collect();
        for (event, rows) in [
            ("INSERT", "REFERENCING NEW TABLE AS new_rows"),
            ("UPDATE", "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows"),
            ("DELETE", "REFERENCING OLD TABLE AS old_rows"),
            ("TRUNCATE", ""),
        ] {
            statements.push(format!(
                "CREATE OR REPLACE TRIGGER \"{name}_follows_{}\" AFTER {event} ON {table} {rows}\n\
                 FOR EACH STATEMENT EXECUTE FUNCTION accounts.follow_users()",
                event.to_lowercase()
            ));
        }
        statements
    }

    /// The columns that are read, each once.
    pub(super) fn columns(&self) -> Vec<&str> {
        let mut columns = vec![self.id.as_str()];
        let named = [&self.username, &self.email, &self.created_at, &self.is_active];
        columns.extend(named.into_iter().filter_map(|column| column.as_deref()));
        columns.extend(self.name.iter().map(String::as_str));
        columns.extend(self.password.iter().map(|(_, column)| column.as_str()));
        columns.extend(self.roles.iter().map(|(_, column)| column.as_str()));
        if let Verified::Column(column) = &self.verified {
            columns.push(column);
        }
        columns.sort_unstable();
        columns.dedup();
        columns
    }

    /// The table's name, as SQL has it.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.table))
    }
}

const CREATED_AT: &str = "CASE WHEN isfinite(t.ddp_created_at) THEN t.ddp_created_at END";

impl Follow<'_> {
    fn column(column: &str) -> String {
        format!("t.{}", quote(column))
    }

    /// Brings the users up to date whose rows meet the condition. Nothing that a row can have makes it
    /// fail, nor a column or a table that was renamed or dropped since: it is part of the other program's
    /// own statement. So the columns that are there are looked up each time, and those that are not are
    /// NULL.
    fn sync(&self, relation: &str, condition: &str) -> String {
        let columns: Vec<_> = self.users.columns().into_iter().map(literal).collect();
        let created_at = self.users.created_at.as_deref().map_or("NULL".to_owned(), literal);
        format!(
            "    SELECT string_agg(CASE WHEN a.attnum IS NULL THEN format('NULL::text AS %I', c.name)
            ELSE format('t.%1$I::text AS %1$I', c.name) END, ', ')
        || ', ' || coalesce(min(format('t.%I::timestamptz', c.name)) FILTER (WHERE c.name = {created_at}
            AND a.atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype, 'date'::regtype)),
            'NULL::timestamptz') || ' AS ddp_created_at'
    INTO ddp_columns
    FROM unnest(ARRAY[{columns}]) AS c (name) LEFT JOIN pg_attribute a
        ON a.attrelid = {relation} AND a.attname = c.name AND a.attnum > 0 AND NOT a.attisdropped;
    EXECUTE replace($sync${statements}$sync$, 'ddp_rows',
        format('(SELECT %s FROM %s t {condition})', ddp_columns, {relation}::regclass));",
            columns = columns.join(", "),
            statements = self.statements(),
        )
    }

    fn statements(&self) -> String {
        format!(
            "
    INSERT INTO accounts.users AS mine
        (id, created_at, username, profile, emails, roles, is_active)
    SELECT {id}, {created_at}, {username}, {profile}, {emails}, {roles}, {is_active}
    FROM ddp_rows t ORDER BY 1
    ON CONFLICT (id) DO UPDATE
    SET created_at = excluded.created_at, username = excluded.username, profile = excluded.profile,
        emails = excluded.emails, roles = excluded.roles, is_active = excluded.is_active
    WHERE (mine.created_at, mine.username, mine.profile, mine.emails, mine.roles, mine.is_active)
        IS DISTINCT FROM (excluded.created_at, excluded.username, excluded.profile,
            excluded.emails, excluded.roles, excluded.is_active);
    {passwords}",
            id = self.id(),
            created_at = CREATED_AT,
            username = self.text(self.users.username.as_deref()),
            profile = self.profile(),
            emails = self.emails(),
            roles = self.roles(),
            is_active = self.is_active(),
            passwords = self.passwords(),
        )
    }

    fn id(&self) -> String {
        format!("{}::text", Self::column(&self.users.id))
    }

    fn text(&self, column: Option<&str>) -> String {
        column.map_or("NULL".to_owned(), |column| {
            format!("nullif({}::text, '')", Self::column(column))
        })
    }

    fn profile(&self) -> String {
        if self.users.name.is_empty() {
            return "NULL::jsonb".to_owned();
        }
        let parts: Vec<_> = self.users.name.iter().map(|column| self.text(Some(column))).collect();
        let name = format!("nullif(btrim(concat_ws(' ', {})), '')", parts.join(", "));
        format!("CASE WHEN {name} IS NOT NULL THEN jsonb_build_object('name', {name}) END")
    }

    fn emails(&self) -> String {
        let Some(column) = self.users.email.as_deref() else { return "NULL::jsonb".to_owned() };
        let address = format!("{}::text", Self::column(column));
        let by_link = format!(
            "EXISTS (SELECT FROM accounts.verified_emails v
                WHERE v.user_id = {} AND v.address = {address})",
            self.id()
        );
        let verified = match &self.users.verified {
            Verified::Always => "true".to_owned(),
            Verified::ByLink => by_link,
            Verified::Column(column) => {
                let column = Self::column(column);
                format!("(coalesce({column}::text NOT IN ('false', '0', ''), false) OR {by_link})")
            }
        };
        format!(
            "CASE WHEN {address} <> '' THEN jsonb_build_array(
            jsonb_build_object('address', {address}, 'verified', {verified})) END"
        )
    }

    fn roles(&self) -> String {
        if self.users.roles.is_empty() {
            return "NULL::jsonb".to_owned();
        }
        let roles = self.users.roles.iter().map(|(role, column)| {
            format!("CASE WHEN {} THEN {} END", Self::is_true(column), literal(role))
        });
        let roles = roles.collect::<Vec<_>>().join(", ");
        format!("to_jsonb(array_remove(ARRAY[{roles}], NULL))")
    }

    /// Of whatever type it is; false if it is not there.
    fn is_true(column: &str) -> String {
        format!("coalesce({} IN ('true', 't', '1'), false)", Self::column(column))
    }

    fn is_active(&self) -> String {
        self.users.is_active.as_deref().map_or("true".to_owned(), Self::is_true)
    }

    /// What the other program has stored takes the place of ours, which was made of an older one.
    fn passwords(&self) -> String {
        let Some((_, column)) = &self.users.password else { return String::new() };
        let (id, hash) = (self.id(), format!("{}::text", Self::column(column)));
        let source = source_sql(&hash);
        // `!` begins a password of Django by which nobody can log in.
        // With ours beside it that was set here.
        let gone = source_sql(&format!("coalesce({hash}, '')"));
        let usable = format!("coalesce({hash} <> '' AND {hash} NOT LIKE '!%', false)");
        format!(
            "DELETE FROM accounts.passwords p USING ddp_rows t
    WHERE p.user_id = {id} AND NOT {usable} AND p.source <> {gone};
    INSERT INTO accounts.passwords AS mine (user_id, hash, source)
    SELECT {id}, {hash}, {source} FROM ddp_rows t WHERE {usable}
    ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, source = excluded.source
    WHERE mine.source <> excluded.source;"
        )
    }

    /// What it reads is what the table has by now, as other triggers may have changed it after the statement.
    /// Without the key nobody can be told from others, and nobody gets in.
    fn trigger_function(&self) -> String {
        let (key, name) = (quote(&self.users.id), literal(&self.users.id));
        let condition = format!("WHERE t.{key} IN (SELECT n.{key} FROM new_rows n)");
        let sync = self.sync("TG_RELID", &condition.replace('%', "%%").replace('\'', "''"));
        function(
            "follow_users() RETURNS trigger",
            "DECLARE ddp_columns text;\n",
            &format!(
                "    IF TG_OP = 'TRUNCATE' THEN
        DELETE FROM accounts.users;
        RETURN NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = TG_RELID AND a.attname = {name}
            AND a.attnum > 0 AND NOT a.attisdropped) THEN
        UPDATE accounts.users SET is_active = false WHERE is_active;
        RETURN NULL;
    END IF;
    IF TG_OP IN ('INSERT', 'UPDATE') THEN
{sync}
    END IF;
    IF TG_OP IN ('UPDATE', 'DELETE') THEN
        EXECUTE replace($gone$DELETE FROM accounts.users u WHERE u.id IN (
            SELECT o.{key}::text FROM old_rows o
            WHERE NOT EXISTS (SELECT FROM ddp_table t WHERE t.{key} = o.{key}))$gone$,
            'ddp_table', TG_RELID::regclass::text);
    END IF;
    RETURN NULL;"
            ),
        )
    }

    fn all_function(&self, table: &str) -> String {
        let key = Self::column(&self.users.id);
        function(
            "follow_all() RETURNS void",
            "DECLARE ddp_columns text;\n",
            &format!(
                "{}
    DELETE FROM accounts.users u WHERE NOT EXISTS (SELECT FROM {table} t WHERE {key}::text = u.id);",
                self.sync(&format!("{}::regclass", literal(table)), "")
            ),
        )
    }

    /// Writes a user's column; without a name of one, locks its row, before ours is. The variables have
    /// names that no column has.
    fn write_function(&self, table: &str) -> String {
        let key = quote(&self.users.id);
        let update = |name: &str, column: &str, value: &str| {
            let column = quote(column);
            format!(
                "    IF ddp_what = '{name}' THEN
        UPDATE {table} t SET {column} = {value} WHERE t.{key} = ddp_id;
    END IF;\n"
            )
        };
        let users = self.users;
        let boolean = "ddp_value::boolean";
        let updates = [
            users.username.as_deref().map(|column| update("username", column, "ddp_value")),
            users.email.as_deref().map(|column| update("email", column, "ddp_value")),
            users.is_active.as_deref().map(|column| update("is_active", column, boolean)),
            users.password.as_ref().map(|(_, column)| update("password", column, "ddp_value")),
        ];
        let updates: String = updates.into_iter().flatten().collect();
        function(
            "write_user(ddp_key text, ddp_what text, ddp_value text) RETURNS boolean",
            &format!("DECLARE ddp_id {table}.{key}%TYPE;\n"),
            &format!(
                "    IF NOT EXISTS (SELECT FROM accounts.users u WHERE u.id = ddp_key) THEN
        RETURN false;
    END IF;
    ddp_id := ddp_key;
    PERFORM FROM {table} t WHERE t.{key} = ddp_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN RETURN false; END IF;
{updates}    IF ddp_what = 'verified' THEN
        INSERT INTO accounts.verified_emails (user_id, address) VALUES (ddp_key, ddp_value)
        ON CONFLICT (user_id) DO UPDATE SET address = excluded.address;
        UPDATE accounts.users u SET emails = jsonb_set(u.emails, '{{0,verified}}', 'true')
        WHERE u.id = ddp_key AND u.emails #>> '{{0,address}}' = ddp_value;
    END IF;
    RETURN true;"
            ),
        )
    }
}

/// The digest of another program's hash.
pub(in crate::accounts) fn source_sql(hash: &str) -> String {
    format!("encode(sha256(convert_to({hash}, 'UTF8')), 'hex')")
}

/// Whether the column `$3` of the table `$2` in the schema `$1` may be NULL, and whether an index or a
/// constraint has its values unique.
pub(in crate::accounts) const MAY_BE_NULL: &str =
    "SELECT NOT a.attnotnull, EXISTS (SELECT FROM pg_catalog.pg_index i
        WHERE i.indrelid = a.attrelid AND i.indisunique AND (a.attnum = ANY (i.indkey::int2[])
            OR EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.objid = i.indexrelid
                AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum)))
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
        JOIN pg_catalog.pg_namespace s ON s.oid = c.relnamespace
    WHERE s.nspname = $1 AND c.relname = $2 AND a.attname = $3 AND NOT a.attisdropped";

/// Times without a zone are in UTC.
fn function(signature: &str, declare: &str, body: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION accounts.{signature}
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $body$
{declare}BEGIN
{body}
END $body$"
    )
}

pub(in crate::accounts) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
