//! Guessing common passwords: an attacker tries what most people use first.
//!
//! Bound: no way to set a password takes one of the half million most common ones.

use serde_json::json;

use crate::support::{Answer, PASSWORD, TestServer};

const NAME: &str = "ada@test.org";

/// Starts a server that also knows a list of the operator's own, and limits advice to 30.
async fn with_own_list(dir: &tempfile::TempDir) -> TestServer {
    let list = dir.path().join("own.txt");
    std::fs::write(&list, "Acme Corporation Rocks\n").unwrap();
    let server = TestServer::with(&[
        ("password.list_file", list.to_str().unwrap()),
        ("throttle.advice.burst", "30"),
        ("throttle.advice.per_minute", "1"),
    ]);
    server.account(NAME).await;
    server
}

#[tokio::test]
async fn no_way_to_set_a_password_takes_a_common_one() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_own_list(&dir).await;
    let (access, _) = server.tokens(NAME).await;
    for known in
        ["acme corporation rocks", "1234567890123456", "qwertyuiopasdfghjkl", "Acme Corporation Rocks"]
    {
        let signed_up = server.post("/v1/signup", json!({"email": "eve@test.org", "password": known})).await;
        assert_eq!(signed_up.problem(), (422, "weak_password"), "{known}");
        let changed = server.change_password(&access, PASSWORD, known).await;
        assert_eq!(changed.status.as_u16(), 422, "{known}");
    }
    server.forgot(NAME).await;
    let token = server.mailed(NAME, "new password").await;
    let reset = server.reset(&token, "acme corporation rocks").await;
    assert_eq!(reset.body["reasons"], json!(["known_bad"]));
}

async fn check(server: &TestServer, password: &str) -> Answer {
    server.post("/v1/password/check", json!({"password": password, "email": NAME})).await
}

#[tokio::test]
async fn a_form_is_told_why_a_password_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_own_list(&dir).await;
    let bad = check(&server, "sunshine1").await;
    assert_eq!(bad.status.as_u16(), 200);
    assert_eq!(bad.body["score"], json!(0));
    assert_eq!(bad.body["acceptable"], json!(false));
    assert!(bad.array("reasons").contains(&json!("known_bad")));
    assert!(!bad.array("suggestions").is_empty());
    let good = check(&server, PASSWORD).await;
    assert_eq!(good.body["acceptable"], json!(true));
    assert_eq!(good.body["reasons"], json!([]));
    assert!(good.body["score"].as_u64().unwrap() >= 3, "{}", good.body);
    assert!(good.header("ratelimit-policy").starts_with("\"advice\""));
}

/// I ask the check whether a password is on the operator's own list. It answers too slowly to be worth it.
#[tokio::test]
async fn the_check_is_a_slow_oracle() {
    let dir = tempfile::tempdir().unwrap();
    let server = with_own_list(&dir).await;
    check(&server, "sunshine1").await;
    let mut answered = 0;
    for _ in 0..40 {
        answered += u32::from(check(&server, PASSWORD).await.status.as_u16() == 200);
    }
    assert!(answered < 30, "{answered}");
}
