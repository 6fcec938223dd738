//! Logins by the tokens of Django REST framework.

use std::time::Duration;

use ddp_postgres::accounts::{AccountsTables, UsersTable};
use ddp_postgres::{Db, Feed};
use ddp_server::Server;
use ddp_server::accounts::Accounts;
use ddp_tests::{Log, Peer, database, peer};
use serde_json::{Value, json};

use super::django::{Django, python_with};
use super::mapped::{self, PASSWORD};
use super::{Fixture, within};

/// The table as the framework's migrations make it.
const TOKENS: &str = r#"CREATE TABLE "authtoken_token" (
    "key" varchar(40) NOT NULL PRIMARY KEY, "created" timestamp with time zone NOT NULL,
    "user_id" integer NOT NULL UNIQUE REFERENCES "auth_user" ("id") DEFERRABLE INITIALLY DEFERRED);"#;

/// Of ada.
const KEY: &str = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b";

async fn serve(db: &Db) -> (std::net::SocketAddr, Server) {
    let accounts = Accounts::new(db.accounts())
        .ambiguous_error_messages(false)
        .remove_default_rate_limit()
        .login_handler(db.accounts().django_tokens());
    let server = Server::builder().plugin(accounts).build();
    (peer::serve(&server).await, server)
}

async fn django(name: &str) -> Fixture {
    let fixture = mapped::django(name, Feed::default()).await;
    fixture.psql(&format!(
        "{TOKENS} INSERT INTO authtoken_token VALUES ('{KEY}', now(), (SELECT id FROM auth_user))"
    ));
    fixture
}

async fn log_in(peer: &mut Peer, token: impl Into<Value>) -> Value {
    peer.call("login", json!([{"authtoken": token.into()}])).await
}

/// The error that a client got.
fn error(answer: &Value) -> String {
    let error = &answer["error"];
    format!("{} [{}]", error["reason"].as_str().unwrap_or_default(), error["error"])
}

#[tokio::test]
async fn a_token_logs_in_and_nothing_else_does() {
    let fixture = django("tokens").await;
    let (address, _server) = serve(&fixture.db).await;
    let mut peer = Peer::connect(address).await;
    let login = log_in(&mut peer, KEY).await;
    assert_eq!(login["result"]["id"], "1", "{login}");
    assert_eq!(login["result"]["type"], "authtoken", "{login}");
    let resume = json!([{"resume": login["result"]["token"]}]);
    let again = Peer::connect(address).await.call("login", resume).await;
    assert_eq!(again["result"]["id"], "1", "{again}");

    let mut peer = Peer::connect(address).await;
    let unknown = "9944b09199c62bcf9418ad846dd0e4bbdfc6ee4c";
    for key in [
        unknown.to_owned(),
        KEY[..39].to_owned(),
        KEY.to_uppercase(),
        String::new(),
        "%".to_owned(),
        format!("{KEY} "),
        format!("{KEY}\0"),
        format!("{KEY}\u{e9}"),
        "'; DROP TABLE authtoken_token; --".to_owned(),
        "x".repeat(64),
        "x".repeat(65),
        "x".repeat(60_000),
    ] {
        let refused = log_in(&mut peer, key.clone()).await;
        assert_eq!(error(&refused), "User not found [403]", "{key}");
    }
    for options in [
        json!({"authtoken": null}),
        json!({"authtoken": 1}),
        json!({"authtoken": [KEY]}),
        json!({"authtoken": {"key": KEY}}),
        json!({"authtoken": {"$ne": null}}),
        json!({"authtoken": KEY, "user": "ada"}),
    ] {
        let refused = peer.call("login", json!([options])).await;
        assert_eq!(error(&refused), "Match failed [400]", "{options}");
    }
    // What is another handler's is left to it.
    let other = peer.call("login", json!([{"token": KEY}])).await;
    assert_eq!(error(&other), "Unrecognized options for login request [400]");
}

