//! Logins by the session cookies of a real Django.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ddp_postgres::Feed;
use ddp_postgres::accounts::{DjangoSessions, UsersTable};
use ddp_server::accounts::Accounts;
use ddp_server::{Origins, Server, ServerConfig};
use ddp_tests::{Log, Peer, database, peer};
use serde_json::{Value, json};

use super::django::{Django, python};
use super::mapped::{self, PASSWORD};
use super::{Fixture, within};

const PAGE: (&str, &str) = ("origin", "https://app.example");
/// Of Django.
const SECRET_KEY: &str = "of a test";

/// A Django with a user ada, and a server beside it.
struct Scene {
    django: Django,
    fixture: Fixture,
    ada: String,
    address: SocketAddr,
    /// What somebody does once between the look at a session and its login.
    meanwhile: Meanwhile,
}

type Meanwhile = Arc<Mutex<Option<&'static str>>>;

impl Scene {
    /// `None` without a Python that has Django.
    async fn start(name: &str, sessions: DjangoSessions) -> Option<Self> {
        let Some(python) = python() else {
            println!("there is no Python with Django");
            return None;
        };
        let name = database::name(&format!("sessions_{name}"), Feed::default());
        let mut django = Django::start(&python, &database::create_database(&name, ""));
        django.tell(&json!({"what": "migrate"}));
        let ada = django.tell(&json!({"what": "create", "name": "ada", "password": PASSWORD}));
        let fixture = mapped::start(&name, UsersTable::django(), Feed::default()).await;
        let meanwhile = Meanwhile::default();
        let address = serve(&fixture, sessions, &meanwhile).await;
        Some(Self { django, fixture, ada: ada.to_string(), address, meanwhile })
    }

    /// The cookie of a browser in which ada has logged in.
    fn cookie(&mut self, engine: &str, with: Value) -> String {
        let mut command = json!({"what": "cookie", "name": "ada", "engine": engine});
        for (name, value) in with.as_object().expect("an object") {
            command[name] = value.clone();
        }
        self.django.tell(&command).as_str().expect("a cookie").to_owned()
    }

    async fn connect(&self, cookie: &str) -> Peer {
        let cookie = format!("csrftoken=x; sessionid={cookie}");
        Peer::connect_with(self.address, &[PAGE, ("cookie", &cookie)]).await
    }

    /// Logs in by a cookie: the user's id, or the error.
    async fn log_in(&self, cookie: &str) -> String {
        outcome(&mut self.connect(cookie).await).await
    }
}

async fn serve(fixture: &Fixture, sessions: DjangoSessions, meanwhile: &Meanwhile) -> SocketAddr {
    let (meanwhile, database) = (meanwhile.clone(), fixture.database.clone());
    let accounts = Accounts::new(fixture.accounts.clone())
        .ambiguous_error_messages(false)
        .remove_default_rate_limit()
        .validate_login_attempt(move |_| {
            let sql = meanwhile.lock().unwrap().take();
            sql.map(|sql| database::psql(&database, sql));
            async { Ok(true) }
        })
        .login_handler(fixture.accounts.django_sessions(sessions));
    let mut config = ServerConfig::default();
    config.allowed_origins = Origins::only([PAGE.1]).unwrap();
    peer::serve(&Server::builder().config(config).plugin(accounts).build()).await
}

