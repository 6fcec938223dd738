//! Logins by the session cookies of a real Django.

use std::net::SocketAddr;
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
}

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
        let address = serve(&fixture, sessions).await;
        Some(Self { django, fixture, ada: ada.to_string(), address })
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

async fn serve(fixture: &Fixture, sessions: DjangoSessions) -> SocketAddr {
    let accounts = Accounts::new(fixture.accounts.clone())
        .ambiguous_error_messages(false)
        .remove_default_rate_limit()
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
        assert_eq!(scene.log_in(wrong).await, "This is no session", "{wrong}");
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
    // What Django has signed for its table, put into a cookie.
    scene.cookie("db", json!({}));
    let stored = scene.fixture.psql("SELECT session_data FROM django_session");
    assert_eq!(scene.log_in(&stored).await, WRONG_KEY);
    let pickled = scene.cookie(engine, json!({"serializer": "pickle"}));
    assert_eq!(scene.log_in(&pickled).await, UNREADABLE);
    // Longer than a cookie is kept.
    let long = scene.cookie(engine, json!({"basket": 7_000}));
    assert!(long.len() > 8192);
    let missing = "The request that opened this connection had no session cookie";
    assert_eq!(scene.log_in(&long).await, missing);
    assert_eq!(scene.log_in(&format!("{cookie}; sessionid={forged}")).await, missing);

    // With keys that were used before, and a shorter life.
    let sessions = DjangoSessions::signed_cookies("a new key")
        .secret_key_fallbacks([SECRET_KEY])
        .cookie_age(Duration::from_secs(60));
    scene.address = serve(&scene.fixture, sessions).await;
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
    // Who can have no password logs in there by other means.
    scene.fixture.psql("UPDATE auth_user SET password = '!nobody has this one'");
    let cookie = scene.cookie("db", json!({}));
    assert_eq!(scene.log_in(&cookie).await, scene.ada);
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
    let missing = "The request that opened this connection had no session cookie";
    assert_eq!(scene.log_in(&cookie).await, missing, "it has another name");
    for headers in [&[("cookie", id.as_str())][..], &[PAGE]] {
        let mut peer = Peer::connect_with(scene.address, headers).await;
        assert_eq!(outcome(&mut peer).await, missing, "{headers:?}");
    }
}
