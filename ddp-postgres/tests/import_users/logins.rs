//! What users had with them still works.

use ddp_postgres::Db;
use ddp_postgres::accounts::AccountsTables;
use ddp_server::Server;
use ddp_server::accounts::{Accounts, AccountsStore, PasswordAlgorithm, Sealer, totp_code};
use ddp_server::testing::Client;
use serde_json::{Value, json};

use crate::shapes::{
    ACCESS, ADA, BARBARA, DIGEST, ENROLL, Form, GRACE, LINUS, RESET, SEQUENCE, TOKEN, TOTP,
    UNHASHED, VERIFY,
};
use crate::{KEY, Scene};

const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMA==";

const OTHER_DIGEST: &str = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8";

async fn serve(scene: &Scene) -> (Db, Server) {
    let builder = Db::builder(scene.url()).accounts(AccountsTables::new());
    let db = builder.connect().await.unwrap_or_else(|error| panic!("{error}"));
    let accounts = Accounts::new(db.accounts())
        .password_algorithm(PasswordAlgorithm::Bcrypt { cost: 4 })
        .ambiguous_error_messages(false)
        .remove_default_rate_limit()
        .two_factor_authentication()
        .passwordless()
        .oauth_secret_key(KEY);
    (db, Server::builder().plugin(accounts).build())
}

/// Calls a method on a new connection; returns who is logged in then, or the error.
async fn call(server: &Server, method: &str, params: Value) -> Result<String, String> {
    let client = Client::connect(server).await;
    match client.call::<Value>(method, params).await {
        Ok(result) => Ok(result["id"].as_str().unwrap_or_else(|| panic!("{result}")).to_owned()),
        Err(error) => Err(error.error.to_string()),
    }
}

async fn log_in(server: &Server, login: Value) -> Result<String, String> {
    call(server, "login", json!([login])).await
}

fn digest(digest: &str) -> Value {
    json!({"digest": digest, "algorithm": "sha-256"})
}

async fn everybody_goes_on(form: Form) {
    let scene = Scene::new(&format!("everybody_{form:?}").to_lowercase());
    let outcome = scene.import(&form.lines());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{}", outcome.stdout);
    let kept = json!({
        "passwords": 2, "loginTokens": 2, "oneTimeTokens": 3, "services": 4, "secondFactors": 1,
    });
    assert_eq!(outcome.report["kept"], kept);
    assert_eq!(outcome.report["imported"], 4);
    let (db, server) = serve(&scene).await;

    // By passwords, whoever has hashed them, with names and addresses in any case.
    let ada = json!({"user": {"email": "ADA@example.com"}, "password": digest(DIGEST)});
    assert_eq!(log_in(&server, ada.clone()).await, Ok(ADA.to_owned()));
    let wrong = json!({"user": {"username": "ada"}, "password": digest(OTHER_DIGEST)});
    assert_eq!(log_in(&server, wrong).await, Err("403".to_owned()));
    let mut grace = json!({"user": {"username": "grace"}, "password": digest(DIGEST)});
    assert_eq!(log_in(&server, grace.clone()).await, Err("no-2fa-code".to_owned()));
    grace["code"] = totp_code(TOTP).expect("it is a secret").into();
    assert_eq!(log_in(&server, grace).await, Ok(GRACE.to_owned()));

    // By tokens.
    for token in [TOKEN, UNHASHED] {
        assert_eq!(log_in(&server, json!({"resume": token})).await, Ok(ADA.to_owned()));
    }
    let mailed = json!({"selector": {"email": "linus@example.com"}, "token": SEQUENCE});
    assert_eq!(log_in(&server, mailed).await, Ok(LINUS.to_owned()));
    let verified = "SELECT verified FROM accounts.emails WHERE address = 'Ada@example.com'";
    assert_eq!(scene.psql(verified), "f");
    assert_eq!(call(&server, "verifyEmail", json!([VERIFY])).await, Ok(ADA.to_owned()));
    assert_eq!(scene.psql(verified), "t");
    let reset = json!([RESET, digest(OTHER_DIGEST)]);
    assert_eq!(call(&server, "resetPassword", reset.clone()).await, Ok(ADA.to_owned()));
    assert_eq!(call(&server, "resetPassword", reset).await, Err("403".to_owned()));
    assert_eq!(log_in(&server, ada).await, Err("403".to_owned()));
    let enrolled = call(&server, "resetPassword", json!([ENROLL, digest(DIGEST)])).await;
    assert_eq!(enrolled, Ok(BARBARA.to_owned()));

    // By login services.
    let accounts = db.accounts();
    for (service, id) in [("google", "1084"), ("github", "9")] {
        let user = accounts.find_user_by_service(service, id).await.unwrap();
        assert_eq!(user.expect("the user is known").id, GRACE);
    }
    let (google, _) = accounts.find_service(GRACE, "google").await.unwrap().expect("a record");
    let sealer = Sealer::new(KEY).unwrap();
    for (name, secret) in [("accessToken", ACCESS), ("idToken", "ya29.access")] {
        let stored = google.data.get(name).expect("it is kept");
        assert_eq!(sealer.open(stored, "google", GRACE).as_deref(), Some(secret));
    }
}

