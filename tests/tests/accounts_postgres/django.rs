//! Users of a real Django, which writes while clients are logged in.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use ddp_postgres::Feed;
use ddp_postgres::accounts::UsersTable;
use ddp_tests::{Peer, database};
use serde_json::{Value, json};

use super::mapped::{DIGEST, PASSWORD, digest, start};
use super::within;

/// A Python with Django, and with this other module: `PYTHON`, which must have it, or otherwise the one made
/// by the tests' script, if that has it.
pub(crate) fn python_with(module: &str) -> Option<PathBuf> {
    let made = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/python/bin/python"));
    let wanted = std::env::var_os("PYTHON").map(PathBuf::from);
    let is_wanted = wanted.is_some();
    let python = wanted.unwrap_or(made);
    let status = Command::new(&python)
        .args(["-c", &format!("import django, {module}")])
        .stderr(Stdio::null())
        .status();
    let is_there = status.is_ok_and(|status| status.success());
    assert!(
        is_there || !is_wanted,
        "PYTHON ({}) cannot import django and {module}",
        python.display()
    );
    is_there.then_some(python)
}

pub(crate) fn python() -> Option<PathBuf> {
    python_with("django")
}

/// A Django on a database.
pub(crate) struct Django {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Django {
    pub(crate) fn start(python: &PathBuf, url: &str) -> Self {
        let script =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/accounts_postgres/users_of_django.py");
        let mut process = Command::new(python)
            .args([script, url])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, input, output }
    }

    pub(crate) fn tell(&mut self, command: &Value) -> Value {
        writeln!(self.input, "{command}").expect("Django reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("Django answers");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{command}: {line}"))
    }

    fn knows(&mut self, what: &str, name: &str, password: &str) -> bool {
        self.tell(&json!({"what": what, "name": name, "password": password})) == true
    }
}

impl Drop for Django {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn log_in(peer: &mut Peer, name: &str, password: Value) -> Value {
    let login = json!([{"user": {"username": name}, "password": password}]);
    peer.call("login", login).await
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_each_of_djangos_hashers_log_in_and_django_keeps_its_own() {
    let Some(python) = python() else { return println!("there is no Python with Django") };
    let name = database::name("mapped_real_django", Feed::default());
    let mut django = Django::start(&python, &database::create_database(&name, ""));
    django.tell(&json!({"what": "migrate"}));
    let hashers = ["pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt", "bcrypt_sha256", "scrypt"];
    // Some before and some after their table is followed.
    let create = |hasher: &str| {
        json!({"what": "create", "name": hasher, "password": PASSWORD, "hasher": hasher,
            "first_name": "Ada", "is_staff": true})
    };
    let mut ids: Vec<Value> =
        hashers[..3].iter().map(|hasher| django.tell(&create(hasher))).collect();
    let fixture = start(&name, UsersTable::django(), Feed::default()).await;
    ids.extend(hashers[3..].iter().map(|hasher| django.tell(&create(hasher))));
    let (address, _server) = fixture.serve().await;
    for (hasher, id) in hashers.iter().zip(&ids) {
        let mut peer = Peer::connect(address).await;
        let wrong = log_in(&mut peer, hasher, json!("wrong")).await;
        assert_eq!(wrong["error"]["reason"], "Incorrect password", "{hasher}");
        for password in [json!(PASSWORD), digest(DIGEST)] {
            let login = log_in(&mut peer, hasher, password).await;
            assert_eq!(login["result"]["id"], id.to_string(), "{hasher}: {login}");
        }
        assert!(django.knows("check", hasher, PASSWORD), "{hasher}");
        // By a digest alone, a new password is one for Django too, and the old one is not.
        let new = digest("5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8");
        let changed = peer.call("changePassword", json!([digest(DIGEST), new])).await;
        assert_eq!(changed["result"], json!({"passwordChanged": true}), "{hasher}: {changed}");
        assert!(!django.knows("authenticate", hasher, PASSWORD), "{hasher}");
        assert!(django.knows("check", hasher, "password"), "{hasher}");
        // As Django logs in, it hashes anew by the first of its hashers, and that ends ours.
        assert!(django.knows("authenticate", hasher, "password"), "{hasher}");
        within(Duration::from_secs(1), async { while peer.try_recv().await.is_some() {} }).await;
        let mut peer = Peer::connect(address).await;
        let login = log_in(&mut peer, hasher, json!("password")).await;
        assert_eq!(login["result"]["id"], id.to_string(), "{hasher}: {login}");
        // Who is deactivated, gets another password or is removed there is out here.
        let commands = [
            json!({"what": "set", "name": hasher, "password": "third"}),
            json!({"what": "set", "name": hasher, "is_active": false}),
        ];
        django.tell(&commands[0]);
        within(Duration::from_secs(1), async { while peer.try_recv().await.is_some() {} }).await;
        let mut peer = Peer::connect(address).await;
        let login = log_in(&mut peer, hasher, json!("third")).await;
        assert_eq!(login["result"]["id"], id.to_string(), "{hasher}: {login}");
        django.tell(&commands[1]);
        within(Duration::from_secs(1), async { while peer.try_recv().await.is_some() {} }).await;
        django.tell(&json!({"what": "delete", "name": hasher}));
    }
    assert_eq!(fixture.psql("SELECT count(*) FROM accounts.users"), "0");
}
