//! Each function of the store, by itself.

use ddp_server::accounts::{
    AccountsStore, Conflict, Email, PasswordChange, Selector, TokenGuard, Tokens, WriteError,
};
use ddp_server::ejson::{Ejson, Object};

use super::{Fixture, WHEN, conflict, fence, new_user, password, service, token};

fn name(text: &str) -> Selector {
    Selector::Username(text.to_owned())
}

fn email(text: &str) -> Selector {
    Selector::Email(text.to_owned())
}

fn profile() -> Object {
    let text = r#"{"name":"Ada","born":{"$date":-4859136000000},"n":{"a":[1,null,"ü"]}}"#;
    match ddp_server::ejson::parse(text).unwrap() {
        Ejson::Object(object) => object,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_found_as_it_was_created() {
    let fixture = Fixture::start("found").await;
    let mut new = new_user("Ada");
    new.user.profile = Some(profile());
    new.user.emails.push(Email { address: "a.byron@example.org".to_owned(), verified: true });
    new.services = vec![("github".to_owned(), service(Some("7"), "accessToken"))];
    fixture.accounts.create_user(&new, &fence()).await.unwrap();
    let by = [Selector::Id("id-of-Ada".to_owned()), name("Ada"), email("a.byron@example.org")];
    for by in by {
        let found = fixture.accounts.find_user(&by).await.unwrap();
        assert_eq!(found.as_ref(), Some(&new.user), "{by:?}");
        let login = fixture.accounts.find_login_user(&by).await.unwrap().unwrap();
        assert_eq!((login.user, login.password), (new.user.clone(), new.password.clone()));
        assert!(!login.has_2fa);
    }
    let found = fixture.accounts.find_user_by_service("github", "7").await.unwrap();
    assert_eq!(found, Some(new.user));
    assert_eq!(fixture.accounts.find_user_by_service("google", "7").await.unwrap(), None);
    // Nobody has an id in another case, or what no text can be.
    for by in [Selector::Id("id-of-ada".to_owned()), name("nobody"), name("Ada\0"), email("")] {
        assert_eq!(fixture.accounts.find_user(&by).await.unwrap(), None, "{by:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_addresses_are_unique_without_regard_to_case() {
    let fixture = Fixture::start("case").await;
    for (number, (one, same)) in
        [("Ada", "aDA"), ("ÉMILE", "émile"), ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"), ("Жук", "жУК")]
            .into_iter()
            .enumerate()
    {
        let mut new = new_user(one);
        new.user.emails = vec![Email::new(format!("{one}@example.com"))];
        fixture.accounts.create_user(&new, &fence()).await.unwrap();
        for selector in [name(same), email(&format!("{same}@EXAMPLE.com"))] {
            let found = fixture.accounts.find_user(&selector).await.unwrap();
            assert_eq!(found.as_ref(), Some(&new.user), "{selector:?}");
        }
        let mut other = new_user(&format!("other{number}"));
        other.user.username = Some(same.to_owned());
        let created = fixture.accounts.create_user(&other, &fence()).await;
        assert_eq!(conflict(created), Conflict::Username, "{same}");
        other.user.username = None;
        other.user.emails = vec![Email::new(format!("{same}@Example.Com"))];
        let created = fixture.accounts.create_user(&other, &fence()).await;
        assert_eq!(conflict(created), Conflict::Email, "{same}");
    }
    assert_eq!(fixture.psql("SELECT count(*) FROM accounts.users"), "4");
    // Letters that only look like others are others.
    for different in ["ıda", "ida", "İda", "straße", "strasse"] {
        fixture.accounts.create_user(&new_user(different), &fence()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_and_a_profile_change() {
    let fixture = Fixture::start("change").await;
    let (ada, _) = (fixture.create("ada").await, fixture.create("alan").await);
    let accounts = &fixture.accounts;
    assert!(accounts.set_username(&ada, "Ada", &fence()).await.unwrap());
    let taken = accounts.set_username(&ada, "ALAN", &fence()).await;
    assert_eq!(conflict(taken), Conflict::Username);
    assert!(!accounts.set_username("nobody", "x", &fence()).await.unwrap());
    assert!(accounts.set_profile(&ada, Some(&profile()), &fence()).await.unwrap());
    let found = accounts.find_user(&name("ada")).await.unwrap().unwrap();
    assert_eq!((found.username.as_deref(), found.profile), (Some("Ada"), Some(profile())));
    // Only in place of what it is.
    let other: Object = [("name".to_owned(), Ejson::from(1))].into_iter().collect();
    let old = profile();
    assert!(!accounts.replace_profile(&ada, Some(&other), None, &fence()).await.unwrap());
    assert!(!accounts.replace_profile(&ada, None, Some(&other), &fence()).await.unwrap());
    assert!(accounts.replace_profile(&ada, Some(&old), Some(&other), &fence()).await.unwrap());
    let found = accounts.find_user(&name("ada")).await.unwrap().unwrap();
    assert_eq!(found.profile, Some(other));
    assert!(accounts.set_profile(&ada, None, &fence()).await.unwrap());
    assert!(accounts.replace_profile(&ada, None, Some(&old), &fence()).await.unwrap());
    assert!(accounts.set_profile(&ada, None, &fence()).await.unwrap());
    assert_eq!(accounts.find_user(&name("ada")).await.unwrap().unwrap().profile, None);
    assert!(!accounts.set_profile("nobody", None, &fence()).await.unwrap());
    // What PostgreSQL cannot keep is the client's fault.
    let nul: Object = [("a\0".to_owned(), Ejson::from("b"))].into_iter().collect();
    let refused = accounts.set_profile(&ada, Some(&nul), &fence()).await.unwrap_err();
    assert_eq!(refused.to_string(), "Match failed [400]");
    match accounts.set_username(&ada, "a\0", &fence()).await {
        Err(WriteError::Failed(error)) => assert!(error.is_client(), "{error}"),
        other => panic!("{other:?}"),
    }
    assert!(accounts.remove_user(&ada, &fence()).await.unwrap());
    assert!(!accounts.remove_user(&ada, &fence()).await.unwrap());
    assert_eq!(fixture.psql("SELECT count(*) FROM accounts.passwords"), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_keep_their_order_and_their_owner() {
    let fixture = Fixture::start("addresses").await;
    let (ada, _) = (fixture.create("ada").await, fixture.create("alan").await);
    let accounts = &fixture.accounts;
    let shown = async || {
        let user = accounts.find_user(&name("ada")).await.unwrap().unwrap();
        let mark =
            |email: &Email| format!("{}{}", email.address, if email.verified { "!" } else { "" });
        let own = user.emails.iter().map(mark).collect::<Vec<_>>().join(" ");
        let table = "SELECT string_agg(address || CASE WHEN verified THEN '!' ELSE '' END, ' ' ORDER BY position)
            FROM accounts.emails WHERE user_id = 'id-of-ada'";
        assert_eq!(own, fixture.psql(table), "the user's row follows the table");
        own
    };
    let verified = |address: &str| Email { address: address.to_owned(), verified: true };
    assert!(accounts.add_email(&ada, &verified("b@x"), &fence()).await.unwrap());
    assert!(accounts.add_email(&ada, &Email::new("c@x"), &fence()).await.unwrap());
    assert_eq!(shown().await, "ada@example.com b@x! c@x");
    // In its place, in another spelling.
    assert!(accounts.add_email(&ada, &Email::new("B@x"), &fence()).await.unwrap());
    assert_eq!(shown().await, "ada@example.com B@x c@x");
    let taken = accounts.add_email(&ada, &Email::new("ALAN@example.com"), &fence()).await;
    assert_eq!(conflict(taken), Conflict::Email);
    let taken =
        accounts.replace_email(&ada, "c@x", &Email::new("Alan@example.com"), &fence()).await;
    assert_eq!(conflict(taken), Conflict::Email);
    assert!(accounts.replace_email(&ada, "B@x", &verified("d@x"), &fence()).await.unwrap());
    assert!(!accounts.replace_email(&ada, "b@x", &verified("e@x"), &fence()).await.unwrap());
    assert_eq!(shown().await, "ada@example.com d@x! c@x");
    assert!(accounts.verify_email(&ada, "c@x", &fence()).await.unwrap());
    assert!(!accounts.verify_email(&ada, "alan@example.com", &fence()).await.unwrap());
    assert!(accounts.remove_email(&ada, "ada@example.com", &fence()).await.unwrap());
    assert!(!accounts.remove_email(&ada, "C@x", &fence()).await.unwrap());
    assert_eq!(shown().await, "d@x! c@x!");
    assert!(!accounts.add_email("nobody", &Email::new("n@x"), &fence()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_changes_only_if_it_is_still_the_old_one() {
    let fixture = Fixture::start("password").await;
    let ada = fixture.create("ada").await;
    let accounts = &fixture.accounts;
    for hash in ["t1", "t2", "t3"] {
        fixture.log_in(&ada, hash).await;
    }
    let tokens =
        || fixture.psql("SELECT string_agg(hash, ' ' ORDER BY hash) FROM accounts.login_tokens");
    let change = |new: &str, old: Option<&str>, ends: Tokens| PasswordChange {
        hash: password(new),
        only_if: old.map(password),
        ends,
    };
    let refused = change("b", Some("wrong"), Tokens::All);
    assert!(!accounts.set_password(&ada, &refused).await.unwrap());
    assert_eq!(tokens(), "t1 t2 t3", "nothing is changed");
    let changed = change("b", Some("ada"), Tokens::AllBut("t2".into()));
    assert!(accounts.set_password(&ada, &changed).await.unwrap());
    assert_eq!(tokens(), "t2");
    assert!(accounts.set_password(&ada, &change("c", None, Tokens::Nothing)).await.unwrap());
    assert_eq!(tokens(), "t2");
    assert!(!accounts.set_password("nobody", &change("c", None, Tokens::All)).await.unwrap());
    let stored = async || accounts.find_login_user(&name("ada")).await.unwrap().unwrap().password;
    assert_eq!(stored().await, Some(password("c")));
    assert!(!accounts.rehash_password(&ada, &password("b"), &password("d")).await.unwrap());
    assert!(accounts.rehash_password(&ada, &password("c"), &password("d")).await.unwrap());
    assert_eq!(stored().await, Some(password("d")));
    assert_eq!(tokens(), "t2");
    // A first password.
    let mut new = new_user("alan");
    new.password = None;
    accounts.create_user(&new, &fence()).await.unwrap();
    assert!(
        !accounts.set_password("id-of-alan", &change("e", Some("e"), Tokens::All)).await.unwrap()
    );
    assert!(accounts.set_password("id-of-alan", &change("e", None, Tokens::All)).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_services_change_only_from_their_last_version() {
    let fixture = Fixture::start("services").await;
    let (ada, alan) = (fixture.create("ada").await, fixture.create("alan").await);
    let accounts = &fixture.accounts;
    let (one, two) = (service(Some("7"), "one"), service(Some("7"), "two"));
    assert!(accounts.put_service(&ada, "github", 0, None).await.unwrap());
    assert!(accounts.put_service(&ada, "github", 0, Some(&one)).await.unwrap());
    assert!(!accounts.put_service(&ada, "github", 0, Some(&two)).await.unwrap());
    assert!(!accounts.put_service(&ada, "github", 0, None).await.unwrap());
    assert!(!accounts.put_service(&ada, "github", 2, Some(&two)).await.unwrap());
    assert!(accounts.put_service(&ada, "github", 1, Some(&two)).await.unwrap());
    assert_eq!(accounts.find_service(&ada, "github").await.unwrap(), Some((two.clone(), 2)));
    let taken = accounts.put_service(&alan, "github", 0, Some(&two)).await;
    assert_eq!(conflict(taken), Conflict::Service);
    assert!(!accounts.put_service(&ada, "github", 1, None).await.unwrap());
    assert!(accounts.put_service(&ada, "github", 2, None).await.unwrap());
    assert!(!accounts.put_service("nobody", "github", 0, Some(&one)).await.unwrap());
    assert_eq!(accounts.find_service(&ada, "github").await.unwrap(), None);
    // A second factor counts from when it has a type.
    let has_2fa = async || accounts.find_login_user(&name("ada")).await.unwrap().unwrap().has_2fa;
    let second = "twoFactorAuthentication";
    assert!(accounts.put_service(&ada, second, 0, Some(&service(None, "secret"))).await.unwrap());
    assert!(!has_2fa().await);
    assert!(accounts.put_service(&ada, second, 1, Some(&service(None, "type"))).await.unwrap());
    assert!(has_2fa().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_active_has_no_token() {
    let fixture = Fixture::start("active").await;
    let ada = fixture.create("ada").await;
    let accounts = &fixture.accounts;
    fixture.log_in(&ada, "t1").await;
    let found = accounts.find_login_token(&"t1".into()).await.unwrap().unwrap();
    assert_eq!((found.0.id, found.1), (ada.clone(), token("t1")));
    assert!(accounts.set_active(&ada, false).await.unwrap());
    assert_eq!(accounts.find_login_token(&"t1".into()).await.unwrap(), None);
    let refused = accounts.add_login_token(&ada, &token("t2"), &TokenGuard::Active).await;
    assert!(!refused.unwrap());
    assert!(accounts.set_active(&ada, true).await.unwrap());
    assert_eq!(fixture.psql("SELECT count(*) FROM accounts.login_tokens"), "0");
    fixture.psql("UPDATE accounts.users SET is_active = false");
    assert!(!accounts.find_user(&name("ada")).await.unwrap().unwrap().is_active);
    assert!(!accounts.set_active("nobody", true).await.unwrap());
    let nobody = accounts.add_login_token("nobody", &token("t2"), &TokenGuard::Active).await;
    assert!(!nobody.unwrap());
    assert_eq!(WHEN, token("t1").when);
}
