//! What does not fit is told, and nothing else is held up by it.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::shapes::{BCRYPT, lines, numbered};
use crate::{EVERYTHING, Outcome, Scene};

/// The problems of a report, as `line user why other`.
pub(crate) fn problems(outcome: &Outcome, list: &str) -> Vec<String> {
    let problems = outcome.report[list].as_array().expect("a list");
    let problem = |problem: &Value| {
        let text = |name: &str| problem[name].as_str().unwrap_or("-").to_owned();
        format!("{} {}: {} {}", problem["line"], text("user"), text("why"), text("other"))
    };
    problems.iter().map(problem).collect()
}

/// How many users have each field that is not kept, for each of the reasons.
pub(crate) fn fields(outcome: &Outcome) -> Value {
    let fields = outcome.report["fields"].as_object().expect("an object").iter();
    let counts =
        |reasons: &Value| reasons.as_object().expect("an object").values().cloned().collect();
    fields.map(|(name, reasons)| (name.clone(), Value::Array(counts(reasons)))).collect()
}

pub(crate) fn user(id: &str, more: Value) -> Value {
    let mut user = json!({"_id": id});
    user.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    user
}

#[test]
fn who_comes_too_late_is_told_with_both_ids() {
    let scene = Scene::new("conflicts");
    let first = lines([
        user("a", json!({"username": "Élise", "emails": [{"address": "e@example.com"}]})),
        user("g", json!({"services": {"google": {"id": "1"}}})),
    ]);
    assert_eq!(scene.import(&first).code, Some(0));
    let outcome = scene.import(&lines([
        user("b", json!({"username": "ÉLISE", "roles": [], "emails": [5]})),
        user("c", json!({"username": "carol", "emails": [{"address": "C@example.com"}]})),
        user("d", json!({"emails": [{"address": "d@example.com"}, {"address": "E@EXAMPLE.com"}]})),
        user("e", json!({"username": "Carol"})),
        user("f", json!({"emails": [{"address": "c@example.com"}]})),
        user("h", json!({"services": {"google": {"id": "1"}}})),
        // Who was refused has nothing that others could not have.
        user("i", json!({"emails": [{"address": "D@example.com"}]})),
        user("a", json!({"username": "somebody else"})),
    ]));
    assert_eq!(outcome.code, Some(2));
    let name = "its username, but for upper and lower case, is that of user";
    let address = "an address of it, but for upper and lower case, is that of user";
    let expected = [
        format!("1 b: {name} a"),
        format!("3 d: {address} a"),
        format!("4 e: {name} c"),
        format!("5 f: {address} c"),
        "6 h: its id at a login service is that of user g".to_owned(),
    ];
    assert_eq!(problems(&outcome, "refusals"), expected);
    assert!(
        outcome.stdout.contains(&format!("  line 4, user e: {name} c\n")),
        "{}",
        outcome.stdout
    );
    let count = |name: &str| outcome.report[name].as_u64().unwrap();
    assert_eq!((count("imported"), count("alreadyThere"), count("refused")), (2, 1, 5));
    // Nothing else is told of who was refused.
    assert_eq!(fields(&outcome), json!({}));
    let there = "it was there already, with";
    let other = format!("8 a: {there} another username; {there} other addresses -");
    assert_eq!((count("differing"), problems(&outcome, "notes")), (1, vec![other]));
    assert_eq!(scene.psql("SELECT string_agg(id, ' ' ORDER BY id) FROM accounts.users"), "a c g i");
    assert_eq!(scene.psql("SELECT username FROM accounts.users WHERE id = 'a'"), "Élise");
}

