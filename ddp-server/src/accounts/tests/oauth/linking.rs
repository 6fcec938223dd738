//! Whose user somebody is whom a service did not know before.

use futures::future::join_all;

use super::*;
use crate::accounts::store::Service;

async fn verify_ada(all: &OAuthScene) {
    all.scene.accounts.add_email(&all.scene.ada, "Ada@example.com", true).await.unwrap();
}

fn ada(verified: bool) -> Value {
    json!({"sub": "ada", "name": "Ada", "email": "ada@example.com", "email_verified": verified})
}

#[tokio::test]
async fn an_address_links_only_where_the_application_says_so() {
    let all = OAuthScene::new().await;
    verify_ada(&all).await;
    assert_ne!(all.log_in(ada(true)).await.unwrap().id, all.scene.ada);
}

#[tokio::test]
async fn an_address_links_only_if_both_have_verified_it() {
    let all = OAuthScene::with(|accounts| accounts, OAuthService::link_by_verified_email).await;
    // Not verified here.
    assert_ne!(all.log_in(ada(true)).await.unwrap().id, all.scene.ada);

    let all = OAuthScene::with(|accounts| accounts, OAuthService::link_by_verified_email).await;
    verify_ada(&all).await;
    // Not verified there.
    for unverified in [json!(false), json!(null), json!("yes")] {
        let mut claims = ada(false);
        claims["sub"] = json!(unverified.to_string());
        claims["email_verified"] = unverified;
        // What is no truth at all is no token.
        if let Ok(login) = all.log_in(claims).await {
            assert_ne!(login.id, all.scene.ada);
        }
    }
    let login = all.log_in(ada(true)).await.unwrap();
    assert_eq!(login.id, all.scene.ada);
    // Linked for good, whatever becomes of the address there.
    assert_eq!(all.log_in(ada(false)).await.unwrap().id, all.scene.ada);
    // The profile stays.
    let user = all.scene.accounts.find_user(&login.id).await.unwrap().unwrap();
    assert_eq!(user.profile.unwrap()["name"].as_str(), Some("Ada"));
}

#[tokio::test]
async fn an_address_is_no_way_past_a_second_factor() {
    let all = OAuthScene::with(|accounts| accounts, OAuthService::link_by_verified_email).await;
    verify_ada(&all).await;
    let data = [("type", "otp"), ("secret", "JBSWY3DPEHPK3PXP")];
    let data = data.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect();
    let record = Service { service_id: None, data };
    let store = &all.scene.accounts.core.store;
    store.put_service(&all.scene.ada, "twoFactorAuthentication", 0, Some(&record)).await.unwrap();
    let error = all.log_in(ada(true)).await.unwrap_err();
    assert!(error.to_string().ends_with("[2fa-enabled]"), "{error}");
    assert!(store.find_service(&all.scene.ada, "example").await.unwrap().is_none());
}

#[tokio::test]
async fn another_account_of_the_same_service_does_not_take_the_place_of_the_first() {
    let all = OAuthScene::with(|accounts| accounts, OAuthService::link_by_verified_email).await;
    verify_ada(&all).await;
    let record = Service { service_id: Some("first".to_owned()), data: Default::default() };
    let store = &all.scene.accounts.core.store;
    store.put_service(&all.scene.ada, "example", 0, Some(&record)).await.unwrap();
    let error = all.log_in(ada(true)).await.unwrap_err();
    assert_eq!(error.to_string(), "This account of the service belongs to another user [403]");
}

#[tokio::test]
async fn logins_that_race_make_one_user() {
    let all = OAuthScene::with(
        // All have looked for the user before one is created.
        |accounts| {
            let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(4));
            accounts.validate_new_user(move |user| {
                let barrier = std::sync::Arc::clone(&barrier);
                async move {
                    if user.username.is_none() {
                        barrier.wait().await;
                    }
                    Ok(true)
                }
            })
        },
        |service| service,
    )
    .await;
    let logins = join_all((0..4).map(|_| all.log_in_apart(grace()))).await;
    let ids: Vec<String> = logins.into_iter().map(|login| login.unwrap().id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let found = all.scene.accounts.core.store.find_user_by_service("example", "7").await.unwrap();
    assert_eq!(found.unwrap().id, ids[0]);
}

impl OAuthScene {
    /// With a credential token of its own.
    async fn log_in_apart(&self, claims: Value) -> Result<LoggedIn, DdpError> {
        let code = self.provider.code(claims);
        let token = crate::random::secret();
        let state = state(&json!({"loginStyle": "popup", "credentialToken": token}));
        let page = self.browser.get(&format!("/_oauth/example?state={state}&code={code}")).await;
        self.scene.client().await.call("login", (by_page(&page),)).await
    }
}
