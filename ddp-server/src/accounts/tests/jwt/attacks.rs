//! Tokens that must log nobody in.

use super::*;

#[tokio::test]
async fn what_is_not_signed_by_the_right_key_is_refused() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256())).await;
    let client = scene.client().await;
    let claims = claims(&scene.ada);
    let right = Signer::secret(SECRET).sign(&claims);
    let (message, signature) = right.rsplit_once('.').unwrap();
    let none = |name: &str| encode(json!({"alg": name}).to_string());
    let body = encode(claims.to_string());
    let foreign = Signer::secret("another secret that is as long as that one").sign(&claims);
    let other_body = encode(json!({"sub": scene.ada, "exp": 9_999_999_999_u64}).to_string());
    let header = message.split_once('.').unwrap().0;
    for (token, text) in [
        (format!("{}.{body}.", none("none")), "This token is signed in a way"),
        (format!("{}.{body}.", none("None")), "This token is signed in a way"),
        (format!("{}.{body}.{signature}", none("none")), "This token is signed in a way"),
        (format!("{}.{body}.{signature}", none("HS512")), "This token is signed in a way"),
        (format!("{}.{body}.{signature}", none("hs256")), "This token is signed in a way"),
        (format!("{message}."), "This token has a wrong signature"),
        (foreign, "This token has a wrong signature"),
        (format!("{header}.{other_body}.{signature}"), "This token has a wrong signature"),
        (format!("{right}="), "This is not a JSON Web Token"),
        (format!("{right}.x"), "This is not a JSON Web Token"),
        (message.to_owned(), "This is not a JSON Web Token"),
        ("..".to_owned(), "This is not a JSON Web Token"),
        ("x".to_owned(), "This is not a JSON Web Token"),
        (right.replace('.', " "), "This is not a JSON Web Token"),
        (format!("{}.{body}.{signature}", encode("[]")), "This is not a JSON Web Token"),
    ] {
        let error = refusal(&client, &token).await;
        assert!(error.starts_with(text) && error.ends_with("[403]"), "{token}: {error}");
    }
    assert_eq!(whoami(&client).await, None);
    log_in_by(&client, &right).await.unwrap();
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let rsa = Signer::rsa();
    let scene = Scene::with(|accounts| accounts.jwt(Jwt::public_key(rsa.pem()).unwrap())).await;
    let client = scene.client().await;
    let claims = claims(&scene.ada);
    let (der, pem) = (rsa.json_key("")["n"].to_string(), rsa.pem());
    for secret in [pem.clone(), pem.trim().to_owned(), pem.replace('\n', ""), der] {
        let signer = Signer::secret(secret);
        let error = refusal(&client, &signer.sign(&claims)).await;
        assert!(error.starts_with("This token is signed in a way"), "{error}");
        // Nor does a signature by it pass for one of RSA.
        let error = refusal(&client, &signer.sign_as(&json!({"alg": "RS256"}), "{}")).await;
        assert!(error.starts_with("This token has a wrong signature"), "{error}");
    }
    // Keys of other kinds.
    for signer in [Signer::p256(), Signer::ed25519()] {
        let error = refusal(&client, &signer.sign(&claims)).await;
        assert!(error.starts_with("This token is signed in a way"), "{error}");
    }
    assert!(matches!(Jwt::hs256(pem), Err(JwtError::PemAsSecret)));
    assert!(matches!(Jwt::hs256("short"), Err(JwtError::ShortSecret(5))));
    log_in_by(&client, &rsa.sign(&claims)).await.unwrap();
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused() {
    let scene = Scene::with(|accounts| {
        accounts.jwt(hs256().audience("todos").audience("tasks").issuer("https://app.example"))
    })
    .await;
    let client = scene.client().await;
    let right = || {
        let mut claims = claims(&scene.ada);
        claims["aud"] = json!("todos");
        claims["iss"] = json!("https://app.example");
        claims
    };
    let signer = Signer::secret(SECRET);
    let (past, soon) = (seconds_from_now(-1), seconds_from_now(20));
    let later = seconds_from_now(40);
    let (audience, issuer) =
        ("This token is for another audience", "This token is of another issuer");
    let (expired, endless) = ("This token has expired", "This token does not say when it ends");
    let (early, nobody) =
        ("This token is not valid yet", "This token does not say who the user is");
    for (claim, value, text) in [
        ("aud", json!("other"), audience),
        ("aud", json!(null), audience),
        ("aud", json!([]), audience),
        ("aud", json!(["other", 7]), audience),
        ("aud", json!([["todos"]]), audience),
        ("aud", json!({"todos": "todos"}), audience),
        ("iss", json!("https://other.example"), issuer),
        ("iss", json!(["https://app.example"]), issuer),
        ("iss", json!(null), issuer),
        ("exp", json!(past), expired),
        ("exp", json!(0), expired),
        ("exp", json!(-1e300), expired),
        ("exp", json!(null), endless),
        ("exp", json!("9999999999"), endless),
        ("exp", json!({"$date": 9_999_999_999_999_u64}), endless),
        ("nbf", json!(later), early),
        ("nbf", json!(1e300), early),
        ("nbf", json!("now"), "This is not a JSON Web Token"),
        ("sub", json!(null), nobody),
        ("sub", json!(""), nobody),
        ("sub", json!("a\0b"), nobody),
        ("sub", json!("x".repeat(1025)), nobody),
        ("sub", json!(1.5), nobody),
        ("sub", json!(1e300), nobody),
        ("sub", json!(true), nobody),
        ("sub", json!([scene.ada]), nobody),
        ("sub", json!({"$ne": null}), nobody),
    ] {
        let mut claims = right();
        claims[claim] = value;
        let error = refusal(&client, &signer.sign(&claims)).await;
        assert_eq!(error, format!("{text} [403]"), "{claims}");
    }
    assert_eq!(whoami(&client).await, None);
    for (claim, value) in [
        ("aud", json!("tasks")),
        ("aud", json!(["other", "todos"])),
        ("nbf", json!(soon)),
        ("nbf", json!(past)),
        ("exp", json!(1e300)),
        ("exp", json!(seconds_from_now(60) as f64 + 0.5)),
    ] {
        let mut claims = right();
        claims[claim] = value;
        log_in_by(&client, &signer.sign(&claims)).await.unwrap();
    }
}