#[tokio::test]
async fn everybody_goes_on_after_a_canonical_export() {
    everybody_goes_on(Form::Canonical).await;
}

#[tokio::test]
async fn everybody_goes_on_after_a_relaxed_export() {
    everybody_goes_on(Form::Relaxed).await;
}

#[tokio::test]
async fn everybody_goes_on_after_an_export_of_version_1() {
    everybody_goes_on(Form::Old).await;
}

#[test]
fn documents_are_the_same_and_secrets_are_not_there() {
    for form in Form::ALL {
        let scene = Scene::new(&format!("documents_{form:?}").to_lowercase());
        assert_eq!(scene.import(&form.lines()).code, Some(0));
        let user = "SELECT username, extract(epoch FROM created_at) * 1000, emails, profile
            FROM accounts.users WHERE id = ";
        let row = scene.psql(&format!("{user}'{ADA}'"));
        let columns: Vec<&str> = row.split('|').collect();
        assert_eq!(columns[0], "Ada");
        assert!(columns[1].starts_with("1704067200123."), "{row}");
        let emails = json!([
            {"address": "Ada@example.com", "verified": false},
            {"address": "ada@example.org", "verified": true},
        ]);
        assert_eq!(serde_json::from_str::<Value>(columns[2]).unwrap(), emails);
        let profile = json!({
            "name": "Ada \"the first\"",
            "born": {"$date": -4_858_185_600_000_i64},
            "picture": {"$binary": "AQID"},
            "score": 7,
            "ratio": 48.856_614_000_000_01,
            "friend": {"$type": "oid", "$value": BARBARA},
            "nested": [{"at": {"$date": -1}}],
        });
        assert_eq!(serde_json::from_str::<Value>(columns[3]).unwrap(), profile);
        // Who had none has none.
        assert_eq!(scene.psql(&format!("{user}'{LINUS}'")).split('|').nth(1), Some(""));
        let stored = scene.psql(crate::EVERYTHING);
        for secret in [TOKEN, UNHASHED, RESET, VERIFY, ENROLL, TOTP, ACCESS, "ya29.access"] {
            let plain = format!("|{secret}|");
            assert!(
                !stored.contains(&plain) && !stored.contains(&format!("\"{secret}\"")),
                "{secret}"
            );
        }
        assert!(!stored.contains(TOTP) && !stored.contains(RESET) && !stored.contains(ACCESS));
    }
}

#[tokio::test]
async fn without_a_key_second_factors_are_kept_and_other_secrets_are_not() {
    let scene = Scene::new("no_key");
    // Nobody comes by mistake whose secrets are lost: not without the key, and not with another one.
    let lines = Form::Relaxed.lines();
    for (key, secret) in [
        ("", "line 2: services.google.accessToken: it is secret, and there is no key"),
        (OTHER_KEY, "line 2: services.google.idToken: it is encrypted, and not with the key"),
    ] {
        for options in [&["--dry-run"][..], &[]] {
            let refused = scene.import_with(&lines, options, key);
            assert_eq!(refused.code, Some(1));
            assert!(refused.stderr.contains(secret), "{}", refused.stderr);
            assert!(
                refused.stderr.contains("OAUTH_SECRET_KEY") && !refused.stderr.contains(ACCESS)
            );
        }
    }
    assert_eq!(scene.psql("SELECT count(*) FROM accounts.users"), "0");
    let outcome = scene.import_with(&lines, &["--without-key"], "");
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    let fields: Vec<&String> = outcome.report["fields"].as_object().unwrap().keys().collect();
    let factor = "services.twoFactorAuthentication.secret";
    assert_eq!(fields, ["services.google.accessToken", "services.google.idToken", factor]);
    let said = format!("  {factor}: of 1 users: it is stored as it is, for there is no key");
    assert!(outcome.stdout.contains(&said), "{}", outcome.stdout);
    assert!(!outcome.stdout.contains(ACCESS) && !outcome.stdout.contains(TOTP));
    assert!(!scene.psql(crate::EVERYTHING).contains(ACCESS));
    // With a key later, what is stored without one can still be read.
    let (_db, server) = serve(&scene).await;
    let code = totp_code(TOTP).expect("it is a secret");
    let grace = json!({"user": {"username": "grace"}, "password": digest(DIGEST), "code": code});
    assert_eq!(log_in(&server, grace).await, Ok(GRACE.to_owned()));
}
