//! Guessing what everybody uses: a new password is one of those that are tried first.
//!
//! Bound: none of the half million most common is taken, at sign-up or by any other way to set one.

use serde_json::json;

use crate::support::{PASSWORD, TestServer};

#[tokio::test]
async fn a_known_password_is_taken_by_no_path_and_the_form_is_told_why() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("own.txt");
    std::fs::write(&list, "Acme Corporation Rocks\n").unwrap();
    let server = TestServer::with(&[
        ("password.list_file", list.to_str().unwrap()),
        ("throttle.check.burst", "30"),
        ("throttle.check.per_minute", "1"),
    ]);
    server.account("ada@test.org").await;
    let (access, _) = server.tokens("ada@test.org").await;
    for known in
        ["acme corporation rocks", "1234567890123456", "qwertyuiopasdfghjkl", "Acme Corporation Rocks"]
    {
        let signup = server.post("/v1/signup", json!({"email": "eve@test.org", "password": known})).await;
        assert_eq!(signup.problem(), (422, "weak_password"), "{known}");
        let change = json!({"current_password": PASSWORD, "new_password": known});
        assert_eq!(server.post_as("/v1/password/change", &access, change).await.problem().0, 422);
    }
    server.post("/v1/password/forgot", json!({"email": "ada@test.org"})).await;
    let token = server.mailed("ada@test.org", "new password").await;
    let reset = json!({"token": token, "new_password": "acme corporation rocks"});
    assert_eq!(server.post("/v1/password/reset", reset).await.body["reasons"], json!(["known_bad"]));

    let check = |password: &'static str| {
        server.post("/v1/password/check", json!({"password": password, "email": "ada@test.org"}))
    };
    let bad = check("sunshine1").await;
    assert_eq!(
        (bad.status.as_u16(), &bad.body["score"], &bad.body["acceptable"]),
        (200, &json!(0), &json!(false))
    );
    assert!(bad.body["reasons"].as_array().unwrap().contains(&json!("known_bad")));
    assert!(!bad.body["suggestions"].as_array().unwrap().is_empty());
    let good = check(PASSWORD).await;
    assert_eq!((&good.body["acceptable"], &good.body["reasons"]), (&json!(true), &json!([])));
    assert!(
        good.body["score"].as_u64().unwrap() >= 3 && good.header("ratelimit-policy").starts_with("\"check\"")
    );
    // As an oracle it is slow.
    let mut answered = 0;
    for _ in 0..40 {
        answered += u32::from(check(PASSWORD).await.status.as_u16() == 200);
    }
    assert!(answered < 30, "{answered}");
}
