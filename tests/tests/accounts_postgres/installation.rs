//! The tables are made once, by whoever may.

use ddp_postgres::accounts::AccountsTables;
use ddp_postgres::{Db, DbBuilder};
use ddp_server::accounts::{AccountsStore, Selector};
use ddp_tests::database;
use futures::future::join_all;

use super::{Fixture, fence, new_user};

fn builder(url: &str) -> DbBuilder {
    Db::builder(url).accounts(AccountsTables::new())
}

fn as_role(url: &str, role: &str) -> String {
    url.replace("postgres://postgres@", &format!("postgres://{role}@"))
}

async fn error_of(builder: DbBuilder) -> String {
    builder.connect().await.map(drop).unwrap_err().to_string()
}

/// What is in the schema, with the transactions that made it.
const MADE: &str = "SELECT c.relname || c.xmin::text FROM pg_class c WHERE relnamespace = 'accounts'::regnamespace
    UNION ALL SELECT p.proname || p.xmin::text FROM pg_proc p WHERE pronamespace = 'accounts'::regnamespace
    UNION ALL SELECT version::text FROM accounts.versions ORDER BY 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_installs_nothing() {
    let first = Fixture::start("twice").await;
    let before = first.psql(MADE);
    let second = Fixture::connect(&first.database, ddp_postgres::Feed::default()).await;
    assert_eq!(first.psql(MADE), before);
    assert_eq!(first.psql("SELECT count(*), max(version) FROM accounts.versions"), "1|1");
    first.create("ada").await;
    let ada = Selector::Username("ada".to_owned());
    assert!(second.accounts.find_user(&ada).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_at_once_install_once() {
    let url = database::create_database("accounts_at_once", "");
    let started = join_all((0..6).map(|_| builder(&url).connections_max(2).connect())).await;
    for db in started {
        db.unwrap_or_else(|error| panic!("{error}")).close().await;
    }
    let versions = database::psql("accounts_at_once", "SELECT count(*) FROM accounts.versions");
    assert_eq!(versions.trim(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_script_for_psql_installs_the_same_any_number_of_times() {
    let connected = Fixture::start("connected").await;
    let url = database::create_database("accounts_script", "");
    for _ in 0..2 {
        database::psql_script("accounts_script", &AccountsTables::new().install_sql());
    }
    let columns = "SELECT table_name, column_name, data_type, is_nullable, column_default
        FROM information_schema.columns WHERE table_schema = 'accounts' ORDER BY 1, 2";
    let indexes =
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'accounts' ORDER BY indexname";
    let functions = "SELECT proname, md5(prosrc) FROM pg_proc
        WHERE pronamespace = 'accounts'::regnamespace ORDER BY 1";
    for sql in [columns, indexes, functions] {
        assert_eq!(database::psql("accounts_script", sql).trim(), connected.psql(sql));
    }
    // Only the triggers of the broadcasts are still to come.
    let db = builder(&url).connect().await.unwrap();
    db.accounts().create_user(&new_user("ada"), &fence()).await.unwrap();
    let versions = database::psql("accounts_script", "SELECT count(*) FROM accounts.versions");
    assert_eq!(versions.trim(), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_version_is_not_touched() {
    let fixture = Fixture::start("newer").await;
    fixture.psql("INSERT INTO accounts.versions (version) VALUES (7)");
    let url = database::database_url(&fixture.database);
    let error = error_of(builder(&url)).await;
    let expected = "the accounts in schema accounts are of version 7, and this server knows up to 1: upgrade it";
    assert_eq!(error, expected);
    assert_eq!(error_of(builder(&url).without_install()).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_rights_is_told_what_to_grant() {
    let name = "accounts_rights";
    let setup =
        "CREATE ROLE accounts_app LOGIN; REVOKE ALL ON DATABASE accounts_rights FROM PUBLIC;
        GRANT CONNECT ON DATABASE accounts_rights TO accounts_app";
    let url = database::create_database(name, setup);
    let app = || builder(&as_role(&url, "accounts_app"));
    let error = error_of(app()).await;
    let statement = r#"cannot install the accounts in schema accounts: CREATE SCHEMA "accounts": "#;
    assert!(error.starts_with(statement), "{error}");
    assert!(
        error.contains(": GRANT CREATE ON DATABASE accounts_rights TO accounts_app, or"),
        "{error}"
    );
    let error = error_of(app().without_install()).await;
    assert!(error.contains("schema accounts are not installed: "), "{error}");

    // A schema in which it may make nothing.
    database::psql(name, "CREATE SCHEMA accounts");
    let error = error_of(app()).await;
    let grant = r#": GRANT USAGE, CREATE ON SCHEMA "accounts" TO accounts_app, or"#;
    assert!(error.contains("CREATE TABLE IF NOT EXISTS accounts.versions: "), "{error}");
    assert!(error.contains(grant), "{error}");

    // What another role has installed, and this one may not use.
    database::psql(name, "DROP SCHEMA accounts");
    builder(&url).connect().await.unwrap().close().await;
    for round in 0..2 {
        let error = error_of(app().without_install()).await;
        let start = "role accounts_app may not use the accounts in schema accounts: GRANT USAGE";
        assert!(error.starts_with(start), "{error}");
        if round == 0 {
            database::psql(name, r#"GRANT USAGE ON SCHEMA "accounts" TO accounts_app"#);
        } else {
            let grants = error.split(": ").last().unwrap();
            database::psql(name, grants);
        }
    }
    let db = app().without_install().connect().await.unwrap_or_else(|error| panic!("{error}"));
    db.accounts().create_user(&new_user("ada"), &fence()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_somebody_else_is_left_alone() {
    let name = "accounts_foreign";
    let url = database::create_database(
        name,
        "CREATE SCHEMA accounts; CREATE TABLE accounts.users (id int PRIMARY KEY)",
    );
    let error = error_of(builder(&url)).await;
    let expected = "cannot install the accounts in schema accounts: CREATE TABLE accounts.users: relation \
        \"users\" already exists (42P07): if the schema is somebody else's";
    assert!(error.starts_with(expected), "{error}");
    let left = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname = 'accounts' AND relkind = 'r'";
    assert_eq!(database::psql(name, left).trim(), "1", "it is all or nothing");

    let tables = AccountsTables::new().schema("Meteor_1");
    let db = Db::builder(&url).accounts(tables).connect().await.unwrap();
    db.accounts().create_user(&new_user("ada"), &fence()).await.unwrap();
    let added = database::psql(name, r#"SELECT username, emails FROM "Meteor_1".users"#);
    assert_eq!(added.trim(), r#"ada|[{"address": "ada@example.com", "verified": false}]"#);
    let wrong = Db::builder(&url).accounts(AccountsTables::new().schema("a; DROP"));
    assert!(error_of(wrong).await.starts_with("\"a; DROP\" cannot be the schema of accounts"));
}
