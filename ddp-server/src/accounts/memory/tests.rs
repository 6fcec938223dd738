use futures::FutureExt;

use super::*;
use crate::accounts::store::{Conflict, Purpose, WriteError};
use crate::random;

fn done<T>(future: BoxFuture<'_, T>) -> T {
    future.now_or_never().expect("memory does not wait")
}

fn create(store: &MemoryAccounts, username: &str, address: &str) -> Result<String, Conflict> {
    let user = User {
        username: Some(username.to_owned()),
        emails: vec![Email::new(address)],
        ..User::new(random::id())
    };
    let id = user.id.clone();
    let new = NewUser { user, password: Some("$2b$old".into()), services: Vec::new() };
    match done(store.create_user(&new, &WriteFence::detached())) {
        Ok(()) => Ok(id),
        Err(WriteError::Conflict(conflict)) => Err(conflict),
        Err(WriteError::Failed(error)) => panic!("{error}"),
    }
}

fn token(hash: &str, when: i64) -> LoginToken {
    LoginToken { hash: hash.into(), when: Date::from_millis(when), expires: None }
}

#[test]
fn letters_are_folded_one_by_one() {
    let store = MemoryAccounts::new();
    create(&store, "ΣΑΣ", "Straße@example.com").unwrap();
    assert_eq!(create(&store, "σασ", "a"), Err(Conflict::Username));
    assert_eq!(create(&store, "b", "STRAßE@EXAMPLE.COM"), Err(Conflict::Email));
    // A conflict leaves nothing behind.
    create(&store, "b", "a").unwrap();
    assert_eq!(store.count(), 2);
}

#[test]
fn the_guard_of_a_token_holds_or_nothing_is_added() {
    let store = MemoryAccounts::new();
    let id = create(&store, "ada", "a").unwrap();
    let add = |hash, guard| done(store.add_login_token(&id, &token(hash, 0), &guard)).unwrap();
    assert!(add("1", TokenGuard::Active));
    assert!(add("2", TokenGuard::Password("$2b$old".into())));
    assert!(!add("3", TokenGuard::Password("$2b$new".into())));
    assert!(!add("3", TokenGuard::NoPassword));
    assert!(add("3", TokenGuard::Token("2".into())));
    assert!(!add("4", TokenGuard::Token("5".into())));
    assert!(done(store.set_active(&id, false)).unwrap());
    assert!(!add("4", TokenGuard::Active));
    assert!(done(store.stored_login_tokens(&["1".into(), "3".into()])).unwrap().is_empty());
}

#[test]
fn each_token_that_goes_is_told_outside_of_the_lock() {
    let store = MemoryAccounts::new();
    let id = create(&store, "ada", "a").unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (note, again) = (Arc::clone(&told), store.clone());
    store.on_revocation(Arc::new(move |revocation| {
        assert_eq!(again.count(), 1);
        note.lock().push(revocation);
    }));
    for number in 0..1002 {
        let token = token(&number.to_string(), number);
        assert!(done(store.add_login_token(&id, &token, &TokenGuard::Active)).unwrap());
    }
    let gone = |number: i64| Revocation::Token(number.to_string().into());
    assert_eq!(*told.lock(), [gone(0), gone(1)], "there are 1,000 at most");
    let expired = Expired {
        now: Date::from_millis(2000),
        login_before: Some(Date::from_millis(1000)),
        reset_before: Date::from_millis(0),
        enroll_before: Date::from_millis(0),
    };
    assert_eq!(done(store.remove_expired(&expired)).unwrap(), 998);
    let but = Tokens::AllBut("1001".into());
    assert_eq!(done(store.remove_login_tokens(&id, &but)).unwrap(), 1);
    assert_eq!(told.lock().len(), 1001);
    assert_eq!(told.lock().last(), Some(&gone(1000)));
}

#[test]
fn passwords_are_compared_before_they_are_set() {
    let store = MemoryAccounts::new();
    let id = create(&store, "ada", "a").unwrap();
    let (old, new): (PasswordHash, PasswordHash) = ("$2b$old".into(), "$2b$new".into());
    assert!(done(store.rehash_password(&id, &old, &new)).unwrap());
    assert!(!done(store.rehash_password(&id, &old, &new)).unwrap());
    let change = |only_if| PasswordChange { hash: old.clone(), only_if, ends: Tokens::Nothing };
    assert!(!done(store.set_password(&id, &change(Some(old.clone())))).unwrap());
    assert!(done(store.set_password(&id, &change(Some(new.clone())))).unwrap());
    assert!(!done(store.set_password("nobody", &change(None))).unwrap());
}

#[test]
fn records_of_services_are_changed_by_who_knows_their_version() {
    let store = MemoryAccounts::new();
    let (ada, alan) = (create(&store, "ada", "a").unwrap(), create(&store, "alan", "b").unwrap());
    let record = |id: &str| Service { service_id: Some(id.to_owned()), data: Object::new() };
    let put = |user: &str, version, id: Option<&str>| {
        let record = id.map(record);
        match done(store.put_service(user, "google", version, record.as_ref())) {
            Ok(is_put) => Ok(is_put),
            Err(WriteError::Conflict(conflict)) => Err(conflict),
            Err(WriteError::Failed(error)) => panic!("{error}"),
        }
    };
    assert_eq!(put(&ada, 0, Some("1")), Ok(true));
    assert_eq!(put(&ada, 0, Some("1")), Ok(false));
    assert_eq!(put(&alan, 0, Some("1")), Err(Conflict::Service));
    assert_eq!(put(&ada, 1, Some("2")), Ok(true));
    assert_eq!(put(&alan, 0, Some("1")), Ok(true));
    let found = done(store.find_user_by_service("google", "2")).unwrap();
    assert_eq!(found.map(|user| user.id), Some(ada.clone()));
    assert_eq!(done(store.find_service(&ada, "google")).unwrap().map(|(_, at)| at), Some(2));
    assert_eq!(put(&ada, 2, None), Ok(true));
    assert_eq!(done(store.find_user_by_service("google", "2")).unwrap(), None);
    assert!(done(store.remove_user(&alan, &WriteFence::detached())).unwrap());
    assert_eq!(put(&ada, 0, Some("1")), Ok(true));
}

#[test]
fn of_many_mailed_tokens_the_newest_are_kept() {
    let store = MemoryAccounts::new();
    let id = create(&store, "ada", "a").unwrap();
    for number in 0..17_i64 {
        let token = OneTimeToken {
            hash: number.to_string().into(),
            purpose: Purpose::Verify,
            user_id: id.clone(),
            address: "a".to_owned(),
            when: Date::from_millis(number),
        };
        assert!(done(store.put_one_time_token(&token)).unwrap());
    }
    assert!(done(store.find_one_time_token(&"0".into())).unwrap().is_none());
    assert!(done(store.take_one_time_token(&"1".into())).unwrap().is_some());
    assert!(done(store.take_one_time_token(&"1".into())).unwrap().is_none());
    assert!(done(store.verify_email(&id, "a", &WriteFence::detached())).unwrap());
    assert!(done(store.find_one_time_token(&"16".into())).unwrap().is_none());
}
