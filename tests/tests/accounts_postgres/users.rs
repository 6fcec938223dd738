//! The user's own document, live from the tables.

use std::net::SocketAddr;

use ddp_postgres::Feed;
use ddp_postgres::accounts::PostgresAccounts;
use ddp_server::accounts::{AccountsStore, Email};
use ddp_server::ejson::{Ejson, Object};
use ddp_server::extract::{Invocation, Params, UserId};
use ddp_server::{AnyCursor, Error, Server, State, WriteFence};
use ddp_tests::{Client, over_both_feeds, peer};
use serde_json::{Value, json};

use super::{Fixture, fence, new_user};

/// A server that logs in whoever says who it is.
async fn serve(fixture: &Fixture) -> SocketAddr {
    async fn own(
        user: Option<UserId>,
        State(accounts): State<PostgresAccounts>,
    ) -> Option<Vec<AnyCursor>> {
        let fields = ["username", "emails", "profile", "services"].map(str::to_owned);
        user.map(|user| vec![accounts.users(user.as_str(), &fields)])
    }
    async fn log_in(invocation: Invocation, Params((id,)): Params<(String,)>) -> Result<(), Error> {
        invocation.set_user_id(Some(&id)).await
    }
    async fn rename(
        user: UserId,
        State(accounts): State<PostgresAccounts>,
        fence: WriteFence,
        Params((name,)): Params<(String,)>,
    ) -> Result<(), Error> {
        let profile: Object =
            [("name".to_owned(), Ejson::from(name.clone()))].into_iter().collect();
        assert!(accounts.set_profile(user.as_str(), Some(&profile), &fence).await?);
        let email = Email::new(format!("{name}@x"));
        assert!(
            accounts.add_email(user.as_str(), &email, &fence).await.is_ok_and(|is_done| is_done)
        );
        Ok(())
    }
    let server = Server::builder()
        .publish_universal(own)
        .method("login", log_in)
        .method("rename", rename)
        .with_state(fixture.accounts.clone());
    peer::serve(&server).await
}

async fn sees(client: &mut Client, expected: Value) {
    let what = expected.to_string();
    client.until(&what, |client| shown(client) == expected).await;
}

fn shown(client: &Client) -> Value {
    json!(client.documents("users"))
}

async fn what_psql_changes_arrives(feed: Feed) {
    let fixture = Fixture::over("live", feed).await;
    fixture.create("ada").await;
    fixture.create("alan").await;
    let mut client = Client::connect(serve(&fixture).await).await;
    client.call("login", json!(["id-of-ada"])).await;
    let emails = json!([{"address": "ada@example.com", "verified": false}]);
    assert_eq!(shown(&client), json!({"id-of-ada": {"username": "ada", "emails": emails}}));
    // Two statements are two messages, and one transaction.
    fixture.psql(
        "BEGIN; UPDATE accounts.users SET username = 'Ada', profile = '{\"born\": {\"$date\": 7}}' WHERE id = 'id-of-ada';
        UPDATE accounts.emails SET verified = true; COMMIT",
    );
    let emails = json!([{"address": "ada@example.com", "verified": true}]);
    let ada = json!({"username": "Ada", "emails": emails, "profile": {"born": {"$date": 7}}});
    sees(&mut client, json!({"id-of-ada": ada})).await;
    fixture.psql("INSERT INTO accounts.emails (user_id, address) VALUES ('id-of-ada', 'b@x')");
    fixture.psql("UPDATE accounts.users SET profile = NULL");
    let emails = json!([
        {"address": "ada@example.com", "verified": true}, {"address": "b@x", "verified": false}
    ]);
    sees(&mut client, json!({"id-of-ada": {"username": "Ada", "emails": emails}})).await;
    fixture.psql("UPDATE accounts.emails SET user_id = 'id-of-alan' WHERE address = 'b@x'");
    fixture.psql("DELETE FROM accounts.emails WHERE address = 'ada@example.com'");
    fixture.psql("UPDATE accounts.users SET username = NULL");
    // The document is there even without any field.
    sees(&mut client, json!({"id-of-ada": {}})).await;
    let mut late = Client::connect(serve(&fixture).await).await;
    late.call("login", json!(["id-of-ada"])).await;
    assert_eq!(shown(&late), json!({"id-of-ada": {}}));
    let alan = fixture.psql("SELECT jsonb_path_query_array(emails, '$[*].address') FROM accounts.users WHERE id = 'id-of-alan'");
    assert_eq!(alan, r#"["alan@example.com", "b@x"]"#);
    fixture.psql("DELETE FROM accounts.users");
    sees(&mut client, json!({})).await;
}

async fn a_method_that_changes_its_user_waits_for_the_document(feed: Feed) {
    let fixture = Fixture::over("fenced", feed).await;
    fixture.accounts.create_user(&new_user("ada"), &fence()).await.unwrap();
    let mut client = Client::connect(serve(&fixture).await).await;
    client.call("login", json!(["id-of-ada"])).await;
    for name in ["a", "b", "c"] {
        client.call("rename", json!([name])).await;
        let document = &client.documents("users")["id-of-ada"];
        assert_eq!(document["profile"], json!({"name": name}), "`updated` came before");
        let last = document["emails"].as_array().and_then(|emails| emails.last()).unwrap();
        assert_eq!(last["address"], format!("{name}@x"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_writes_the_addresses_of_a_user_beside_their_table() {
    let fixture = Fixture::start("beside").await;
    fixture.create("ada").await;
    let other = ddp_tests::database::connect(&fixture.database).await;
    for sql in [
        "UPDATE accounts.users SET emails = NULL",
        "INSERT INTO accounts.users (id, emails) VALUES ('x', '[]')",
    ] {
        let error = other.batch_execute(sql).await.unwrap_err();
        let error = error.as_db_error().unwrap().to_owned();
        assert_eq!(error.message(), "the column emails of users follows the table emails", "{sql}");
        assert!(error.hint().unwrap().contains("table emails instead"));
    }
    fixture.psql("TRUNCATE accounts.emails");
    assert_eq!(fixture.psql("SELECT count(*) FROM accounts.users WHERE emails IS NULL"), "1");
}

over_both_feeds!(what_psql_changes_arrives, a_method_that_changes_its_user_waits_for_the_document,);