#[tokio::test]
async fn whoever_is_not_active_or_gone_is_refused() {
    let fixture = django("tokens_inactive").await;
    let (address, _server) = serve(&fixture.db).await;
    let mut peer = Peer::connect(address).await;
    assert_eq!(log_in(&mut peer, KEY).await["result"]["id"], "1");
    fixture.psql("UPDATE auth_user SET is_active = false");
    within(Duration::from_secs(1), async { while peer.try_recv().await.is_some() {} }).await;
    let mut peer = Peer::connect(address).await;
    assert_eq!(error(&log_in(&mut peer, KEY).await), "Login forbidden [403]");
    fixture.psql("UPDATE auth_user SET is_active = true");
    assert_eq!(log_in(&mut peer, KEY).await["result"]["id"], "1");
    // Who is logged in already has a login token, and stays.
    fixture.psql("DELETE FROM authtoken_token");
    let mut other = Peer::connect(address).await;
    assert_eq!(error(&log_in(&mut other, KEY).await), "User not found [403]");
    peer.expect_nothing().await;
}

#[tokio::test]
async fn a_role_that_may_not_read_the_tokens_says_what_to_grant() {
    let fixture = django("tokens_rights").await;
    let database = &fixture.database;
    fixture.psql(
        "CREATE ROLE tokens_app LOGIN; GRANT USAGE ON SCHEMA accounts TO tokens_app;
        GRANT SELECT, INSERT, UPDATE, DELETE, TRIGGER ON ALL TABLES IN SCHEMA accounts TO tokens_app;
        GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA accounts TO tokens_app",
    );
    let url = database::database_url(database);
    let url = url.replace("postgres://postgres@", "postgres://tokens_app@");
    let tables = AccountsTables::existing(UsersTable::django());
    let db = Db::builder(url).accounts(tables).connect().await;
    let db = db.unwrap_or_else(|error| panic!("{error}"));
    let (address, _server) = serve(&db).await;
    let mut peer = Peer::connect(address).await;
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    assert_eq!(error(&log_in(&mut peer, KEY).await), "Internal server error [500]");
    let logged = log.take();
    assert!(logged.contains("GRANT SELECT on the columns"), "{logged}");
    fixture.psql("GRANT SELECT (key, user_id) ON authtoken_token TO tokens_app");
    assert_eq!(log_in(&mut peer, KEY).await["result"]["id"], "1");
}

/// Equal is what `pg_catalog` says, and no operator that somebody has made for the type of the column.
#[tokio::test]
async fn no_operator_of_another_schema_decides_whose_a_token_is() {
    let fixture = django("tokens_operator").await;
    fixture.psql(
        "CREATE FUNCTION public.yes(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true';
        CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.yes)",
    );
    assert_eq!(fixture.psql("SELECT 'a'::varchar = 'b'::varchar"), "t", "it would be taken");
    let (address, _server) = serve(&fixture.db).await;
    let mut peer = Peer::connect(address).await;
    assert_eq!(error(&log_in(&mut peer, KEY.replace('9', "8")).await), "User not found [403]");
    assert_eq!(log_in(&mut peer, KEY).await["result"]["id"], "1");
    let plan = "SET enable_seqscan = off; EXPLAIN SELECT t.user_id::text FROM authtoken_token t
        WHERE t.key::text OPERATOR(pg_catalog.=) 'a'";
    let plan = fixture.psql(plan);
    assert!(plan.contains("Index Scan using authtoken_token_pkey"), "{plan}");
}

#[tokio::test]
#[should_panic(expected = "name their table by AccountsTables::existing(UsersTable::django())")]
async fn tokens_are_for_users_of_django() {
    let fixture = Fixture::start("tokens_of_ours").await;
    let _ = fixture.accounts.django_tokens();
}

#[tokio::test]
async fn a_token_of_the_framework_itself_logs_in() {
    let Some(python) = python_with("rest_framework") else {
        return println!("there is no Python with Django's REST framework");
    };
    let name = database::name("mapped_real_tokens", Feed::default());
    let mut django = Django::start(&python, &database::create_database(&name, ""));
    django.tell(&json!({"what": "migrate"}));
    let id = django.tell(&json!({"what": "create", "name": "ada", "password": PASSWORD}));
    let fixture = mapped::start(&name, UsersTable::django(), Feed::default()).await;
    let (address, _server) = serve(&fixture.db).await;
    let token = django.tell(&json!({"what": "token", "name": "ada"}));
    let mut peer = Peer::connect(address).await;
    let login = log_in(&mut peer, token.clone()).await;
    assert_eq!(login["result"]["id"], id.to_string(), "{login}");
    django.tell(&json!({"what": "delete", "name": "ada"}));
    within(Duration::from_secs(1), async { while peer.try_recv().await.is_some() {} }).await;
    let mut peer = Peer::connect(address).await;
    assert_eq!(error(&log_in(&mut peer, token).await), "User not found [403]");
}
