//! What the first version installs beside a table of users, whatever its columns are.

use crate::accounts::{fold, version1};

/// The statements, for the schema `accounts`.
pub(super) fn statements() -> Vec<String> {
    let fixed = [USERS, version1::TOKENS_AND_SERVICES, FUNCTIONS, version1::DEACTIVATION];
    let fixed = fixed.concat().into_iter().map(str::to_owned);
    std::iter::once(fold::function_sql()).chain(fixed).collect()
}

/// Nothing here is refused that the other program may have: neither two users with one address, nor names
/// of any length, for which there are indexes by hash.
const USERS: &[&str] = &[
    "CREATE TABLE accounts.users (
    id text PRIMARY KEY,
    created_at timestamptz,
    username text,
    profile jsonb,
    emails jsonb,
    roles jsonb,
    is_active boolean NOT NULL
)",
    "COMMENT ON TABLE accounts.users IS 'follows another table: nothing is to be written here'",
    "CREATE INDEX users_username ON accounts.users USING hash (accounts.fold(username))",
    "CREATE INDEX users_address ON accounts.users
    USING hash (accounts.fold(emails #>> '{0,address}'))",
    // The hash that logs in, and the digest of the hash that the other program had then.
    "CREATE TABLE accounts.passwords (
    user_id text PRIMARY KEY REFERENCES accounts.users ON DELETE CASCADE,
    hash text NOT NULL,
    source text NOT NULL
)",
    "CREATE TABLE accounts.verified_emails (
    user_id text PRIMARY KEY REFERENCES accounts.users ON DELETE CASCADE,
    address text NOT NULL
)",
    // What was made for the columns of the other table, to see whether they are still the same.
    "CREATE TABLE accounts.mapping (sql text NOT NULL)",
];

const FUNCTIONS: &[&str] = &[
    // The exact spelling first, else the only one without regard to case.
    "CREATE FUNCTION accounts.user_named(name text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (SELECT min(u.id) FROM accounts.users u
            WHERE accounts.fold(u.username) = accounts.fold(name) AND u.username = name
            HAVING count(*) = 1),
        (SELECT min(u.id) FROM accounts.users u
            WHERE accounts.fold(u.username) = accounts.fold(name) HAVING count(*) = 1))
$$",
    "CREATE FUNCTION accounts.user_at(address text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce(
        (SELECT min(u.id) FROM accounts.users u
            WHERE accounts.fold(u.emails #>> '{0,address}') = accounts.fold(address)
                AND u.emails #>> '{0,address}' = address
            HAVING count(*) = 1),
        (SELECT min(u.id) FROM accounts.users u
            WHERE accounts.fold(u.emails #>> '{0,address}') = accounts.fold(address)
            HAVING count(*) = 1))
$$",
    // A password that another program changes ends what the old one began. Ours says itself what ends.
    "CREATE FUNCTION accounts.end_old_password() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('ddp.is_own_password', true) IS DISTINCT FROM 'on' THEN
        DELETE FROM accounts.login_tokens WHERE user_id = OLD.user_id;
        DELETE FROM accounts.one_time_tokens WHERE user_id = OLD.user_id;
    END IF;
    RETURN NULL;
END $$",
    "REVOKE ALL ON FUNCTION accounts.end_old_password() FROM PUBLIC",
    // A first one as well, which may come after one by which nobody could log in.
    "CREATE FUNCTION accounts.end_without_password() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('ddp.is_own_password', true) IS DISTINCT FROM 'on' THEN
        DELETE FROM accounts.login_tokens t USING new_rows n WHERE t.user_id = n.user_id;
        DELETE FROM accounts.one_time_tokens t USING new_rows n WHERE t.user_id = n.user_id;
    END IF;
    RETURN NULL;
END $$",
    "REVOKE ALL ON FUNCTION accounts.end_without_password() FROM PUBLIC",
    "CREATE TRIGGER passwords_changed AFTER UPDATE ON accounts.passwords
    FOR EACH ROW WHEN (OLD.source <> NEW.source) EXECUTE FUNCTION accounts.end_old_password()",
    "CREATE TRIGGER passwords_added AFTER INSERT ON accounts.passwords
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT
    EXECUTE FUNCTION accounts.end_without_password()",
    "CREATE TRIGGER passwords_removed AFTER DELETE ON accounts.passwords
    FOR EACH ROW EXECUTE FUNCTION accounts.end_old_password()",
];
