//! The script of the guide "from Meteor" that makes a table of a collection.

use std::path::PathBuf;
use std::process::Command;

use ddp_guides::block;
use ddp_postgres::{Db, Table};
use ddp_server::{Collection, Server, State};
use ddp_tests::Client;
use ddp_tests::database::create_database;
use ddp_tests::peer::serve;
use serde_json::json;

/// Two documents in the form that `mongoexport --jsonFormat canonical` gives them.
const EXPORTED: &str = r#"{"_id":"6bjBdidQrjM7t2g5J","listId":"home","owner":"ada","text":"Say \"hi\"\\n,\tgo","checked":true,"tags":["a","b, c"],"createdAt":{"$date":{"$numberLong":"1704067200123"}},"priority":{"$numberInt":"3"},"ratio":{"$numberDouble":"-0.5"},"due":{"at":{"$date":{"$numberLong":"-1"}}},"file":{"$binary":{"base64":"AQID","subType":"00"}},"parent":{"$oid":"507f1f77bcf86cd799439011"}}
{"_id":{"$oid":"507f191e810c19729de860ea"},"listId":"home","text":"{\"$oid\": \"507f191e810c19729de860ea\"}","tags":null,"createdAt":{"$date":{"$numberLong":"1704067200000"}}}
"#;

/// Takes the place of Mongo's program, which is not here.
const MONGOEXPORT: &str = r#"#!/bin/sh
case "$*" in *"--collection tasks"*"--jsonFormat canonical"*) ;; *) exit 1 ;; esac
while [ "$1" != --out ]; do shift; done
cp exported.jsonl "$2"
"#;

const TASKS: Collection<()> = Collection::new("tasks");

/// A folder that is removed when the test ends.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs the script as it is, with `mongoexport` first in PATH.
fn import(url: &str) {
    use std::os::unix::fs::PermissionsExt;

    let folder = std::env::temp_dir().join(format!("ddp-guides-import-{}", std::process::id()));
    let folder = Folder(folder);
    std::fs::create_dir_all(&folder.0).unwrap();
    let mongoexport = folder.0.join("mongoexport");
    std::fs::write(&mongoexport, MONGOEXPORT).unwrap();
    std::fs::set_permissions(&mongoexport, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(folder.0.join("exported.jsonl"), EXPORTED).unwrap();
    let mut paths = vec![folder.0.clone()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
    let script = block("from-meteor.md", "Moving the data", "sh", 0);
    let output = Command::new("bash")
        .args(["-ec", &script])
        .current_dir(&folder.0)
        .env("PATH", std::env::join_paths(paths).unwrap())
        .env("MONGO_URL", "mongodb://127.0.0.1/app")
        .env("DATABASE_URL", url)
        .output()
        .expect("bash starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn an_exported_collection_becomes_a_table() {
    let url = create_database("import", "");
    import(&url);
    let tasks = Table::new("tasks").all_columns().camel_case().ejson("data");
    let db = Db::builder(url).table(tasks).connect().await.expect("a database");
    let server = Server::builder().publish("tasks", async |State(db): State<Db>| db.find(&TASKS));
    let mut client = Client::connect(serve(&server.with_state(db)).await).await;
    client.subscribe("tasks", json!([])).await;
    let documents = client.documents("tasks");
    assert_eq!(documents.len(), 2);
    let expected = json!({
        "listId": "home", "owner": "ada", "text": "Say \"hi\"\\n,\tgo", "checked": true,
        "tags": ["a", "b, c"], "createdAt": {"$date": 1_704_067_200_123_i64},
        "data": {
            "priority": 3, "ratio": -0.5, "due": {"at": {"$date": -1}}, "file": {"$binary": "AQID"},
            "parent": "507f1f77bcf86cd799439011",
        },
    });
    assert_eq!(json!(documents["6bjBdidQrjM7t2g5J"]), expected);
    let expected = json!({
        "listId": "home", "owner": null, "text": "{\"$oid\": \"507f191e810c19729de860ea\"}",
        "checked": false, "tags": [], "createdAt": {"$date": 1_704_067_200_000_i64}, "data": {},
    });
    // So does text that looks like an ObjectID travel; at Meteor's client it has no "-".
    assert_eq!(json!(documents["-507f191e810c19729de860ea"]), expected);
}