async fn outcome(peer: &mut Peer) -> String {
    let answer = peer.call("login", json!([{"djangoSession": true}])).await;
    match answer["result"]["id"].as_str() {
        Some(id) => id.to_owned(),
        None => answer["error"]["reason"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The connection ends soon.
async fn ends(peer: &mut Peer) {
    within(Duration::from_secs(1), async { while peer.try_recv().await.is_some() {} }).await;
}

const WRONG_KEY: &str = "This session is signed with another key";
const OTHER_PASSWORD: &str = "The password has changed since this session began";
const UNREADABLE: &str = "This session cannot be read here";
const NO_COOKIE: &str = "This connection has no session cookie";

#[tokio::test]
async fn a_session_in_the_database_logs_in_until_it_ends() {
    let sessions = DjangoSessions::database(SECRET_KEY);
    let Some(mut scene) = Scene::start("table", sessions).await else { return };
    let cookie = scene.cookie("db", json!({}));
    let mut peer = scene.connect(&cookie).await;
    let login = peer.call("login", json!([{"djangoSession": true}])).await;
    let result = &login["result"];
    assert_eq!(result["id"], scene.ada.as_str(), "{login}");
    assert_eq!(result["type"], "djangoSession", "{login}");
    let sql = "SELECT floor(extract(epoch FROM expire_date) * 1000)::int8 FROM django_session";
    assert_eq!(result["tokenExpires"]["$date"].to_string(), scene.fixture.psql(sql), "{login}");
    let resume = json!([{"resume": result["token"]}]);
    let again = Peer::connect(scene.address).await.call("login", resume).await;
    assert_eq!(again["result"]["id"], scene.ada.as_str(), "{again}");
    // One that Django has compressed.
    let cookie = scene.cookie("cached_db", json!({"basket": 1000}));
    assert_eq!(scene.log_in(&cookie).await, scene.ada);

    scene.fixture.psql("UPDATE django_session SET expire_date = now()");
    assert_eq!(scene.log_in(&cookie).await, "This session has expired");
    scene.fixture.psql("DELETE FROM django_session");
    assert_eq!(scene.log_in(&cookie).await, "There is no such session");
    for wrong in ["short", "with-signs-in-it", &"x".repeat(41), "'abcdefgh"] {
        assert_eq!(scene.log_in(wrong).await, "This is not a session", "{wrong}");
    }
}

#[tokio::test]
async fn a_signed_cookie_logs_in_until_it_ends() {
    let sessions = DjangoSessions::signed_cookies(SECRET_KEY);
    let Some(mut scene) = Scene::start("signed", sessions).await else { return };
    let engine = "signed_cookies";
    let cookie = scene.cookie(engine, json!({}));
    assert_eq!(scene.log_in(&cookie).await, scene.ada);
    let day = 24 * 60 * 60;
    let late = scene.cookie(engine, json!({"age": 14 * day - 60}));
    assert_eq!(scene.log_in(&late).await, scene.ada);
    let expired = scene.cookie(engine, json!({"age": 14 * day}));
    assert_eq!(scene.log_in(&expired).await, "This session has expired");
    let forged = scene.cookie(engine, json!({"key": "of somebody else"}));
    assert_eq!(scene.log_in(&forged).await, WRONG_KEY);
    let mut tampered = cookie.clone().into_bytes();
    tampered[20] ^= 1;
    assert_eq!(scene.log_in(std::str::from_utf8(&tampered).unwrap()).await, WRONG_KEY);
    // One that Django has given another end.
    for (with, expected) in [
        (json!({"expiry": 60, "age": 30}), scene.ada.clone()),
        (json!({"expiry": 60, "age": 60}), "This session has expired".to_owned()),
        (json!({"until": 60}), scene.ada.clone()),
        (json!({"until": -1}), "This session has expired".to_owned()),
        (json!({"expiry": 0}), scene.ada.clone()),
    ] {
        let cookie = scene.cookie(engine, with.clone());
        assert_eq!(scene.log_in(&cookie).await, expected, "{with}");
    }
    // What Django has signed for its table, put into a cookie.
    scene.cookie("db", json!({}));
    let stored = scene.fixture.psql("SELECT session_data FROM django_session");
    assert_eq!(scene.log_in(&stored).await, WRONG_KEY);
    let pickled = scene.cookie(engine, json!({"serializer": "pickle"}));
    assert_eq!(scene.log_in(&pickled).await, UNREADABLE);
    // Longer than a cookie is kept.
    let long = scene.cookie(engine, json!({"basket": 7_000}));
    assert!(long.len() > 8192);
    assert_eq!(scene.log_in(&long).await, NO_COOKIE);
    assert_eq!(scene.log_in(&format!("{cookie}; sessionid={forged}")).await, NO_COOKIE);

    // With keys that were used before, and a shorter life.
    let sessions = DjangoSessions::signed_cookies("a new key")
        .secret_key_fallbacks([SECRET_KEY])
        .cookie_age(Duration::from_secs(60));
    scene.address = serve(&scene.fixture, sessions, &scene.meanwhile).await;
    assert_eq!(scene.log_in(&cookie).await, scene.ada);
    let minute = scene.cookie(engine, json!({"age": 60}));
    assert_eq!(scene.log_in(&minute).await, "This session has expired");
}

#[tokio::test]
async fn another_password_ends_what_sessions_began() {
    let sessions = DjangoSessions::database(SECRET_KEY);
    let Some(mut scene) = Scene::start("password", sessions).await else { return };
    let cookie = scene.cookie("db", json!({}));
    let mut peer = scene.connect(&cookie).await;
    assert_eq!(outcome(&mut peer).await, scene.ada);
    scene.django.tell(&json!({"what": "set", "name": "ada", "password": "another"}));
    ends(&mut peer).await;
    assert_eq!(scene.log_in(&cookie).await, OTHER_PASSWORD);
    let cookie = scene.cookie("db", json!({}));
    assert_eq!(scene.log_in(&cookie).await, scene.ada);
    // Ours of the same password is kept beside Django's, and changes nothing.
    let mut peer = scene.connect(&cookie).await;
    let by_password = json!([{"user": {"username": "ada"}, "password": "another"}]);
    let login = peer.call("login", by_password).await;
    assert_eq!(login["result"]["id"], scene.ada.as_str(), "{login}");
    assert_eq!(outcome(&mut peer).await, scene.ada);
    // Who can have no password logs in there by other means; a first one ends that as well.
    scene.fixture.psql("UPDATE auth_user SET password = '!nobody has this one'");
    let cookie = scene.cookie("db", json!({}));
    let mut peer = scene.connect(&cookie).await;
    assert_eq!(outcome(&mut peer).await, scene.ada);
    scene.django.tell(&json!({"what": "set", "name": "ada", "password": "a first one"}));
    ends(&mut peer).await;
    assert_eq!(scene.log_in(&cookie).await, OTHER_PASSWORD);
}

#[tokio::test]
async fn a_password_that_changes_as_its_session_logs_in_ends_that_login() {
    let sessions = DjangoSessions::database(SECRET_KEY);
    let Some(mut scene) = Scene::start("race", sessions).await else { return };
    for (before, change) in [
        (None, "UPDATE auth_user SET password = 'pbkdf2_sha256$1$b$b'"),
        (None, "UPDATE auth_user SET password = '!nobody has this one'"),
        (Some("!unusable"), "UPDATE auth_user SET password = 'pbkdf2_sha256$1$b$b'"),
    ] {
        if let Some(before) = before {
            scene.fixture.psql(&format!("UPDATE auth_user SET password = '{before}'"));
        }
        let cookie = scene.cookie("db", json!({}));
        assert_eq!(scene.log_in(&cookie).await, scene.ada, "{change}");
        *scene.meanwhile.lock().unwrap() = Some(change);
        assert_eq!(scene.log_in(&cookie).await, "Incorrect password", "{before:?}: {change}");
        assert_eq!(scene.fixture.psql("SELECT count(*) FROM accounts.login_tokens"), "0");
    }
}

#[tokio::test]
async fn after_a_logout_the_cookie_of_the_connection_logs_nobody_in() {
    let sessions = DjangoSessions::signed_cookies(SECRET_KEY);
    let Some(mut scene) = Scene::start("logout", sessions).await else { return };
    let cookie = scene.cookie("signed_cookies", json!({}));
    let mut peer = scene.connect(&cookie).await;
    assert_eq!(outcome(&mut peer).await, scene.ada);
    let out = peer.call("logout", json!([])).await;
    assert!(out.get("error").is_none(), "{out}");
    assert_eq!(outcome(&mut peer).await, NO_COOKIE);
}

#[tokio::test]
async fn neither_an_operator_nor_an_id_of_another_type_finds_a_user() {
    let sessions = DjangoSessions::database(SECRET_KEY);
    let Some(mut scene) = Scene::start("operator", sessions).await else { return };
    let ids = ["", "ada", "1.5", "99999999999999999999", "67e55044-10b1-426f-9247-bb680e5fe0c8"];
    let cookies = ids.map(|pk| (pk, scene.cookie("db", json!({"pk": pk}))));
    let cookie = scene.cookie("db", json!({}));
    // Before anybody logs in: what is prepared keeps its operators. Django makes no session from here on.
    scene.fixture.psql(
        "CREATE FUNCTION public.yes(varchar, varchar) RETURNS boolean LANGUAGE sql AS 'SELECT true';
        CREATE OPERATOR public.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = public.yes)",
    );
    assert_eq!(scene.log_in(&"a".repeat(32)).await, "There is no such session");
    assert_eq!(scene.log_in(&cookie).await, scene.ada);
    for (pk, cookie) in cookies {
        assert_eq!(scene.log_in(&cookie).await, "Nobody is logged in by this session", "{pk}");
    }
}

#[tokio::test]
async fn whoever_is_not_active_or_gone_has_no_session() {
    let sessions = DjangoSessions::database(SECRET_KEY);
    let Some(mut scene) = Scene::start("inactive", sessions).await else { return };
    let cookie = scene.cookie("db", json!({}));
    let mut peer = scene.connect(&cookie).await;
    assert_eq!(outcome(&mut peer).await, scene.ada);
    scene.django.tell(&json!({"what": "set", "name": "ada", "is_active": false}));
    ends(&mut peer).await;
    assert_eq!(scene.log_in(&cookie).await, "Login forbidden");
    scene.django.tell(&json!({"what": "delete", "name": "ada"}));
    assert_eq!(scene.log_in(&cookie).await, "Nobody is logged in by this session");
}

#[tokio::test]
async fn sessions_of_the_database_that_cannot_be_read_are_told_in_the_log() {
    let sessions = DjangoSessions::database(SECRET_KEY);
    let Some(mut scene) = Scene::start("unreadable", sessions).await else { return };
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    for (with, expected, line) in [
        (
            json!({"serializer": "pickle"}),
            UNREADABLE,
            "it is a pickle: set Django's SESSION_SERIALIZER",
        ),
        (json!({"basket": 40_000}), UNREADABLE, "it has more than 64 KiB"),
        (
            json!({"key": "of somebody else"}),
            WRONG_KEY,
            "DjangoSessions has not Django's SECRET_KEY",
        ),
    ] {
        let cookie = scene.cookie("db", with);
        assert_eq!(scene.log_in(&cookie).await, expected);
        let logged = log.take();
        assert!(logged.contains(line), "{logged}");
    }
    let cookie = scene.cookie("db", json!({}));
    for (sql, expected, line) in [
        (
            "UPDATE auth_user SET password = 'another'",
            OTHER_PASSWORD,
            "by an own get_session_auth_hash",
        ),
        // As Django 3.0 wrote it, more or less.
        (
            "UPDATE django_session SET session_data = 'YTp7fQ=='",
            "This is not a session",
            "Django is older than 3.1",
        ),
    ] {
        scene.fixture.psql(sql);
        assert_eq!(scene.log_in(&cookie).await, expected);
        let logged = log.take();
        assert!(logged.contains(line), "{logged}");
    }
}

#[tokio::test]
async fn cookies_of_other_pages_and_other_arguments_log_nobody_in() {
    let sessions = DjangoSessions::database(SECRET_KEY).cookie_name("id");
    let Some(mut scene) = Scene::start("pages", sessions).await else { return };
    let cookie = scene.cookie("db", json!({}));
    let id = format!("id={cookie}");
    let mut peer = Peer::connect_with(scene.address, &[PAGE, ("cookie", &id)]).await;
    assert_eq!(outcome(&mut peer).await, scene.ada);
    for options in [
        json!({"djangoSession": false}),
        json!({"djangoSession": null}),
        json!({"djangoSession": 1}),
        json!({"djangoSession": cookie}),
        json!({"djangoSession": true, "user": "1"}),
    ] {
        let refused = peer.call("login", json!([options])).await;
        assert_eq!(refused["error"]["error"], 400, "{refused}");
    }
    assert_eq!(scene.log_in(&cookie).await, NO_COOKIE, "it has another name");
    for headers in [&[("cookie", id.as_str())][..], &[PAGE]] {
        let mut peer = Peer::connect_with(scene.address, headers).await;
        assert_eq!(outcome(&mut peer).await, NO_COOKIE, "{headers:?}");
    }
}
