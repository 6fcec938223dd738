//! The functions and triggers by which our table of users follows another one, made for its columns.

use super::users_table::{UsersTable, Verified};

/// How our users become those of these rows, which are named `t`.
struct Follow<'a> {
    users: &'a UsersTable,
}

impl UsersTable {
    /// The statements, for the schema `accounts`, after those that drop what was there before.
    pub(super) fn statements(&self, schema: &str) -> Vec<String> {
        let table = self.quoted();
        let follow = Follow { users: self };
        let mut statements = vec![
            "DROP FUNCTION IF EXISTS accounts.follow_users() CASCADE".to_owned(),
            "DROP FUNCTION IF EXISTS accounts.follow_all()".to_owned(),
            "DROP FUNCTION IF EXISTS accounts.write_user(text, text, text)".to_owned(),
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
                "CREATE TRIGGER \"{name}_follows_{}\" AFTER {event} ON {table} {rows}\n\
                 FOR EACH STATEMENT EXECUTE FUNCTION accounts.follow_users()",
                event.to_lowercase()
            ));
        }
        statements
    }

    /// The table's name, as SQL has it.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.table))
    }
}

impl Follow<'_> {
    fn column(column: &str) -> String {
        format!("t.{}", quote(column))
    }

    /// The statements that bring the users of these rows up to date. Nothing that a row can have makes
    /// them fail: they are part of the other program's own.
    fn sync(&self, rows: &str) -> String {
        format!(
            "INSERT INTO accounts.users AS mine
        (id, created_at, username, profile, emails, roles, is_active)
    SELECT {id}, {created_at}, {username}, {profile}, {emails}, {roles}, {is_active}
    FROM {rows} t ORDER BY 1
    ON CONFLICT (id) DO UPDATE
    SET created_at = excluded.created_at, username = excluded.username, profile = excluded.profile,
        emails = excluded.emails, roles = excluded.roles, is_active = excluded.is_active
    WHERE (mine.created_at, mine.username, mine.profile, mine.emails, mine.roles, mine.is_active)
        IS DISTINCT FROM (excluded.created_at, excluded.username, excluded.profile,
            excluded.emails, excluded.roles, excluded.is_active);
    {passwords}",
            id = self.id(),
            created_at = self.created_at(),
            username = self.text(self.users.username.as_deref()),
            profile = self.profile(),
            emails = self.emails(),
            roles = self.roles(),
            is_active = self.is_active(),
            passwords = self.passwords(rows),
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

    fn created_at(&self) -> String {
        let column = self.users.created_at.as_deref().map(Self::column);
        column.map_or("NULL::timestamptz".to_owned(), |column| {
            format!("CASE WHEN isfinite({column}) THEN {column}::timestamptz END")
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
            format!("CASE WHEN {}::boolean THEN {} END", Self::column(column), literal(role))
        });
        let roles = roles.collect::<Vec<_>>().join(", ");
        format!("to_jsonb(array_remove(ARRAY[{roles}], NULL))")
    }

    fn is_active(&self) -> String {
        let column = self.users.is_active.as_deref().map(Self::column);
        column.map_or("true".to_owned(), |column| format!("coalesce({column}, false)"))
    }

    /// What the other program has stored takes the place of ours, which was made of an older one.
    fn passwords(&self, rows: &str) -> String {
        let Some((_, column)) = &self.users.password else { return String::new() };
        let (id, hash) = (self.id(), format!("{}::text", Self::column(column)));
        let source = source_sql(&hash);
        // `!` begins a password of Django by which nobody can log in.
        // With ours beside it that was set here.
        let gone = source_sql(&format!("coalesce({hash}, '')"));
        let usable = format!("coalesce({hash} <> '' AND {hash} NOT LIKE '!%', false)");
        format!(
            "DELETE FROM accounts.passwords p USING {rows} t
    WHERE p.user_id = {id} AND NOT {usable} AND p.source <> {gone};
    INSERT INTO accounts.passwords AS mine (user_id, hash, source)
    SELECT {id}, {hash}, {source} FROM {rows} t WHERE {usable}
    ON CONFLICT (user_id) DO UPDATE SET hash = excluded.hash, source = excluded.source
    WHERE mine.source <> excluded.source;"
        )
    }

    fn trigger_function(&self) -> String {
        let id = quote(&self.users.id);
        function(
            "follow_users() RETURNS trigger",
            "",
            &format!(
                "    IF TG_OP IN ('INSERT', 'UPDATE') THEN
    {}
    END IF;
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM accounts.users u WHERE u.id IN (
            SELECT o.{id}::text FROM old_rows o EXCEPT SELECT n.{id}::text FROM new_rows n);
    ELSIF TG_OP = 'DELETE' THEN
        DELETE FROM accounts.users u USING old_rows o WHERE u.id = o.{id}::text;
    ELSIF TG_OP = 'TRUNCATE' THEN
        DELETE FROM accounts.users;
    END IF;
    RETURN NULL;",
                self.sync("new_rows")
            ),
        )
    }

    fn all_function(&self, table: &str) -> String {
        let id = self.id();
        function(
            "follow_all() RETURNS void",
            "",
            &format!(
                "    {}
    DELETE FROM accounts.users u WHERE NOT EXISTS (SELECT FROM {table} t WHERE {id} = u.id);",
                self.sync(table)
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

/// Times without a zone are in UTC.
fn function(signature: &str, declare: &str, body: &str) -> String {
    format!(
        "CREATE FUNCTION accounts.{signature}
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $body$
{declare}BEGIN
{body}
END $body$"
    )
}

fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
