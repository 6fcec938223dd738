//! What the other program does to its table of users does not hinder it, and lets nobody in.

use std::time::Duration;

use ddp_postgres::accounts::{AccountsTables, PasswordColumn, UsersTable};
use ddp_postgres::{Db, Feed};
use ddp_server::accounts::{AccountsStore, Email, Selector};
use ddp_tests::database;

use super::mapped::{create, django, insert};
use super::{Fixture, fence, within};

async fn connect(fixture: &Fixture, users: UsersTable) -> Result<Db, String> {
    let url = database::database_url(&fixture.database);
    let connected = Db::builder(url).accounts(AccountsTables::existing(users)).connect().await;
    connected.map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_column_that_is_renamed_or_dropped_hinders_no_writer() {
    let fixture = django("migrated", Feed::default()).await;
    fixture.log_in("1", "t1").await;
    fixture.psql("ALTER TABLE auth_user RENAME first_name TO given_name");
    fixture.psql("ALTER TABLE auth_user ALTER is_staff TYPE integer USING 7");
    fixture.psql("ALTER TABLE auth_user DROP date_joined");
    fixture.psql("UPDATE auth_user SET given_name = 'Augusta'");
    let ada = fixture.user(Selector::Id("1".to_owned())).await.unwrap();
    let profile = ddp_server::ejson::Ejson::Object(ada.profile.unwrap());
    assert_eq!(profile.to_text(), r#"{"name":"Lovelace"}"#);
    assert!(ada.is_active && ada.created_at.is_none());
    assert!(fixture.accounts.find_login_token(&"t1".into()).await.unwrap().is_some());
    let error = connect(&fixture, UsersTable::django()).await.unwrap_err();
    assert!(error.contains("first_name") || error.contains("date_joined"), "{error}");
    // Who may log in is not known any more.
    fixture.psql("ALTER TABLE auth_user RENAME password TO secret");
    fixture.psql("UPDATE auth_user SET given_name = 'Ada'");
    assert_eq!(fixture.hash("1").await, None);
    fixture.log_in("1", "t2").await;
    fixture.psql("ALTER TABLE auth_user DROP is_active");
    fixture.psql(
        "INSERT INTO auth_user (secret, is_superuser, username, given_name, last_name, email, is_staff)
        VALUES ('x', false, 'bob', '', '', '', 1)",
    );
    assert!(!fixture.user(Selector::Id("2".to_owned())).await.unwrap().is_active);
    fixture.psql("UPDATE auth_user SET given_name = 'Augusta'");
    assert!(!fixture.user(Selector::Id("1".to_owned())).await.unwrap().is_active);
    assert!(fixture.accounts.find_login_token(&"t2".into()).await.unwrap().is_none());
    // The table may have another name, and the key.
    fixture.psql("ALTER TABLE auth_user RENAME TO people");
    fixture.psql("UPDATE people SET username = 'augusta' WHERE id = 1");
    assert_eq!(fixture.named("augusta").await.as_deref(), Some("1"));
    fixture.psql("ALTER TABLE people RENAME id TO number");
    fixture
        .psql("UPDATE people SET username = username || '.'; DELETE FROM people; TRUNCATE people");
    // With what is there now, all is followed again.
    let users = UsersTable::new("people").id("number").username("username");
    connect(&fixture, users).await.unwrap();
    fixture.psql("INSERT INTO people VALUES (7, 'x', NULL, false, 'eve', '', '', '', 1)");
    assert_eq!(fixture.named("eve").await.as_deref(), Some("7"));
}

#[tokio::test]
async fn what_other_triggers_write_is_what_counts() {
    let fixture = django("triggers", Feed::default()).await;
    fixture.psql(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE auth_user SET username = upper(username)
            WHERE id = NEW.id AND username <> upper(username);
            RETURN NULL;
        END $$;
        CREATE TRIGGER shout AFTER INSERT OR UPDATE ON auth_user FOR EACH ROW EXECUTE FUNCTION shout()",
    );
    fixture.psql("UPDATE auth_user SET username = 'augusta'");
    let user = fixture.user(Selector::Id("1".to_owned())).await.unwrap();
    assert_eq!(user.username.as_deref(), Some("AUGUSTA"));
    fixture.psql(&insert("bob", "bob@example.com"));
    let user = fixture.user(Selector::Id("2".to_owned())).await.unwrap();
    assert_eq!(user.username.as_deref(), Some("BOB"));
}

#[tokio::test]
async fn following_anew_waits_for_no_reader_and_keeps_grants() {
    let fixture = django("anew", Feed::default()).await;
    let role = format!("{}_role", fixture.database);
    fixture.psql(&format!("DROP ROLE IF EXISTS {role}"));
    fixture.psql(&format!("CREATE ROLE {role}"));
    fixture.psql(&format!("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA accounts TO {role}"));
    let url = database::database_url(&fixture.database);
    let (mut reader, connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let reading = reader.transaction().await.unwrap();
    reading.query("SELECT FROM auth_user", &[]).await.unwrap();
    let changed = UsersTable::django().without_roles();
    // It would wait for as long as the reader stays.
    Box::pin(within(Duration::from_secs(60), connect(&fixture, changed))).await.unwrap();
    let may = format!(
        "SELECT has_function_privilege('{role}', 'accounts.write_user(text, text, text)', 'EXECUTE')"
    );
    assert_eq!(fixture.psql(&may), "t");
    // A writer is waited for, but not without end, and goes on.
    reading.execute("UPDATE auth_user SET last_name = 'King'", &[]).await.unwrap();
    let error = connect(&fixture, UsersTable::django()).await.unwrap_err();
    assert!(error.contains("locked by other transactions"), "{error}");
    reading.commit().await.unwrap();
    connect(&fixture, UsersTable::django()).await.unwrap();
    drop(reader);
    connection.await.unwrap().unwrap();
    fixture.psql(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

// What was refused is rolled back while psql waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_replaced_is_not_verified_by_the_old_ones_column() {
    let setup = "CREATE TABLE users (id integer PRIMARY KEY, email varchar NOT NULL UNIQUE,
            confirmed boolean, encrypted_password varchar);
        INSERT INTO users VALUES (1, 'ada@example.com', true, 'x')";
    let users = UsersTable::new("users")
        .email("email")
        .verified("confirmed")
        .password(PasswordColumn::Devise, "encrypted_password");
    let fixture = create("confirmed", setup, users, Feed::default()).await;
    let (store, fence) = (&fixture.accounts, fence());
    let mut new = Email::new("victim@example.com");
    let refused = store.replace_email("1", "ada@example.com", &new, &fence).await;
    assert!(format!("{refused:?}").contains("not verified"), "{refused:?}");
    new.verified = true;
    assert!(store.replace_email("1", "ada@example.com", &new, &fence).await.unwrap());
    // An empty address would be the next one's as well.
    let refused = store.remove_email("1", "victim@example.com", &fence).await;
    assert!(format!("{refused:?}").contains("replace it instead"), "{refused:?}");
    fixture.psql("ALTER TABLE users ALTER email DROP NOT NULL");
    assert!(store.remove_email("1", "victim@example.com", &fence).await.unwrap());
    assert_eq!(fixture.psql("SELECT email IS NULL FROM users"), "t");
}
