//! What leaves the database, and what is logged, has no secret in it.

use std::io::Write;
use std::sync::Arc;

use ddp_server::accounts::{
    AccountsStore, OneTimeToken, PasswordChange, Purpose, Selector, Tokens,
};
use ddp_tests::{Log, database};
use futures::StreamExt;
use futures::stream::poll_fn;
use parking_lot::Mutex;
use tokio_postgres::AsyncMessage;
use tracing_subscriber::filter::LevelFilter;

use super::{Fixture, WHEN, fence, new_user, password, service};

/// The channels of everything that is installed.
const CHANNELS: &str =
    "SELECT DISTINCT (regexp_matches(prosrc, 'ddp_[A-Za-z.]+_[0-9a-f]{16}', 'g'))[1]
    FROM pg_proc WHERE pronamespace = 'ddp'::regnamespace";

/// Writes what the driver logs, of all levels.
struct Driver(Log);

impl log::Log for Driver {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        writeln!(self.0.clone(), "{}", record.args()).expect("memory takes it");
    }

    fn flush(&self) {}
}

/// Hears everything that is broadcast.
async fn overhear(fixture: &Fixture) -> (tokio_postgres::Client, Arc<Mutex<String>>) {
    let url = database::database_url(&fixture.database);
    let (client, mut connection) =
        tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    let heard = Arc::new(Mutex::new(String::new()));
    let hears = Arc::clone(&heard);
    tokio::spawn(async move {
        let mut messages = poll_fn(move |context| connection.poll_message(context));
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message {
                let mut heard = hears.lock();
                heard.push_str(notification.payload());
                heard.push('\n');
            }
        }
    });
    let channels = client.query(CHANNELS, &[]).await.unwrap();
    assert_eq!(channels.len(), 2, "those of the users and of the login tokens");
    for channel in channels {
        client.batch_execute(&format!("LISTEN \"{}\"", channel.get::<_, &str>(0))).await.unwrap();
    }
    (client, heard)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_broadcast_logged_or_told_in_an_error() {
    let log = Log::default();
    // Of all tests of this program, as far as they run at the same time.
    let logs =
        tracing_subscriber::fmt().with_writer(log.clone()).with_max_level(LevelFilter::TRACE);
    logs.try_init().unwrap();
    log::set_logger(Box::leak(Box::new(Driver(log.clone())))).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let fixture = Fixture::start("secrets").await;
    let (listener, heard) = overhear(&fixture).await;
    let accounts = &fixture.accounts;
    let mut new = new_user("ada");
    new.services = vec![("github".to_owned(), service(Some("secret-id"), "secret-key"))];
    accounts.create_user(&new, &fence()).await.unwrap();
    let ada = new.user.id;
    fixture.log_in(&ada, "hash-of-a-login-token").await;
    let mailed = OneTimeToken {
        hash: "secret-mailed".into(),
        purpose: Purpose::Verify,
        user_id: ada.clone(),
        address: "ada@example.com".to_owned(),
        when: WHEN,
    };
    assert!(accounts.put_one_time_token(&mailed).await.unwrap());
    let twice = accounts.put_one_time_token(&mailed).await.unwrap_err();
    let change = PasswordChange { hash: password("changed"), only_if: None, ends: Tokens::Nothing };
    assert!(accounts.set_password(&ada, &change).await.unwrap());
    accounts.find_login_user(&Selector::Username("ADA".to_owned())).await.unwrap().unwrap();
    fixture.psql("UPDATE accounts.users SET profile = '{\"name\": \"Ada\"}'; UPDATE accounts.emails SET verified = true");
    fixture.psql("DELETE FROM accounts.login_tokens; DELETE FROM accounts.users");
    fixture.db.close().await;
    let closed = accounts.set_password(&ada, &change).await.unwrap_err();
    for error in [twice, closed] {
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(!format!("{error:?}").contains("secret"), "{error}");
    }
    // All that was sent has come when this answers.
    listener.batch_execute("SELECT 1").await.unwrap();
    let heard = heard.lock().clone();
    for expected in ["ada@example.com", "hash-of-a-login-token", "\"Ada\""] {
        assert!(heard.contains(expected), "{expected} is not in {heard}");
    }
    assert!(!heard.contains("secret"), "{heard}");
    let log = log.take();
    assert!(log.contains("the tables of accounts were installed"), "{log}");
    assert!(log.contains("executing statement"), "the driver's are among them");
    for secret in ["secret-", "hash-of-a-login-token"] {
        assert!(!log.contains(secret), "{log}");
    }
}
