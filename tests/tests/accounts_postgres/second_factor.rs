//! Second factors and mailed tokens on two servers of one database.

use std::net::SocketAddr;
use std::time::SystemTime;

use data_encoding::BASE32_NOPAD;
use ddp_postgres::Feed;
use ddp_server::accounts::{Accounts, Mail, Mailer, PasswordAlgorithm};
use ddp_server::{Error, Server};
use ddp_tests::{Peer, peer};
use futures::future::{BoxFuture, join_all};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Fixture;

const PASSWORD: &str = "analytical engine";
const INVALID: &str = "invalid-2fa-code";

struct Outbox(UnboundedSender<Mail>);

impl Mailer for Outbox {
    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), Error>> {
        let sent = self.0.send(mail).map_err(|_| Error::internal("the test is over"));
        Box::pin(std::future::ready(sent))
    }
}

/// Two servers of one database, with a user.
struct Scene {
    fixtures: [Fixture; 2],
    addresses: [SocketAddr; 2],
    _servers: [Server; 2],
    mails: UnboundedReceiver<Mail>,
    ada: String,
}

impl Scene {
    async fn start(name: &str) -> Self {
        let one = Fixture::start(name).await;
        let two = Fixture::connect(&one.database, Feed::default()).await;
        let (outbox, mails) = unbounded_channel();
        let handles = [&one, &two].map(|fixture| {
            Accounts::new(fixture.accounts.clone())
                .password_algorithm(PasswordAlgorithm::Bcrypt { cost: 4 })
                .ambiguous_error_messages(false)
                .remove_default_rate_limit()
                .two_factor_authentication()
                .oauth_secret_key("MDEyMzQ1Njc4OWFiY2RlZg==")
                .passwordless()
                .mailer(Outbox(outbox.clone()))
                .build()
        });
        let user = json!({"username": "ada", "email": "ada@example.com", "password": PASSWORD});
        let ada = handles[0].create_user(&user).await.unwrap();
        let servers = handles.map(|accounts| Server::builder().plugin(accounts).build());
        let addresses = [peer::serve(&servers[0]).await, peer::serve(&servers[1]).await];
        Self { fixtures: [one, two], addresses, _servers: servers, mails, ada }
    }

    /// The ends of these logins, sent at once to both servers by turns: `None`, or the error's code.
    async fn log_in(&self, logins: impl IntoIterator<Item = Value>) -> Vec<Option<Value>> {
        let addresses = self.addresses.iter().cycle();
        join_all(logins.into_iter().zip(addresses).map(async |(login, address)| {
            let mut peer = Peer::connect(*address).await;
            let result = peer.call("login", json!([login])).await;
            result.get("error").map(|error| error["error"].clone())
        }))
        .await
    }

    /// The secret and the recovery codes of the user.
    async fn enable(&self) -> (String, Vec<String>) {
        let mut peer = Peer::connect(self.addresses[0]).await;
        peer.call("login", json!([{"user": "ada", "password": PASSWORD}])).await;
        let activation = peer.call("generate2faActivationQrCode", json!(["App"])).await;
        let secret = activation["result"]["secret"].as_str().expect("a secret").to_owned();
        let enabled = peer.call("enableUser2fa", json!([code(&secret, 0)])).await;
        let codes = enabled["result"]["recoveryCodes"].as_array().expect("codes");
        (secret, codes.iter().map(|code| code.as_str().expect("a text").to_owned()).collect())
    }
}

/// The code that an app shows so many steps from now.
fn code(secret: &str, steps: u64) -> String {
    let secret = BASE32_NOPAD.decode(secret.as_bytes()).unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let mut mac = Hmac::<Sha1>::new_from_slice(&secret).unwrap();
    mac.update(&(now / 30 + steps).to_be_bytes());
    let hash = mac.finalize().into_bytes();
    let at = usize::from(hash[19] & 0xf);
    let number = u32::from_be_bytes(hash[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

fn with_code(code: &str) -> Value {
    json!({"user": "ada", "password": PASSWORD, "code": code})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_code_works_once_on_all_servers() {
    let scene = Scene::start("second_factor").await;
    let (secret, codes) = scene.enable().await;
    let without = json!({"user": "ada", "password": PASSWORD});
    assert_eq!(scene.log_in([without]).await, [Some("no-2fa-code".into())]);
    for code in [code(&secret, 1), codes[0].clone()] {
        let ended = scene.log_in(vec![with_code(&code); 6]).await;
        assert_eq!(ended.iter().filter(|end| end.is_none()).count(), 1, "{ended:?}");
        let is_refused = |end: &&Option<Value>| **end == Some(INVALID.into());
        assert_eq!(ended.iter().filter(is_refused).count(), 5, "{ended:?}");
    }
    let stored = scene.fixtures[0].psql("SELECT data FROM accounts.services");
    assert!(stored.contains("\"otp\"") && stored.contains("aes-128-gcm"), "{stored}");
    assert!(!stored.contains(&secret), "{stored}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_are_counted_over_all_servers() {
    let scene = Scene::start("guesses").await;
    let (secret, codes) = scene.enable().await;
    let right = code(&secret, 1);
    let guesses = (100_000..100_024).map(|guess| guess.to_string());
    let guesses = guesses.filter(|guess| *guess != right).map(|guess| with_code(&guess));
    let ended = scene.log_in(guesses).await;
    let compared = ended.iter().filter(|end| **end == Some(INVALID.into())).count();
    let held_up = ended.iter().filter(|end| **end == Some("too-many-requests".into())).count();
    assert_eq!(compared, 6, "{ended:?}");
    assert_eq!(compared + held_up, ended.len(), "{ended:?}");
    assert_eq!(scene.log_in([with_code(&right)]).await, [Some("too-many-requests".into())]);
    assert_eq!(scene.log_in([with_code(&codes[0])]).await, [None]);
    assert!(scene.fixtures[1].psql("SELECT data FROM accounts.services").contains("otp"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailed_token_logs_in_once_on_all_servers() {
    let mut scene = Scene::start("passwordless").await;
    let mut peer = Peer::connect(scene.addresses[0]).await;
    let request = json!([{"selector": {"email": "ada@example.com"}}]);
    let answer = peer.call("requestLoginTokenForUser", request).await;
    assert_eq!(answer["result"]["isNewUser"], false, "{answer}");
    let mail = scene.mails.recv().await.expect("a mail").text;
    let token = mail.split("loginToken=").nth(1).expect("a link")[..6].to_owned();
    assert!(!scene.fixtures[0].psql("SELECT data FROM accounts.services").contains(&token));
    let login = json!({"selector": {"email": "ada@example.com"}, "token": token});
    let ended = scene.log_in(vec![login; 6]).await;
    assert_eq!(ended.iter().filter(|end| end.is_none()).count(), 1, "{ended:?}");
    let sql = format!("SELECT verified FROM accounts.emails WHERE user_id = '{}'", scene.ada);
    assert_eq!(scene.fixtures[0].psql(&sql), "t");
    assert_eq!(scene.fixtures[0].psql("SELECT count(*) FROM accounts.services"), "0");
}
