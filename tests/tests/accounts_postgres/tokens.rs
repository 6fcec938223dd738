//! Tokens: of logins, and those that were mailed.

use ddp_server::accounts::{
    AccountsStore, Email, Expired, LoginToken, OneTimeToken, PasswordChange, Purpose, TokenGuard,
    TokenHash, Tokens,
};
use ddp_server::ejson::Date;

use super::{Fixture, WHEN, fence, password, token};

fn later(millis: i64) -> Date {
    Date::from_millis(WHEN.millis().unwrap() + millis)
}

fn mailed(purpose: Purpose, hash: &str, millis: i64) -> OneTimeToken {
    OneTimeToken {
        hash: hash.into(),
        purpose,
        user_id: "id-of-ada".to_owned(),
        address: "ada@example.com".to_owned(),
        when: later(millis),
    }
}

const LOGIN_TOKENS: &str =
    "SELECT coalesce(string_agg(hash, ' ' ORDER BY hash), '') FROM accounts.login_tokens";
const ONE_TIME_TOKENS: &str =
    "SELECT coalesce(string_agg(hash, ' ' ORDER BY hash), '') FROM accounts.one_time_tokens";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_tokens_are_kept_found_and_removed() {
    let fixture = Fixture::start("tokens").await;
    let (ada, alan) = (fixture.create("ada").await, fixture.create("alan").await);
    let accounts = &fixture.accounts;
    let short = LoginToken { expires: Some(later(1)), ..token("a1") };
    assert!(accounts.add_login_token(&ada, &short, &TokenGuard::Active).await.unwrap());
    assert!(
        !accounts.add_login_token(&alan, &short, &TokenGuard::Active).await.unwrap(),
        "it is unique"
    );
    for (user, hash) in [(&ada, "a2"), (&ada, "a3"), (&ada, "a4"), (&alan, "b1")] {
        fixture.log_in(user, hash).await;
    }
    let (user, found) = accounts.find_login_token(&"a1".into()).await.unwrap().unwrap();
    assert_eq!((user.id.as_str(), found), ("id-of-ada", short));
    let asked: Vec<TokenHash> = ["a1", "x", "b1"].map(Into::into).into();
    let mut stored = accounts.stored_login_tokens(&asked).await.unwrap();
    stored.sort();
    assert_eq!(stored, [TokenHash::from("a1"), "b1".into()]);
    let remove =
        async |user: &str, which| accounts.remove_login_tokens(user, &which).await.unwrap();
    assert_eq!(remove(&alan, Tokens::One("a1".into())).await, 0, "it is another's");
    assert_eq!(remove(&ada, Tokens::One("a1".into())).await, 1);
    assert_eq!(remove(&ada, Tokens::AllBut("a3".into())).await, 2);
    assert_eq!(remove(&ada, Tokens::Nothing).await, 0);
    assert_eq!(fixture.psql(LOGIN_TOKENS), "a3 b1");
    assert_eq!(remove(&ada, Tokens::All).await, 1);
    assert_eq!(remove("nobody", Tokens::All).await, 0);
    assert_eq!(fixture.psql(LOGIN_TOKENS), "b1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_added_only_if_its_guard_holds() {
    let fixture = Fixture::start("guards").await;
    let (ada, _) = (fixture.create("ada").await, fixture.create("alan").await);
    fixture.log_in(&ada, "t1").await;
    fixture.log_in("id-of-alan", "b1").await;
    let add = async |hash: &str, guard| {
        fixture.accounts.add_login_token(&ada, &token(hash), &guard).await.unwrap()
    };
    assert!(add("t2", TokenGuard::Password(password("ada"))).await);
    assert!(!add("t3", TokenGuard::Password(password("alan"))).await);
    assert!(add("t4", TokenGuard::Token("t1".into())).await);
    assert!(!add("t5", TokenGuard::Token("t0".into())).await);
    assert!(!add("t6", TokenGuard::Token("b1".into())).await, "another's");
    assert_eq!(fixture.psql(LOGIN_TOKENS), "b1 t1 t2 t4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_expired_is_forgotten_in_batches() {
    let fixture = Fixture::start("expiry").await;
    fixture.create("ada").await;
    fixture.psql(
        "INSERT INTO accounts.login_tokens (hash, user_id, when_, expires)
        SELECT 'old' || n, 'id-of-ada', timestamptz '2020-01-01', NULL FROM generate_series(1, 2500) AS n;
        INSERT INTO accounts.login_tokens (hash, user_id, when_, expires)
        SELECT 'jwt' || n, 'id-of-ada', timestamptz '2030-01-01', '2020-01-01' FROM generate_series(1, 3) AS n;
        INSERT INTO accounts.login_tokens VALUES ('new', 'id-of-ada', '2030-01-01', '2031-01-01')",
    );
    for (purpose, hash) in
        [(Purpose::Reset, "reset"), (Purpose::Enroll, "enroll"), (Purpose::Verify, "verify")]
    {
        assert!(fixture.accounts.put_one_time_token(&mailed(purpose, hash, 0)).await.unwrap());
    }
    let expired = |login_before| Expired {
        now: later(0),
        login_before,
        reset_before: later(1),
        enroll_before: later(0),
    };
    // They last for ever, but for those with an end of their own, and a token that resets.
    assert_eq!(fixture.accounts.remove_expired(&expired(None)).await.unwrap(), 4);
    assert_eq!(fixture.psql(ONE_TIME_TOKENS), "enroll verify");
    // A row that somebody else is about to remove holds up nothing.
    let mut other = ddp_tests::database::connect(&fixture.database).await;
    let held = other.transaction().await.unwrap();
    held.execute("DELETE FROM accounts.login_tokens WHERE hash = 'old7'", &[]).await.unwrap();
    assert_eq!(fixture.accounts.remove_expired(&expired(Some(later(0)))).await.unwrap(), 2499);
    held.commit().await.unwrap();
    assert_eq!(fixture.psql(LOGIN_TOKENS), "new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_a_thousand_login_tokens_at_most() {
    let fixture = Fixture::start("many_tokens").await;
    let (ada, alan) = (fixture.create("ada").await, fixture.create("alan").await);
    fixture.psql(
        "INSERT INTO accounts.login_tokens (hash, user_id, when_)
        SELECT 'old' || n, 'id-of-ada', timestamptz '2001-01-01' + n * interval '1 s'
        FROM generate_series(1, 1000) AS n",
    );
    fixture.log_in(&alan, "b1").await;
    // One that has the time of an older one stays as well.
    let ancient = LoginToken { when: Date::from_millis(0), ..token("ancient") };
    for (token, oldest) in [(token("new"), "old2"), (ancient, "old3")] {
        assert!(fixture.accounts.add_login_token(&ada, &token, &TokenGuard::Active).await.unwrap());
        let kept = "SELECT count(*) || ' ' || (SELECT hash FROM accounts.login_tokens
                WHERE hash LIKE 'old%' ORDER BY when_ LIMIT 1)
            FROM accounts.login_tokens WHERE user_id = 'id-of-ada'";
        assert_eq!(fixture.psql(kept), format!("1000 {oldest}"));
        let hash = token.hash.clone();
        assert!(fixture.accounts.find_login_token(&hash).await.unwrap().is_some());
    }
    assert!(fixture.accounts.find_login_token(&"b1".into()).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mailed_tokens_work_once_and_end_with_what_they_were_for() {
    let fixture = Fixture::start("mailed").await;
    let ada = fixture.create("ada").await;
    let accounts = &fixture.accounts;
    let put = async |purpose, hash: &str, millis| {
        accounts.put_one_time_token(&mailed(purpose, hash, millis)).await.unwrap()
    };
    // At most one that resets, one that enrols, and several that verify.
    for (purpose, hash) in [
        (Purpose::Reset, "r1"),
        (Purpose::Enroll, "e1"),
        (Purpose::Reset, "r2"),
        (Purpose::Verify, "v1"),
        (Purpose::Verify, "v2"),
    ] {
        assert!(put(purpose, hash, 0).await);
    }
    assert_eq!(fixture.psql(ONE_TIME_TOKENS), "e1 r2 v1 v2");
    let found = accounts.find_one_time_token(&"v1".into()).await.unwrap();
    assert_eq!(found, Some(mailed(Purpose::Verify, "v1", 0)));
    for expected in [Some(mailed(Purpose::Verify, "v1", 0)), None] {
        assert_eq!(accounts.take_one_time_token(&"v1".into()).await.unwrap(), expected);
    }
    assert_eq!(accounts.find_one_time_token(&"v1".into()).await.unwrap(), None);
    // A verified address needs no more of them; a changed password no more of the others.
    assert!(accounts.verify_email(&ada, "ada@example.com", &fence()).await.unwrap());
    assert_eq!(fixture.psql(ONE_TIME_TOKENS), "e1 r2");
    let change = PasswordChange { hash: password("b"), only_if: None, ends: Tokens::Nothing };
    assert!(accounts.set_password(&ada, &change).await.unwrap());
    assert_eq!(fixture.psql(ONE_TIME_TOKENS), "");
    // They are no more than a user can need.
    for number in 10..40 {
        assert!(put(Purpose::Verify, &format!("v{number}"), number).await);
    }
    let kept: Vec<String> = (24..40).map(|number| format!("v{number}")).collect();
    assert_eq!(fixture.psql(ONE_TIME_TOKENS), kept.join(" "));
    // What was mailed to an address goes with it.
    let new = Email::new("new@example.com");
    assert!(accounts.replace_email(&ada, "ada@example.com", &new, &fence()).await.unwrap());
    assert_eq!(fixture.psql(ONE_TIME_TOKENS), "");
    let old = Email::new("ada@example.com");
    assert!(accounts.replace_email(&ada, "new@example.com", &old, &fence()).await.unwrap());
    assert!(put(Purpose::Verify, "v40", 40).await);
    assert!(accounts.remove_email(&ada, "ada@example.com", &fence()).await.unwrap());
    assert_eq!(fixture.psql(ONE_TIME_TOKENS), "");
    fixture.psql("DELETE FROM accounts.users");
    assert!(!put(Purpose::Reset, "r3", 0).await);
}
