//! `Meteor.users.update` on a client.

use super::*;

async fn update(client: &Client, id: &str, modifier: Value) -> Result<u32, String> {
    let updated = client.call("/users/updateAsync", (json!({"_id": id}), modifier, json!({})));
    updated.await.map_err(|error| error.to_string())
}

async fn profile(scene: &Scene) -> Value {
    let user = scene.accounts.find_user(&scene.ada).await.unwrap().expect("ada");
    user.profile.map_or(Value::Null, |profile| {
        serde_json::from_str(&Ejson::Object(profile).to_text()).unwrap()
    })
}

#[tokio::test]
async fn nobody_changes_a_profile_unless_that_is_allowed() {
    let scene = Scene::new().await;
    let (client, _) = scene.ada().await;
    let denied = Err("Access denied [403]".to_owned());
    assert_eq!(update(&client, &scene.ada, json!({"$set": {"profile.name": "x"}})).await, denied);
    assert_eq!(profile(&scene).await, json!({"name": "Ada"}));
}

#[tokio::test]
async fn ones_own_profile_can_be_changed_and_nothing_else() {
    let scene = Scene::with(Accounts::allow_profile_updates).await;
    let (client, _) = scene.ada().await;
    let bob = scene.accounts.create_user(&json!({"username": "bob"})).await.unwrap();
    let denied = Err("Access denied [403]".to_owned());
    for (id, modifier) in [
        (&bob, json!({"$set": {"profile.name": "x"}})),
        (&scene.ada, json!({"$set": {"username": "x"}})),
        (&scene.ada, json!({"$set": {"profile.name": "x", "disallowed": true}})),
        (&scene.ada, json!({"$set": {"services.password": "x"}})),
        (&scene.ada, json!({"$set": {"profile.name": "x"}, "$push": {"emails": "x"}})),
    ] {
        assert_eq!(update(&client, id, modifier).await, denied);
    }
    let by_name = json!({"username": "ada"});
    let set = json!({"$set": {"profile.name": "x"}});
    for (selector, options, expected) in [
        (by_name, json!({}), "only update documents by ID"),
        (json!({"_id": {"$gt": ""}}), json!({}), "only update documents by ID"),
        (json!({"_id": scene.ada}), json!({"upsert": true}), "Upserts not allowed"),
    ] {
        let error = refused(&client, "/users/update", (selector, &set, options)).await;
        assert!(error.contains(expected), "{error}");
    }
    assert!(refused(&client, "/users/insertAsync", (json!({}),)).await.contains("'insert'"));
    assert!(refused(&client, "/users/remove", (json!({}),)).await.contains("'remove'"));
    assert_eq!(profile(&scene).await, json!({"name": "Ada"}));

    // The client has the change when it has the result, and `updated`.
    let modifier = json!({"$set": {"profile.updated": 42}, "$unset": {"profile.name": ""}});
    assert_eq!(update(&client, &scene.ada, modifier).await, Ok(1));
    let document = client.documents(&USERS).remove(0);
    assert!(document.to_text().contains(r#""profile":{"updated":42}"#), "{}", document.to_text());

    // Whoever is logged out has no profile.
    client.call::<()>("logout", ()).await.unwrap();
    assert_eq!(update(&client, &scene.ada, set).await, denied);
}

#[tokio::test]
async fn a_profile_has_an_end_and_can_be_read_again() {
    let scene = Scene::with(Accounts::allow_profile_updates).await;
    let (client, _) = scene.ada().await;
    let large = json!({"$set": {"profile.x": "x".repeat(15_000)}});
    assert_eq!(update(&client, &scene.ada, large).await, Ok(1));
    let more = json!({"$set": {"profile.y": "x".repeat(2_000)}});
    let refused = Err("The profile would be too large [413]".to_owned());
    assert_eq!(update(&client, &scene.ada, more).await, refused);
    for modifier in [json!({"$set": {"profile": 1}}), json!({"$set": {"profile": [1]}})] {
        let refused = Err("A profile is an object [409]".to_owned());
        assert_eq!(update(&client, &scene.ada, modifier).await, refused);
    }
    // What nests so deeply that it could not be read again is never stored.
    assert_eq!(update(&client, &scene.ada, json!({"$unset": {"profile": ""}})).await, Ok(1));
    let nested = |depth| (0..depth).fold(json!(1), |value, _| json!({"a": value}));
    let path = format!("profile.{}", vec!["a"; 30].join("."));
    assert_eq!(update(&client, &scene.ada, json!({"$set": {(&path): nested(10)}})).await, Ok(1));
    let deep = json!({"$set": {(&path): nested(110)}});
    assert_eq!(update(&client, &scene.ada, deep).await, refused);
    assert_eq!(resume(&client, &log_in(&client).await.token).await.unwrap().id, scene.ada);
}