#[test]
fn fields_that_fit_nowhere_are_counted() {
    let scene = Scene::new("fields");
    let token = json!({"when": {"$date": 0}, "token": "one", "type": "pat"});
    let outcome = scene.import(&lines([
        user("a", json!({"roles": ["admin"], "status": {"online": true}, "nothing": null})),
        user("b", json!({"roles": [], "profile": {"at": {"$timestamp": {"t": 1, "i": 1}}, "x": 1}})),
        user("c", json!({"emails": [{"address": "c@example.com", "primary": true}, {"address": "C@example.com", "verified": true}, 5]})),
        user("d", json!({"services": {"resume": {"loginTokens": [token, {"when": 0}, {"hashedToken": "AQID", "when": 0}]}, "apiTokens": [1]}})),
        user("e", json!({"services": {"resume": {"loginTokens": [{"when": 0, "token": "one"}]}, "email": {"verificationTokens": [{"token": "t", "when": 0}]}}})),
        user("f", json!({"createdAt": "then", "profile": "P", "services": {"x": {"id": {"y": 1}, "z": "kept"}}})),
    ]));
    let expected = json!({
        "createdAt": [1], "emails": [1, 1], "emails.primary": [1], "profile": [1], "profile.at": [1],
        "roles": [2], "services.apiTokens": [1], "services.email.verificationTokens": [1],
        "services.resume.loginTokens": [1, 1], "services.resume.loginTokens.type": [1],
        "services.x.id": [1], "status": [1],
    });
    assert_eq!(fields(&outcome), expected);
    let reasons = json!({
        "it does not have the form that Meteor gives it": 1,
        "the user has it twice, but for upper and lower case": 1,
    });
    assert_eq!(outcome.report["fields"]["emails"], reasons);
    // Who lacks what a login needs is named.
    let expected = [
        "3 c: an address of it is not kept -",
        "4 d: not all of its login tokens are kept -",
        "5 e: not all of its login tokens are kept -",
        "6 f: its id at a login service is not kept -",
    ];
    assert_eq!(problems(&outcome, "notes"), expected);
    assert_eq!((outcome.code, outcome.report["imported"].as_u64()), (Some(2), Some(6)));
    let line = "  roles: of 2 users: there is no column for it\n";
    assert!(outcome.stdout.contains(line), "{}", outcome.stdout);
    let emails = "SELECT emails FROM accounts.users WHERE id = 'c'";
    assert_eq!(scene.psql(emails), r#"[{"address": "c@example.com", "verified": true}]"#);
    assert_eq!(
        scene.psql("SELECT profile FROM accounts.users WHERE id = 'b'"),
        r#"{"x": 1, "at": null}"#
    );
    assert_eq!(scene.psql("SELECT data FROM accounts.services"), r#"{"z": "kept"}"#);
    assert_eq!(scene.psql("SELECT user_id FROM accounts.login_tokens"), "d");
}

/// Nobody may see it, whatever is wrong around it.
const SECRET: &str = "a-secret-that-nobody-may-see";

fn shows_no_secret(outcome: &Outcome) {
    let said = format!("{}{}{}", outcome.stdout, outcome.stderr, outcome.report);
    assert!(!said.contains(SECRET), "{said}");
}

#[test]
fn users_who_lack_what_a_login_needs_are_told_by_their_lines() {
    let scene = Scene::new("lacking");
    let old = json!({"identity": "i", "salt": "s", "verifier": SECRET});
    let outcome = scene.import(&lines([
        user("srp", json!({"services": {"password": {"srp": old}}})),
        user("upgraded", json!({"services": {"password": {"srp": old, "bcrypt": BCRYPT}}})),
        user("odd", json!({"services": {"password": {"bcrypt": SECRET}}})),
        user("nul", json!({"username": "n\u{0}l", "profile": {"a": "\u{0}"}})),
        user("costly", json!({"services": {"password": {"bcrypt": BCRYPT.replace("04", "17")}}})),
        user("rubbish", json!({"services": {"password": {"argon2": "$argon2id$rubbish"}}})),
        user(
            "chat",
            json!({"services": {"email2fa": {"enabled": true}, "totp": {"enabled": false}}}),
        ),
        user("list", json!({"services": []})),
    ]));
    let set = "the user has to set a new one -";
    let hash = "its password is not a hash of bcrypt or Argon2, or one of too high costs";
    let expected = [
        format!("1 srp: its password is kept by SRP, as before Meteor 0.8.2: {set}"),
        format!("3 odd: {hash}: {set}"),
        "4 nul: its username is not kept -".to_owned(),
        format!("5 costly: {hash}: {set}"),
        format!("6 rubbish: {hash}: {set}"),
        "7 chat: it has a second factor of another package, which is not asked for here -"
            .to_owned(),
        "8 list: none of its services is kept -".to_owned(),
    ];
    assert_eq!(problems(&outcome, "notes"), expected);
    assert_eq!(fields(&outcome), json!({"profile.a": [1], "services": [1], "username": [1]}));
    let ids = scene.psql("SELECT string_agg(id, ' ' ORDER BY id) FROM accounts.users");
    assert_eq!(ids, "chat costly list nul odd rubbish srp upgraded");
    assert_eq!(scene.psql("SELECT user_id FROM accounts.passwords"), "upgraded");
    shows_no_secret(&outcome);
}

#[test]
fn what_is_malformed_is_told_by_its_line() {
    let scene = Scene::new("malformed");
    let mut text = lines([
        json!({"username": "nobody"}),
        json!({"_id": {"a": SECRET}}),
        json!([{"_id": "in an array"}]),
        user("name", json!({"username": 5})),
        user("factor", json!({"services": {"twoFactorAuthentication": {"type": "otp"}}})),
        user(
            "twice",
            json!({"username": 5, "roles": [], "services": {"password": {"bcrypt": SECRET}}}),
        ),
        user(
            "code",
            json!({"services": {"twoFactorAuthentication": {"type": "otp", "secret": "0189"}}}),
        ),
    ]);
    text.push_str(&format!("{{\"_id\": \"{SECRET}\n\n"));
    text.push_str(&format!("{{\"_id\":\"long\",\"profile\":\"{}\"}}\n", "x".repeat(32 << 20)));
    text.push_str(&lines([user("last", json!({}))]));
    let outcome = scene.import(&text);
    let refusals = problems(&outcome, "refusals");
    let id = "-: its _id is not an ObjectID or a text of 1 to 256 bytes -";
    assert_eq!(refusals[..2], [format!("1 {id}"), format!("2 {id}")]);
    for (refusal, start) in refusals[2..].iter().zip([
        "3 -: the line is not an object: export by --out, without",
        "4 name: its username is not a text of up to 256 characters -",
        "5 factor: its second factor is active, and has no secret that can be read -",
        "6 twice: its username",
        "7 code: its second factor is active",
        "8 -: the line is not JSON (",
        "10 -: the line has more than 32 MiB: export without --jsonArray -",
    ]) {
        assert!(refusal.starts_with(start), "{refusals:?}");
    }
    assert!(refusals[7].ends_with(": export by --out, without --jsonArray and --pretty -"));
    assert_eq!(refusals.len(), 9);
    // Nothing else is told of who was refused.
    assert_eq!(fields(&outcome), json!({}));
    assert_eq!(scene.psql("SELECT string_agg(id, ' ') FROM accounts.users"), "last");
    shows_no_secret(&outcome);
}

#[test]
fn what_the_database_cannot_keep_holds_up_nobody_else() {
    let scene =
        Scene::with("latin1", "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'");
    let mut users: Vec<Value> = (0..3).map(numbered).collect();
    users.insert(1, user("kanji", json!({"username": "漢字"})));
    let outcome = scene.import(&lines(users));
    let why = "2 kanji: PostgreSQL cannot keep a value of it (SQLSTATE 22P05) -";
    assert_eq!(problems(&outcome, "refusals"), [why]);
    assert_eq!((outcome.code, outcome.report["imported"].as_u64()), (Some(2), Some(3)));
}

#[test]
fn ids_at_login_services_keep_all_of_their_digits() {
    let scene = Scene::new("digits");
    let service = |id: &str| format!(r#"{{"_id":"{id}","services":{{"x":{{"id":"#);
    let text = format!(
        "{}{{\"$numberLong\":\"9007199254740993\"}}}}}}}}\n{}9007199254740995}}}}}}\n",
        service("exact"),
        service("rounded"),
    );
    let outcome = scene.import(&text);
    assert_eq!(outcome.code, Some(2), "{}", outcome.stderr);
    let ids = "SELECT user_id, service_id FROM accounts.services ORDER BY user_id";
    assert_eq!(scene.psql(ids), "exact|9007199254740993\nrounded|");
    let note = "2 rounded: its id at a login service is not kept -";
    assert_eq!(problems(&outcome, "notes"), [note]);
}

#[test]
fn a_dry_run_writes_nothing_and_says_what_would_happen() {
    let scene = Scene::new("dry");
    let mut users: Vec<Value> = (0..1_100).map(numbered).collect();
    // In a later batch than those who have it.
    users.push(user("late", json!({"username": "USER3"})));
    users.push(user("later", json!({"emails": [{"address": "USER4@example.com"}]})));
    users.push(user("latest", json!({"services": {"google": {"id": "g5"}}})));
    users.push(numbered(6));
    users.push(user("roles", json!({"roles": []})));
    let text = lines(users);
    let rehearsed = scene.import_with(&text, &["--dry-run"], crate::KEY);
    assert_eq!(rehearsed.code, Some(2), "{}", rehearsed.stderr);
    assert!(rehearsed.stdout.contains("1101 users would be imported, 0 already there (0 of"));
    assert_eq!(scene.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'accounts'"), "0");
    let as_done = |report: &Value| {
        let mut report = report.clone();
        report["dryRun"] = json!(null);
        report
    };
    let done = scene.import(&text);
    assert_eq!(as_done(&done.report), as_done(&rehearsed.report));
    // The same over what is there.
    let stored = scene.psql(EVERYTHING);
    let rehearsed = scene.import_with(&text, &["--dry-run"], crate::KEY);
    assert_eq!(
        (&rehearsed.report["alreadyThere"], &rehearsed.report["refused"]),
        (&json!(1_101), &json!(4))
    );
    assert_eq!(problems(&rehearsed, "refusals"), problems(&done, "refusals"));
    assert_eq!(scene.psql(EVERYTHING), stored);
}

#[test]
fn a_report_overwrites_nothing_before_it_is_there() {
    let scene = Scene::new("overwrites");
    let (users, report) = (scene.folder.join("users.jsonl"), scene.folder.join("report.json"));
    let text = format!("\u{feff}{}", lines([user("a", json!({}))]));
    fs::write(&users, &text).unwrap();
    fs::write(&report, "an older report, which is longer than nothing").unwrap();
    let run = |file: &std::path::Path, report: &std::path::Path| {
        let output = scene.program().arg("--report").arg(report).arg(file).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run(&users, &scene.folder.join(".").join("users.jsonl"));
    assert!(code == Some(1) && said.contains("it is the file of the users"), "{said}");
    assert_eq!(fs::read_to_string(&users).unwrap(), text);
    let (code, _) = run(&scene.folder.join("nowhere.jsonl"), &report);
    assert_eq!(code, Some(1));
    assert!(fs::read_to_string(&report).unwrap().starts_with("an older report"));
    // Whose disk is full is told that the users are there.
    let (code, said) = run(&users, std::path::Path::new("/dev/full"));
    assert!(
        code == Some(1) && said.contains("all lines are done, but the report is lost"),
        "{said}"
    );
    assert_eq!(scene.psql("SELECT count(*) FROM accounts.users"), "1");
    assert_eq!(run(&users, &report).0, Some(0));
    // Whoever reads what is printed may stop.
    let mut program = scene.program();
    program.arg("--report").arg(&report).arg("-").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = program.spawn().unwrap();
    drop(child.stdout.take());
    child.stdin.take().expect("its input is a pipe").write_all(text.as_bytes()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let written = fs::read_to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap()["alreadyThere"], 1);
}

#[test]
fn what_cannot_begin_says_why() {
    let scene = Scene::new("usage");
    let run = |change: &dyn Fn(&mut std::process::Command)| {
        let mut command = scene.program();
        change(&mut command);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let file = scene.folder.join("users.jsonl");
    fs::write(&file, "").unwrap();
    let (code, said) = run(&|command| {
        command.arg(&file).env_remove("DATABASE_URL");
    });
    let why = "ddp-import-users: name the database by --database or DATABASE_URL\n";
    assert_eq!((code, said.as_str()), (Some(1), why));
    let (code, said) = run(&|command| {
        command.arg(&file).env("OAUTH_SECRET_KEY", "secret");
    });
    let why = "ddp-import-users: OAUTH_SECRET_KEY is not base64 of 16 bytes\n";
    assert_eq!((code, said.as_str()), (Some(1), why));
    let (code, said) = run(&|command| {
        command.arg("/nowhere/users.jsonl");
    });
    assert!(code == Some(1) && said.contains("/nowhere/users.jsonl: "), "{said}");
    let (code, said) = run(&|command| {
        command.arg("--what");
    });
    assert!(code == Some(1) && said.contains("--what"), "{said}");
    let (code, _) = run(&|command| {
        command.arg("--help");
    });
    assert_eq!(code, Some(0));
    let database = |command: &mut std::process::Command| {
        command.args(["--database", "postgres://nobody@127.0.0.1:1/app"]).arg(&file);
    };
    let (code, said) = run(&database);
    assert!(code == Some(1) && said.contains("run it again"), "{said}");
    let (code, said) = run(&|command| {
        command.arg("--dry-run");
        database(command);
    });
    assert!(code == Some(1) && said.contains("nothing was written"), "{said}");
    let (code, said) = run(&|command| {
        command.args(["--schema", "people"]).arg(&file);
    });
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert_eq!(scene.psql("SELECT count(*) FROM people.users"), "0");
}
