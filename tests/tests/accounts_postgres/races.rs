//! What happens at once, on several servers.

use ddp_postgres::Feed;
use ddp_server::accounts::{
    AccountsStore, Conflict, Email, OneTimeToken, PasswordChange, Purpose, TokenGuard, Tokens,
    WriteError,
};
use ddp_tests::database;
use futures::future::join_all;

use super::{Fixture, WHEN, fence, mapped, new_user, password, token};

/// Waits until this many sessions of the database wait for somebody's lock.
async fn waiting(database: &str, sessions: usize) {
    let sql = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let other = database::connect(database).await;
    for _ in 0..3_000 {
        let count: i64 = other.query_one(sql, &[]).await.unwrap().get(0);
        if usize::try_from(count) == Ok(sessions) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("{sessions} sessions do not wait");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_creations_that_race_one_is_made() {
    let one = Fixture::start("creations").await;
    let two = Fixture::connect(&one.database, Feed::default()).await;
    for round in 0..10 {
        let created = join_all((0..8).map(|number| {
            let server = if number % 2 == 0 { &one } else { &two };
            let name = format!("Ada{round}");
            let mut new = new_user(&format!("{number}-{round}"));
            new.user.username = Some(match number % 3 {
                0 => name,
                1 => name.to_uppercase(),
                _ => name.to_lowercase(),
            });
            // Every second one has the same address as well.
            if number % 2 == 0 {
                new.user.emails = vec![Email::new(format!("ada{round}@example.com"))];
            }
            async move { server.accounts.create_user(&new, &fence()).await }
        }))
        .await;
        let (mut made, mut conflicts) = (0, 0);
        for created in created {
            match created {
                Ok(()) => made += 1,
                Err(WriteError::Conflict(Conflict::Username | Conflict::Email)) => conflicts += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((made, conflicts), (1, 7), "round {round}");
    }
    let left = "SELECT count(*), (SELECT count(*) FROM accounts.passwords),
        (SELECT count(*) FROM accounts.emails) FROM accounts.users";
    assert_eq!(one.psql(left), "10|10|10", "nothing is left of the others");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_take_a_token_one_gets_it() {
    let one = Fixture::start("takers").await;
    let two = Fixture::connect(&one.database, Feed::default()).await;
    let ada = one.create("ada").await;
    for round in 0..10 {
        let token = OneTimeToken {
            hash: format!("t{round}").into(),
            purpose: Purpose::Reset,
            user_id: ada.clone(),
            address: "ada@example.com".to_owned(),
            when: WHEN,
        };
        assert!(one.accounts.put_one_time_token(&token).await.unwrap());
        let taken = join_all((0..8).map(|number| {
            let server = if number % 2 == 0 { &one } else { &two };
            server.accounts.take_one_time_token(&token.hash)
        }))
        .await;
        let taken: Vec<_> = taken.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(taken, [token], "round {round}");
    }
}

/// Whoever logs in by the old password while it is changed is not logged in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_login_by_an_old_password_survives_its_change() {
    let fixture = Fixture::start("change_race").await;
    let ada = fixture.create("ada").await;
    fixture.log_in(&ada, "t1").await;
    let mut other = database::connect(&fixture.database).await;
    for (old, new, guard) in [
        ("ada", "b", TokenGuard::Password(password("ada"))),
        ("b", "c", TokenGuard::Token("t1".into())),
    ] {
        // What a change does, before its end.
        let change = other.transaction().await.unwrap();
        let sql = "SELECT FROM accounts.users WHERE id = 'id-of-ada' FOR NO KEY UPDATE";
        change.execute(sql, &[]).await.unwrap();
        let (old, new) = (password(old), password(new));
        let sql = "UPDATE accounts.passwords SET hash = $1 WHERE hash = $2";
        assert_eq!(change.execute(sql, &[&new.as_str(), &old.as_str()]).await.unwrap(), 1);
        if matches!(guard, TokenGuard::Token(_)) {
            change.execute("DELETE FROM accounts.login_tokens", &[]).await.unwrap();
        }
        let (added, ()) = futures::join!(
            async { fixture.accounts.add_login_token(&ada, &token("late"), &guard).await.unwrap() },
            async {
                waiting(&fixture.database, 1).await;
                change.commit().await.unwrap();
            }
        );
        assert!(!added, "{guard:?}");
    }
    assert_eq!(fixture.psql("SELECT count(*) FROM accounts.login_tokens"), "0");
}

/// Of a user of another program, who has been given a first password meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_login_without_a_password_survives_a_first_one() {
    let fixture = mapped::django("first_password", Feed::default()).await;
    fixture.psql("UPDATE auth_user SET password = '!unusable'");
    let guard = TokenGuard::NoPassword;
    let add =
        async |hash| fixture.accounts.add_login_token("1", &token(hash), &guard).await.unwrap();
    assert!(add("early").await);
    let mut other = database::connect(&fixture.database).await;
    let change = other.transaction().await.unwrap();
    change.execute("UPDATE auth_user SET password = 'usable'", &[]).await.unwrap();
    let (added, ()) = futures::join!(add("late"), async {
        waiting(&fixture.database, 1).await;
        change.commit().await.unwrap();
    });
    assert!(!added);
    assert_eq!(fixture.psql("SELECT count(*) FROM accounts.login_tokens"), "0");
    assert!(!add("later").await);
}

/// Whoever ends all logins ends those as well that are being added.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_being_added_is_removed_with_the_others() {
    let fixture = Fixture::start("add_race").await;
    let ada = fixture.create("ada").await;
    let mut other = database::connect(&fixture.database).await;
    let ends = |ends| PasswordChange { hash: password("b"), only_if: None, ends };
    for what in ["remove", "password", "deactivate"] {
        // What an addition does, before its end.
        let adding = other.transaction().await.unwrap();
        let added = adding.execute(
            "INSERT INTO accounts.login_tokens (hash, user_id, when_)
            SELECT 'new', id, now() FROM accounts.users FOR SHARE",
            &[],
        );
        assert_eq!(added.await.unwrap(), 1);
        let removing = async {
            match what {
                "remove" => fixture.accounts.remove_login_tokens(&ada, &Tokens::All).await.unwrap(),
                "password" => {
                    let changed = ends(Tokens::AllBut("none".into()));
                    fixture.accounts.set_password(&ada, &changed).await.unwrap().into()
                }
                _ => fixture.accounts.set_active(&ada, false).await.unwrap().into(),
            }
        };
        let (removed, ()) = futures::join!(removing, async {
            waiting(&fixture.database, 1).await;
            adding.commit().await.unwrap();
        });
        assert_eq!(removed, 1, "{what}");
        assert_eq!(fixture.psql("SELECT count(*) FROM accounts.login_tokens"), "0", "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_are_added_at_once_are_all_shown() {
    let fixture = Fixture::start("addresses_race").await;
    let ada = fixture.create("ada").await;
    let mut other = database::connect(&fixture.database).await;
    let third = database::connect(&fixture.database).await;
    let sql = "INSERT INTO accounts.emails (user_id, address) VALUES ('id-of-ada', $1)";
    for (is_by_store, early, late) in [(false, "b@x", "c@x"), (true, "d@x", "e@x")] {
        let adding = other.transaction().await.unwrap();
        adding.execute(sql, &[&early]).await.unwrap();
        let (email, fence) = (Email::new(late), fence());
        let (added, ()) = futures::join!(
            async {
                if is_by_store {
                    fixture.accounts.add_email(&ada, &email, &fence).await.unwrap()
                } else {
                    third.execute(sql, &[&late]).await.unwrap() == 1
                }
            },
            async {
                waiting(&fixture.database, 1).await;
                adding.commit().await.unwrap();
            }
        );
        assert!(added, "{late}");
        let shown = "SELECT (SELECT string_agg(e ->> 'address', ' ') FROM jsonb_array_elements(emails) AS e)
                = (SELECT string_agg(address, ' ' ORDER BY position) FROM accounts.emails)
            FROM accounts.users";
        assert_eq!(fixture.psql(shown), "t", "{early} and {late} are shown");
    }
    assert_eq!(fixture.psql("SELECT jsonb_array_length(emails) FROM accounts.users"), "5");
}

/// Where transactions see what was there when they began, ours say what they need.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_isolation_of_a_database_changes_nothing() {
    let database = "accounts_isolation";
    let _ = database::create_database(
        database,
        "ALTER DATABASE accounts_isolation SET default_transaction_isolation = 'repeatable read'",
    );
    let fixture = Fixture::connect(database, Feed::default()).await;
    let ada = fixture.create("ada").await;
    let mut other = database::connect(database).await;
    let adding = other.transaction().await.unwrap();
    let sql = "INSERT INTO accounts.login_tokens (hash, user_id, when_)
        SELECT 'new', id, now() FROM accounts.users FOR SHARE";
    adding.execute(sql, &[]).await.unwrap();
    let (removed, ()) =
        futures::join!(fixture.accounts.remove_login_tokens(&ada, &Tokens::All), async {
            waiting(database, 1).await;
            adding.commit().await.unwrap();
        });
    assert_eq!(removed.unwrap(), 1);
}
