//! The recipe for logins of the operations guide.

use std::net::SocketAddr;
use std::process::Command;

use ddp_guides::block;
use ddp_postgres::{Db, Table};
use ddp_tests::Client;
use ddp_tests::database::{create_database, psql};
use ddp_tests::peer::serve;
use serde_json::{Value, json};

include!(concat!(env!("OUT_DIR"), "/login.rs"));

const GUIDE: &str = "operations.md";
const HEADING: &str = "Logins of a web application";

/// What the view of the guide imports of Django, and a call of it by user 7 that tells its SQL.
const DJANGO: &str = r#"
import json, sys, types

class Cursor:
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def execute(self, sql, parameters):
        print(json.dumps([sql, [p.hex() if isinstance(p, bytes) else p for p in parameters]]))

def module(name, **names):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__dict__.update(names)

module('django'), module('django.contrib'), module('django.contrib.auth')
module('django.contrib.auth.decorators', login_required=lambda view: view)
module('django.db', connection=types.SimpleNamespace(cursor=Cursor))
module('django.http', JsonResponse=json.dumps)
view = {}
exec(sys.argv[1], view)
print(view['live_token'](types.SimpleNamespace(user=types.SimpleNamespace(pk=7))))
"#;

/// Starts the recipe's server on a database with the recipe's table and two users.
async fn start(name: &str) -> SocketAddr {
    let users = "CREATE TABLE users (id text PRIMARY KEY, name text);
        INSERT INTO users VALUES ('7', 'Ada'), ('8', 'Alan');";
    let url = create_database(name, &format!("{users}{}", block(GUIDE, HEADING, "sql", 0)));
    let users = Table::new("users").columns(["name"]);
    let db = Db::builder(url).table(users).connect().await.expect("a database");
    serve(&recipe().with_state(db)).await
}

/// A token of user 7, from the view.
fn token(name: &str) -> String {
    let view = block(GUIDE, HEADING, "python", 0);
    let output = Command::new("python3").args(["-c", DJANGO, &view]).output();
    let output = output.expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut printed = output.stdout.split(|byte| *byte == b'\n');
    let mut json = || -> Value { serde_json::from_slice(printed.next().unwrap()).unwrap() };
    let (statement, response) = (json(), json());
    let sql = statement[0].as_str().unwrap();
    let (hex, user) = (statement[1][0].as_str().unwrap(), statement[1][1].as_str().unwrap());
    let sql = sql.replacen("%s", &format!(r"'\x{hex}'::bytea"), 1);
    psql(name, &sql.replacen("%s", &format!("'{user}'"), 1));
    response["token"].as_str().unwrap().to_owned()
}

async fn login(client: &mut Client, token: &str) -> Value {
    client.call("login", json!([{"resume": token}])).await
}

fn users(client: &Client) -> Vec<String> {
    client.documents("users").into_keys().collect()
}

#[tokio::test]
async fn a_token_of_the_view_logs_in_and_again() {
    let address = start("login").await;
    let mut client = Client::connect(address).await;
    assert!(users(&client).is_empty());
    let token = token("login");
    let answer = login(&mut client, &token).await;
    assert_eq!(answer["result"]["id"], "7", "{answer}");
    assert!(answer["result"]["tokenExpires"]["$date"].is_i64(), "{answer}");
    assert_eq!(users(&client), ["7"]);
    assert_eq!(client.documents("users")["7"]["name"], "Ada");
    client.close().await;

    // What a client of Meteor's sends by itself when it is connected again.
    let mut client = Client::connect(address).await;
    let again = login(&mut client, answer["result"]["token"].as_str().unwrap()).await;
    assert_eq!(again["result"], answer["result"]);
    assert_eq!(users(&client), ["7"]);
    client.call("logout", json!([])).await;
    assert!(users(&client).is_empty());
}

#[tokio::test]
async fn tokens_that_expired_or_were_stolen_are_refused() {
    let name = "login_refused";
    let mut client = Client::connect(start(name).await).await;
    let token = token(name);
    let stored = psql(name, "SELECT hashed FROM login_tokens");
    for wrong in [stored.trim(), "", "x"] {
        let answer = login(&mut client, wrong).await;
        assert_eq!(answer["error"]["error"], 403, "{wrong:?}: {answer}");
    }
    psql(name, "UPDATE login_tokens SET expires_at = now()");
    let expired = login(&mut client, &token).await;
    assert_eq!(expired["error"]["error"], 403, "{expired}");
    assert_eq!(expired["error"]["reason"], "Your session has expired. Please log in again.");
    assert!(users(&client).is_empty());
}

#[tokio::test]
async fn guesses_of_a_connection_are_limited() {
    let address = start("login_limited").await;
    let mut client = Client::connect(address).await;
    let mut errors = Vec::new();
    // One more than two intervals allow, should an interval end meanwhile.
    for guess in 0..11 {
        let answer = login(&mut client, &guess.to_string()).await;
        errors.push(answer["error"]["error"].clone());
    }
    assert_eq!(errors[..5], vec![json!(403); 5]);
    assert!(errors.contains(&json!("too-many-requests")), "{errors:?}");
    let token = token("login_limited");
    let other = login(&mut Client::connect(address).await, &token).await;
    assert_eq!(other["result"]["id"], "7", "{other}");
}
