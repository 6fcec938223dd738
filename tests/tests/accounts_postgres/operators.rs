//! Operators that somebody has made in another schema of the `search_path`, for types for which `pg_catalog`
//! has none: PostgreSQL takes them first.

use ddp_postgres::Feed;
use ddp_server::accounts::{AccountsStore, Conflict, Email, Selector, WriteError};

use super::{Fixture, WHEN, fence, mapped};

/// A time is a number by which it is multiplied; an address is found in a document.
const OPERATORS: &str = "
    CREATE FUNCTION public.nothing(numeric, integer) RETURNS numeric LANGUAGE sql AS 'SELECT 0.0';
    CREATE OPERATOR public.* (LEFTARG = numeric, RIGHTARG = integer, FUNCTION = public.nothing);
    CREATE FUNCTION public.nothing(jsonb, jsonb) RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
    CREATE OPERATOR public.#>> (LEFTARG = jsonb, RIGHTARG = jsonb, FUNCTION = public.nothing)";

#[tokio::test]
async fn times_are_what_they_are() {
    let fixture = Fixture::start("operators").await;
    // Before anybody reads: what is prepared keeps its operators.
    fixture.psql(OPERATORS);
    let ada = fixture.create("ada").await;
    fixture.log_in(&ada, "t1").await;
    assert_eq!(fixture.psql("SELECT 2.0 * 3"), "0.0", "it would be taken");
    let user = fixture.accounts.find_user(&Selector::Id(ada)).await.unwrap().unwrap();
    assert_eq!(user.created_at, Some(WHEN));
    let (_, token) = fixture.accounts.find_login_token(&"t1".into()).await.unwrap().unwrap();
    assert_eq!(token.when, WHEN);
}

#[tokio::test]
async fn addresses_of_others_are_taken() {
    let fixture = mapped::django("operators", Feed::default()).await;
    fixture.psql(&mapped::insert("bob", "bob@example.com"));
    fixture.psql(OPERATORS);
    let mut email = Email::new("ADA@example.com");
    let taken = fixture.accounts.replace_email("2", "bob@example.com", &email, &fence()).await;
    assert!(matches!(taken, Err(WriteError::Conflict(Conflict::Email))), "{taken:?}");
    email.address = "new@example.com".to_owned();
    let done = fixture.accounts.replace_email("2", "bob@example.com", &email, &fence()).await;
    assert!(done.unwrap());
}
