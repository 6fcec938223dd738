//! Logins by a cookie of another program.

use super::*;
use crate::accounts::{Login, LoginHandler, TokenGuard};
use crate::config::ServerConfig;
use crate::transport::Origins;

const PAGE: &str = "https://app.example";

/// A handler for `{door: true}`: whoever has the key in a cookie is the user with this id.
fn door(user_id: &str) -> LoginHandler {
    let user_id = user_id.to_owned();
    let handler = LoginHandler::new("door", move |request| {
        let user_id = user_id.clone();
        async move {
            if request.options().get("door").is_none() {
                return Ok(None);
            }
            let key = request.connection().and_then(|connection| connection.cookie("key"));
            if key != Some("brass") {
                return Err(request.refusal("Wrong key"));
            }
            Ok(Some(Login::user(user_id)))
        }
    });
    handler.cookie("key")
}

/// A server with a user named ada, whose handlers are these.
async fn serve(
    handlers: impl FnOnce(&str) -> Vec<LoginHandler>,
    is_ambiguous: bool,
) -> (Server, String) {
    let store = MemoryAccounts::new();
    let ada = json!({"username": "ada", "password": PASSWORD});
    let ada = Accounts::new(store.clone())
        .password_algorithm(PasswordAlgorithm::Bcrypt { cost: 4 })
        .build()
        .create_user(&ada)
        .await
        .expect("a new user");
    let accounts = Accounts::new(store).ambiguous_error_messages(is_ambiguous);
    let accounts = handlers(&ada).into_iter().fold(accounts, Accounts::login_handler);
    let config =
        ServerConfig { allowed_origins: Origins::only([PAGE]).unwrap(), ..Default::default() };
    (Server::builder().config(config).plugin(accounts).build(), ada)
}

async fn connect(server: &Server, headers: &[(&str, &str)]) -> Client {
    let builder = headers
        .iter()
        .fold(Client::builder(server), |builder, (name, value)| builder.header(name, value));
    builder.connect().await
}

#[tokio::test]
async fn a_handler_sees_its_cookie_if_an_allowed_page_sent_it() {
    let (server, ada) = serve(|ada| vec![door(ada)], false).await;
    let (page, key) = (("origin", PAGE), ("cookie", "other=a; key=brass"));
    let client = connect(&server, &[page, key]).await;
    let login: LoggedIn = client.call("login", (json!({"door": true}),)).await.unwrap();
    assert_eq!((login.id, login.r#type.as_str()), (ada, "door"));
    for headers in [
        &[key][..],
        &[page],
        &[page, ("cookie", "key=iron")],
        &[page, ("cookie", "other=brass")],
        &[("origin", "https://evil.example"), key],
    ] {
        let client = connect(&server, headers).await;
        let error = refused(&client, "login", (json!({"door": true}),)).await;
        assert_eq!(error, "Wrong key [403]", "{headers:?}");
    }
}

#[tokio::test]
async fn a_logout_forgets_the_cookie() {
    let (server, ada) = serve(|ada| vec![door(ada)], false).await;
    let headers = [("origin", PAGE), ("cookie", "key=brass")];
    let client = connect(&server, &headers).await;
    for _ in 0..2 {
        let login: LoggedIn = client.call("login", (json!({"door": true}),)).await.unwrap();
        assert_eq!(login.id, ada);
    }
    client.call::<()>("logout", ()).await.unwrap();
    assert_eq!(refused(&client, "login", (json!({"door": true}),)).await, "Wrong key [403]");
    let login = connect(&server, &headers).await.call("login", (json!({"door": true}),)).await;
    assert_eq!(login.map(|login: LoggedIn| login.id).unwrap(), ada, "on another connection");
}

/// A user's browser follows a link on the server's own origin, and so opens a session whose name the link's
/// author knows, who goes on with it.
#[cfg(feature = "sockjs")]
#[tokio::test]
async fn a_link_logs_nobody_in_for_its_author() {
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    let (server, _) = serve(|ada| vec![door(ada)], false).await;
    let app = server.router();
    let ask = async |request: Request<Body>| {
        let answer = app.clone().oneshot(request).await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        let body = to_bytes(answer.into_body(), 65_536).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let link = Request::get("/sockjs/000/chosen/jsonp?c=x")
        .header("cookie", "key=brass")
        .header("sec-fetch-site", "same-origin");
    let opened = ask(link.body(Body::empty()).unwrap()).await;
    assert!(opened.contains(r#"x("o")"#), "{opened}");
    let messages = [
        json!({"msg": "connect", "version": "1", "support": ["1"]}).to_string(),
        json!({"msg": "method", "id": "1", "method": "login", "params": [{"door": true}]})
            .to_string(),
    ];
    let send = Request::post("/sockjs/000/chosen/xhr_send");
    ask(send.body(json!(messages).to_string().into()).unwrap()).await;
    let mut received = String::new();
    while !received.contains("result") {
        let poll = Request::post("/sockjs/000/chosen/xhr");
        received += &ask(poll.body(Body::empty()).unwrap()).await;
    }
    assert!(received.contains("Wrong key"), "{received}");
}

#[tokio::test]
async fn a_refusal_says_no_more_than_others() {
    let (server, _) = serve(|ada| vec![door(ada)], true).await;
    let client = connect(&server, &[]).await;
    let error = refused(&client, "login", (json!({"door": true}),)).await;
    assert_eq!(error, format!("{AMBIGUOUS} [403]"));
}

#[tokio::test]
async fn who_no_longer_has_the_password_that_was_looked_at_is_not_logged_in() {
    let guarded = |ada: &str| {
        let ada = ada.to_owned();
        vec![LoginHandler::new("guarded", move |_| {
            let guard = TokenGuard::Password("of another day".to_owned().into());
            let login = Login::user(ada.clone()).guard(guard);
            async move { Ok(Some(login)) }
        })]
    };
    let (server, _) = serve(guarded, false).await;
    let client = connect(&server, &[]).await;
    let error = refused(&client, "login", (json!({}),)).await;
    assert_eq!(error, "Incorrect password [403]");
}

#[test]
#[should_panic(expected = "name your pages' origins by ServerConfig::allowed_origins")]
fn a_cookie_of_any_page_logs_nobody_in() {
    let accounts = Accounts::new(MemoryAccounts::new()).login_handler(door("ada"));
    let _ = Server::builder().plugin(accounts).build();
}