#[tokio::test]
async fn a_token_for_somebody_is_not_for_whoever_named_nothing() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256())).await;
    let client = scene.client().await;
    let token = Signer::secret(SECRET).sign(&claims_with(&scene.ada, "aud", json!("mail")));
    assert_eq!(refusal(&client, &token).await, "This token is for another audience [403]");
    let scene = Scene::with(|accounts| accounts.jwt(hs256().any_audience())).await;
    let token = Signer::secret(SECRET).sign(&claims_with(&scene.ada, "aud", json!("mail")));
    log_in_by(&scene.client().await, &token).await.unwrap();
}

#[tokio::test]
async fn what_is_large_or_deep_or_odd_is_refused() {
    let scene = Scene::with(|accounts| accounts.jwt(hs256().create_users())).await;
    let client = scene.client().await;
    let signer = Signer::secret(SECRET);
    let large = signer.sign(&claims_with("7", "name", json!("x".repeat(8 * 1024))));
    assert_eq!(refusal(&client, &large).await, "This token has more than 8 KiB [403]");
    let header = json!({"alg": "HS256"});
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let deep_claims = format!(r#"{{"sub":"7","exp":9999999999,"x":{deep}}}"#);
    for claims in [deep_claims.as_str(), &deep, "[]", "7", "", "{", "\u{feff}{}"] {
        let error = refusal(&client, &signer.sign_as(&header, claims)).await;
        assert_eq!(error, "This is not a JSON Web Token [403]", "{claims}");
    }
    let right = claims("7").to_string();
    for header in [
        json!({"alg": "HS256", "crit": ["exp"]}),
        json!({"alg": "HS256", "kid": "x".repeat(2000)}),
        json!({"alg": "HS256", "kid": {"$ne": 1}}),
        json!({"alg": ["HS256"]}),
        json!({"alg": null}),
        json!({}),
    ] {
        let error = refusal(&client, &signer.sign_as(&header, &right)).await;
        assert_eq!(error, "This is not a JSON Web Token [403]", "{header}");
    }
    // Whatever a client sends that is no text.
    for bad in [json!(7), json!(["x"]), json!({"$gt": ""}), json!(true)] {
        let error = refused(&client, "login", (json!({"jwt": bad}),)).await;
        assert_eq!(error, "Match failed [400]");
    }
    let with_more = json!({"jwt": signer.sign(&claims("7")), "more": 1});
    assert_eq!(refused(&client, "login", (with_more,)).await, "Match failed [400]");
    // A key's name is not needed where there is one key.
    log_in_by(&client, &signer.sign_by("../../etc/passwd", &claims("7"))).await.unwrap();
}

#[test]
fn what_would_accept_tokens_of_others_does_not_build() {
    let panics = |build: fn() -> Accounts| std::panic::catch_unwind(build).is_err();
    let accounts = || Accounts::new(MemoryAccounts::new());
    assert!(panics(|| Accounts::new(MemoryAccounts::new()).jwt(Jwt::jwks_file("keys.json"))));
    assert!(panics(|| {
        let both = [hs256().issuer("a").create_users(), hs256().issuer("b").create_users()];
        both.into_iter().fold(Accounts::new(MemoryAccounts::new()), Accounts::jwt)
    }));
    // Nobody can tell that these are of one issuer.
    assert!(panics(|| {
        let both = [hs256().create_users(), hs256().create_users()];
        both.into_iter().fold(Accounts::new(MemoryAccounts::new()), Accounts::jwt)
    }));
    let of_one = || hs256().issuer("a").create_users();
    let _ = accounts().jwt(of_one()).jwt(of_one());
    let _ = accounts().jwt(Jwt::jwks_file("keys.json").audience("todos"));
    let _ = accounts().jwt(hs256().issuer("a").service("a")).jwt(hs256().issuer("b").service("b"));
}
