//! Which columns of a table are published.

use ddp_postgres::{Db, Feed, Table};
use ddp_tests::{Log, database};

use super::{Fixture, sees};

const SETUP: &str = "CREATE TABLE tasks (id int PRIMARY KEY, title text, \"Due at\" date);
    INSERT INTO tasks VALUES (1, 'a', NULL)";

#[tokio::test]
async fn a_table_that_does_not_say_which_columns_is_an_error_that_lists_them() {
    let setup = "CREATE TABLE tasks (id int PRIMARY KEY, title text, \"Due \"\"at\" date);
        CREATE TABLE members (room int, name text, \"passwordHash\" text, note text,
            PRIMARY KEY (name, room))";
    let url = database::create_database("tables_unchosen", setup);
    for (name, list, remark) in [
        ("tasks", r#".columns(["title", "Due \"at"]), or"#, None),
        ("members", r#".columns(["note"]) ("#, Some(r#"["passwordHash"]"#)),
    ] {
        let builder = || Db::builder(&url).table(Table::new(name));
        let error = builder().connect().await.unwrap_err().to_string();
        assert!(error.contains(&format!("\"public\".\"{name}\" does not say")), "{error}");
        assert!(error.contains(list) && error.contains(".all_columns()"), "{error}");
        match remark {
            Some(remark) => assert!(error.contains(remark), "{error}"),
            None => assert!(!error.contains("secret"), "{error}"),
        }
        assert_eq!(builder().install_sql().await.unwrap_err().to_string(), error);
    }
    // What was listed is accepted as it is.
    let table = Table::new("tasks").columns(["title", "Due \"at"]);
    Db::builder(&url).table(table).connect().await.unwrap().close().await;
    // What was installed is known by the names alone.
    Db::builder(&url).table(Table::new("tasks")).uninstall().await.unwrap();
    let left = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '0_ddp_%'";
    assert_eq!(database::psql("tables_unchosen", left).trim(), "0");
}

async fn new_columns_appear_only_if_all_are_published(feed: Feed) {
    let (listed, all) = (Table::new("tasks").columns(["title"]), Table::new("tasks").all_columns());
    for (name, table, fields) in [
        ("listed", listed, [r#"title:"a""#, r#"title:"a""#]),
        ("all", all, [r#"Due at:null,title:"a""#, r#"Due at:null,n:7,title:"a""#]),
    ] {
        let name = database::name(&format!("choice_{name}"), feed);
        let fixture = Fixture::over(&name, SETUP, table, feed).await;
        let mut client = fixture.client().await;
        sees(&mut client, &format!("~1 {}", fields[0])).await;
        fixture.psql("ALTER TABLE tasks ADD COLUMN n int DEFAULT 7");
        fixture.db.check().await.unwrap();
        fixture.psql("UPDATE tasks SET n = 7; INSERT INTO tasks VALUES (2, 'a')");
        sees(&mut client, &format!("~1 {}; ~2 {}", fields[1], fields[1])).await;
        client.close().await;
    }
}

ddp_tests::over_both_feeds!(new_columns_appear_only_if_all_are_published);

#[tokio::test]
async fn a_column_named_like_a_secret_is_a_warning_only_if_it_was_not_named() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let setup = "CREATE TABLE users (id int PRIMARY KEY, name text, password_hash text)";
    let url = database::create_database("tables_secret", setup);
    let warnings = |log: &Log| -> Vec<String> {
        let text = log.take();
        let lines = text.lines().filter(|line| line.contains("named like a secret"));
        lines.map(str::to_owned).collect()
    };
    let named = Table::new("users").columns(["name", "password_hash"]);
    Db::builder(&url).table(named).connect().await.unwrap().close().await;
    assert_eq!(warnings(&log), Vec::<String>::new());

    let all =
        super::builder(&url).check_every(super::NEVER).table(Table::new("users").all_columns());
    let db = all.connect().await.unwrap();
    let found = warnings(&log);
    assert_eq!(found.len(), 1, "{found:?}");
    for word in ["WARN", "users", "password_hash"] {
        assert!(found[0].contains(word), "{word}: {found:?}");
    }
    // One that comes later is told then, and the first not again.
    database::psql("tables_secret", "ALTER TABLE users ADD COLUMN \"apiKey\" text");
    db.check().await.unwrap();
    let found = warnings(&log);
    assert!(found.len() == 1 && found[0].contains("apiKey"), "{found:?}");
    db.close().await;
}
