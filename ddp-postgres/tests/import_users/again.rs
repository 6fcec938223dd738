//! What a file says twice, and files that are imported again.

use serde_json::json;

use crate::reports::{fields, problems, user};
use crate::shapes::{Form, lines, numbered};
use crate::{EVERYTHING, Scene};

#[test]
fn the_same_id_twice_is_one_user_and_a_problem() {
    const ID: &str = "507f1f77bcf86cd799439011";
    let scene = Scene::new("same_id");
    let mut users = vec![json!({"_id": {"$oid": ID}}), user(ID, json!({"username": "other"}))];
    users.extend((0..600).map(numbered));
    // In a later batch than the first.
    users.push(user(ID, json!({})));
    let expected = [2, 603]
        .map(|line| format!("{line} {ID}: an earlier line has its _id already, that of user {ID}"));
    for (options, imported) in [(&["--dry-run"][..], 601), (&[], 601), (&[], 0)] {
        let outcome = scene.import_with(&lines(users.clone()), options, crate::KEY);
        assert_eq!(problems(&outcome, "refusals"), expected);
        assert_eq!((outcome.code, &outcome.report["imported"]), (Some(2), &json!(imported)));
    }
}

/// What changed in Meteor, or here, since the first run: it is told and left.
#[test]
fn a_second_run_tells_who_differs_and_changes_nobody() {
    let scene = Scene::new("differing");
    let text = lines((6..12).map(numbered));
    assert_eq!(scene.import(&text).code, Some(0));
    let again = scene.import(&text);
    assert_eq!((again.code, &again.report["differing"]), (Some(0), &json!(0)));
    scene.psql(
        "UPDATE accounts.passwords SET hash = 'changed' WHERE user_id = 'user0000000000006';
        DELETE FROM accounts.login_tokens WHERE user_id = 'user0000000000007';
        UPDATE accounts.emails SET address = 'USER8@example.com' WHERE user_id = 'user0000000000008';
        UPDATE accounts.emails SET address = 'new@example.com' WHERE user_id = 'user0000000000009';
        DELETE FROM accounts.services WHERE user_id = 'user0000000000010';
        DELETE FROM accounts.users WHERE id = 'user0000000000011'",
    );
    let others = "SELECT xmin, * FROM accounts.users WHERE id < 'user0000000000011' ORDER BY id;
        SELECT xmin, * FROM accounts.passwords WHERE user_id < 'user0000000000011' ORDER BY user_id";
    let stored = scene.psql(others);
    for (options, imported) in [(&["--dry-run"][..], 1), (&[], 1), (&[], 0)] {
        let outcome = scene.import_with(&text, options, crate::KEY);
        let expected = [
            "1 user0000000000006: it was there already, with another password -",
            "2 user0000000000007: it was there already, with other login tokens -",
            "4 user0000000000009: it was there already, with other addresses -",
            "5 user0000000000010: it was there already, with other login services -",
        ];
        assert_eq!(problems(&outcome, "notes"), expected);
        assert_eq!((outcome.code, &outcome.report["differing"]), (Some(2), &json!(4)));
        assert_eq!(outcome.report["imported"], imported);
    }
    assert_eq!(scene.psql(others), stored);
}

#[test]
fn a_second_run_changes_nothing() {
    let scene = Scene::new("twice");
    let mut text = Form::Canonical.lines();
    text.push_str(&lines([user("more", json!({"roles": []}))]));
    let first = scene.import(&text);
    let stored = scene.psql(EVERYTHING);
    let second = scene.import(&text);
    assert_eq!(scene.psql(EVERYTHING), stored);
    assert_eq!((first.code, second.code), (Some(2), Some(2)));
    assert_eq!(
        (&second.report["imported"], &second.report["alreadyThere"]),
        (&json!(0), &json!(5))
    );
    assert_eq!(second.report["kept"]["passwords"], 0);
    // What does not fit is that of the file.
    assert_eq!(fields(&second), json!({"roles": [1]}));
}
