//! What an account carries beside its credentials: who sets it, where it is shown, and which of it is in access tokens.

use base64ct::{Base64UrlUnpadded, Encoding};
use portcullis::resource_server::Verifier;
use portcullis::token::Rejected;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::{ORIGIN, PASSWORD, TestServer, send};

const ROOT: &str = "root@test.org";
const ADA: &str = "ada@test.org";
const USERS: &str = "/v1/admin/users";

/// The claims of another program.
#[derive(Deserialize)]
struct Further {
    app_metadata: AppMetadata,
}

#[derive(Deserialize)]
struct AppMetadata {
    plan: String,
}

/// Returns the claims of an access token.
fn claims(access: &str) -> Value {
    let part = access.split('.').nth(1).unwrap();
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap()
}

/// Returns what `user` carries, by the names of the fields.
fn carried(user: &Value) -> Value {
    let names = ["locale", "user_metadata", "app_metadata", "external_id"];
    let fields = user.as_object().unwrap().iter().filter(|(name, _)| names.contains(&name.as_str()));
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[tokio::test]
async fn an_owner_sets_a_language_and_an_object_and_empties_them() {
    let server = TestServer::start();
    let access = server.operator_account(ADA, &[]).await;
    for (sent, shown) in [
        (json!({"locale": "en-gb"}), json!({"locale": "en-GB"})),
        (
            json!({"user_metadata": {"theme": "dark", "list": [1, {"a": null}]}}),
            json!({"locale": "en-GB", "user_metadata": {"theme": "dark", "list": [1, {"a": null}]}}),
        ),
        // An object replaces the one from before as a whole.
        (json!({"user_metadata": {"size": 2}}), json!({"locale": "en-GB", "user_metadata": {"size": 2}})),
        (json!({"name": "Ada"}), json!({"locale": "en-GB", "user_metadata": {"size": 2}})),
        (json!({"locale": ""}), json!({"user_metadata": {"size": 2}})),
        (json!({"locale": null, "user_metadata": null}), json!({})),
        (json!({"user_metadata": {"size": 3}}), json!({"user_metadata": {"size": 3}})),
        (json!({"user_metadata": ""}), json!({})),
        (json!({"user_metadata": {"size": 3}}), json!({"user_metadata": {"size": 3}})),
        (json!({"user_metadata": {}}), json!({})),
    ] {
        let answer = server.patch_as("/v1/me", &access, sent.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{sent}: {}", answer.body);
        assert_eq!(carried(&answer.body), shown, "{sent}");
        assert_eq!(carried(&server.get_as("/v1/me", &access).await.body), shown, "{sent}");
    }
}

#[tokio::test]
async fn what_an_account_cannot_carry_is_refused_with_the_field_that_holds_it() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let access = server.operator_account(ADA, &[]).await;
    let id = server.get_as("/v1/me", &access).await.text("id");
    let user = format!("{USERS}/{id}");
    let long = "x".repeat(4_096);
    let deep = (0..8).fold(json!(1), |inner, _| json!({"a": inner}));
    for (body, pointer, code) in [
        (json!({"locale": "en_GB"}), "/locale", "invalid_locale"),
        (json!({"locale": 7}), "/locale", "invalid_type"),
        (json!({"user_metadata": [1]}), "/user_metadata", "invalid_type"),
        (json!({"user_metadata": "text"}), "/user_metadata", "invalid_type"),
        (json!({"user_metadata": {"a": long}}), "/user_metadata", "too_long"),
        (json!({"user_metadata": {"a": deep}}), "/user_metadata", "too_deep"),
    ] {
        for (path, access) in [("/v1/me", &access), (user.as_str(), &root)] {
            let refused = server.patch_as(path, access, body.clone()).await;
            assert_eq!(refused.problem(), (422, "unprocessable"), "{body}");
            let error = &refused.body["errors"][0];
            assert_eq!(
                [&error["pointer"], &error["code"]],
                [&json!(pointer), &json!(code)],
                "{body}: {error}"
            );
        }
    }
    for (body, pointer, code) in [
        (json!({"external_id": "a\u{202e}b"}), "/external_id", "invalid_id"),
        (json!({"external_id": "a".repeat(129)}), "/external_id", "invalid_id"),
        (json!({"app_metadata": {"a": "x".repeat(4_096)}}), "/app_metadata", "too_long"),
    ] {
        let refused = server.patch_as(&user, &root, body.clone()).await;
        let error = &refused.body["errors"][0];
        assert_eq!([&error["pointer"], &error["code"]], [&json!(pointer), &json!(code)], "{body}: {error}");
    }
    // A name that stands twice has no single meaning.
    let twice = server.request(reqwest::Method::PATCH, "/v1/me").bearer_auth(&access);
    let twice = twice.header("content-type", "application/json").body(r#"{"user_metadata":{"a":1,"a":2}}"#);
    let refused = crate::support::send(twice).await;
    assert_eq!(refused.body["errors"][0]["pointer"], json!("/user_metadata"), "{}", refused.body);
    assert_eq!(refused.body["errors"][0]["code"], json!("duplicate_field"));
    assert_eq!(carried(&server.get_as("/v1/me", &access).await.body), json!({}));
}

#[tokio::test]
async fn an_administrator_gives_an_account_all_it_carries_and_finds_it_by_its_external_id() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let all = json!({
        "locale": "de-CH",
        "user_metadata": {"theme": "dark"},
        "app_metadata": {"plan": "pro"},
        "external_id": "auth0|5f7c",
    });
    let mut new = json!({"email": ADA, "password": PASSWORD, "verified": true, "name": "Ada"});
    new.as_object_mut().unwrap().extend(all.as_object().unwrap().clone());
    let made = server.post_as(USERS, &root, new.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    assert_eq!(made.body["name"], json!("Ada"));
    assert_eq!(carried(&made.body), all);
    let id = made.text("id");
    let user = format!("{USERS}/{id}");
    // A second account cannot have the same one.
    new["email"] = json!("bob@test.org");
    assert_eq!(server.post_as(USERS, &root, new).await.problem(), (409, "external_id_taken"));
    let bob = json!({"email": "bob@test.org", "password": PASSWORD, "verified": true});
    let bob = server.post_as(USERS, &root, bob).await.text("id");
    let of_bob = format!("{USERS}/{bob}");
    let taken = json!({"external_id": "auth0|5f7c", "email": "eve@test.org"});
    assert_eq!(server.patch_as(&of_bob, &root, taken).await.problem(), (409, "external_id_taken"));
    let unchanged = server.get_as(&of_bob, &root).await.body;
    assert_eq!(unchanged["email"], json!("bob@test.org"), "a refused change has moved the account");

    // The owner works on while all this changes.
    let access = server.tokens(ADA).await.0;
    let server = server.restart();
    let find = async |external_id: &str| {
        let found = server.get_as(&format!("{USERS}?external_id={external_id}"), &root).await;
        assert_eq!(found.status, StatusCode::OK, "{}", found.body);
        assert_eq!(found.body["next_cursor"], Value::Null);
        found.array("items").iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(find("auth0%7C5f7c").await, [id.as_str()]);
    assert_eq!(find("auth0").await, [""; 0]);
    assert_eq!(find("").await, [""; 0]);
    let both = server.get_as(&format!("{USERS}?external_id=a&q=b"), &root).await;
    assert_eq!(both.problem(), (422, "unprocessable"));
    assert_eq!(carried(&server.get_as(&user, &root).await.body), all);
    let renamed =
        server.patch_as(&user, &root, json!({"external_id": "7", "app_metadata": {"plan": "free"}})).await;
    assert_eq!(renamed.body["app_metadata"], json!({"plan": "free"}));
    assert_eq!(find("auth0%7C5f7c").await, [""; 0]);
    assert_eq!(find("7").await, [id.as_str()]);
    let me = server.get_as("/v1/me", &access).await;
    assert_eq!(me.status, StatusCode::OK, "a change has ended the session");
    assert_eq!(me.body["app_metadata"], json!({"plan": "free"}));
    // It is free again with the end of its account, and can be taken away.
    assert_eq!(server.delete_as(&user, &root, Value::Null).await.status, StatusCode::NO_CONTENT);
    assert_eq!(find("7").await, [""; 0]);
    assert_eq!(server.patch_as(&of_bob, &root, json!({"external_id": "7"})).await.status, StatusCode::OK);
    assert_eq!(find("7").await, [bob.as_str()]);
    let without = server.patch_as(&of_bob, &root, json!({"external_id": null})).await;
    assert_eq!(carried(&without.body), json!({}));
    assert_eq!(find("7").await, [""; 0]);
}

#[tokio::test]
async fn every_answer_that_shows_a_user_shows_the_same_of_it() {
    let server = TestServer::start();
    let root = server.operator_account(ROOT, &["admin"]).await;
    let shown =
        json!({"locale": "en", "user_metadata": {"z": 1, "a": "\u{1b}"}, "app_metadata": {"plan": "pro"}});
    let mut new = json!({"email": ADA, "password": PASSWORD, "verified": true, "external_id": "7"});
    new.as_object_mut().unwrap().extend(shown.as_object().unwrap().clone());
    assert_eq!(server.post_as(USERS, &root, new).await.status, StatusCode::CREATED);
    let login = server.log_in(ADA, PASSWORD).await;
    assert_eq!(carried(&login.body["user"]), shown);
    let refreshed = server.refresh(&login.text("refresh_token")).await;
    assert_eq!(carried(&refreshed.body["user"]), shown);
    let cookie = server.log_in_for_cookie(ADA).await;
    assert_eq!(carried(&cookie.body["user"]), shown);
    let session = server.get_with_cookie("/v1/session", &cookie.session_cookie()).await;
    assert_eq!(carried(&session.body["user"]), shown);
    assert_eq!(carried(&server.get_as("/v1/me", &login.text("access_token")).await.body), shown);
    // Of an account that carries nothing, the answers are as they always were.
    let other = server.log_in(ROOT, PASSWORD).await;
    let mut fields: Vec<_> = other.body["user"].as_object().unwrap().keys().cloned().collect();
    fields.sort();
    assert_eq!(fields, ["created_at", "email", "email_verified", "id", "name", "roles"]);
}

#[tokio::test]
async fn access_tokens_carry_the_named_fields_and_a_change_from_the_next_refresh_on() {
    let named =
        "app_metadata.plan,app_metadata.limits.seats,user_metadata.theme,name,email,email_verified,locale";
    let server = TestServer::with(&[("token.claims", named)]);
    let root = server.operator_account(ROOT, &["admin"]).await;
    let (access, refresh) = {
        server.operator_account(ADA, &[]).await;
        server.tokens(ADA).await
    };
    // What the account does not have is not there.
    let of_ada = claims(&access);
    assert_eq!([&of_ada["email"], &of_ada["email_verified"]], [&json!(ADA), &json!(true)]);
    for name in ["app_metadata", "user_metadata", "name", "locale", "external_id"] {
        assert_eq!(of_ada.get(name), None, "{name}");
    }
    let id = of_ada["sub"].as_str().unwrap();
    let app = json!({"plan": "pro", "limits": {"seats": 5, "hidden": 1}, "hidden": 2});
    let body =
        json!({"app_metadata": app, "user_metadata": {"theme": "dark"}, "name": "Ada", "locale": "en-gb"});
    let changed = server.patch_as(&format!("{USERS}/{id}"), &root, body).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    // The token from before works on, and the next one has the change.
    assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);
    let next = server.refresh(&refresh).await;
    let of_ada = claims(&next.text("access_token"));
    assert_eq!(of_ada["app_metadata"], json!({"plan": "pro", "limits": {"seats": 5}}));
    assert_eq!(of_ada["user_metadata"], json!({"theme": "dark"}));
    assert_eq!([&of_ada["name"], &of_ada["locale"]], [&json!("Ada"), &json!("en-GB")]);
    assert_eq!(of_ada["sub"].as_str(), Some(id));
    // A program that checks tokens by itself reads them as a type of its own.
    let verifier = Verifier::new(ORIGIN, ORIGIN, server.clock.clone());
    verifier.set_keys(&server.get("/.well-known/jwks.json").await.bytes).unwrap();
    verifier.apply(&server.get_as("/v1/revocations", &root).await.bytes).unwrap();
    let (own, further) = verifier.check_with::<Further>(&next.text("access_token")).unwrap();
    assert_eq!(own.sub, id);
    assert_eq!(further.app_metadata.plan, "pro");
    assert_eq!(verifier.check_with::<Further>(&access).err(), Some(Rejected::Form), "it lacks the claim");
    assert!(verifier.check(&access).is_ok());
    // This server takes its own tokens.
    assert_eq!(server.get_as("/v1/me", &next.text("access_token")).await.status, StatusCode::OK);
}

/// Signs up with `body`, and returns the half of the client.
async fn sign_up_with(server: &TestServer, body: &Value, accepts: &str) -> String {
    let request = server.request(Method::POST, "/v1/signup").header("accept-language", accepts).json(body);
    let answer = send(request).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
    answer.text("signup_token")
}

#[tokio::test]
async fn a_sign_up_says_the_language_of_its_account() {
    for (locale, expected) in [
        (json!("de-at"), Some("de-AT")),
        // As the browser prefers, if the page says nothing.
        (Value::Null, Some("fr-CH")),
        (json!(""), None),
    ] {
        let server = TestServer::start();
        let root = server.operator_account(ROOT, &["admin"]).await;
        let body = json!({"email": ADA, "password": PASSWORD, "locale": locale});
        let half = sign_up_with(&server, &body, "fr-ch, fr;q=0.9, en;q=0.8").await;
        let link = server.mailed(ADA, "Confirm").await;
        let waiting = server.get_as(&format!("{USERS}?status=pending"), &root).await;
        assert_eq!(waiting.body["items"][0].get("locale").and_then(Value::as_str), expected);
        // It is on disk.
        let server = server.restart();
        assert_eq!(server.confirm(&link, &half).await.status, StatusCode::NO_CONTENT);
        let access = server.tokens(ADA).await.0;
        let me = server.get_as("/v1/me", &access).await;
        assert_eq!(me.body.get("locale").and_then(Value::as_str), expected, "{}", me.body);
    }
    // Where addresses need no proof, at once.
    let server = TestServer::with(&[("signup.verify_email", "off")]);
    let made =
        server.post("/v1/signup", json!({"email": ADA, "password": PASSWORD, "locale": "de-at"})).await;
    assert_eq!((made.status, &made.body["user"]["locale"]), (StatusCode::CREATED, &json!("de-AT")));
}

/// A stranger may have signed up with the address: the mailbox alone takes nothing of that over.
#[tokio::test]
async fn the_link_alone_takes_no_language_of_a_sign_up_over() {
    let server = TestServer::start();
    let body = json!({"email": ADA, "password": "a phrase of somebody else", "name": "Eve", "locale": "fr"});
    sign_up_with(&server, &body, "fr").await;
    let link = server.mailed(ADA, "Confirm").await;
    let next = server.verify(&link).await;
    assert_eq!(server.reset(&next.text("token"), PASSWORD).await.status, StatusCode::NO_CONTENT);
    let access = server.tokens(ADA).await.0;
    let me = server.get_as("/v1/me", &access).await;
    assert_eq!([me.body.get("locale"), Some(&me.body["name"])], [None, Some(&Value::Null)], "{}", me.body);
}

/// Whether the address has an account shows neither in the refusal nor in the work.
#[tokio::test]
async fn what_is_no_language_is_refused_for_free_and_taken_addresses_alike() {
    let server = TestServer::start();
    server.account(ADA).await;
    let engine = server.engine.upgrade().unwrap();
    for (locale, code) in [(json!("en_GB"), "invalid_locale"), (json!(7), "invalid_type")] {
        let mut answers = Vec::new();
        for email in [ADA, "free@test.org"] {
            let hashes = engine.work().hashes;
            let body = json!({"email": email, "password": PASSWORD, "locale": locale});
            let answer = server.post("/v1/signup", body).await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", answer.body);
            assert_eq!(answer.body["errors"][0]["pointer"], json!("/locale"));
            assert_eq!(answer.body["errors"][0]["code"], json!(code));
            assert_eq!(engine.work().hashes, hashes);
            answers.push(answer.body["errors"].clone());
        }
        assert_eq!(answers[0], answers[1]);
    }
    // A header that is no list of languages refuses nobody.
    let body = json!({"email": "free@test.org", "password": PASSWORD});
    sign_up_with(&server, &body, ";;q=1,,*").await;
}
