//! Forging with an old key: I have copied the private signing key from an old backup, or from a disk that was thrown
//! away, and sign tokens with it long after the server has changed its key.
//!
//! Bound: a key is refused `token.access_ttl_secs` and 30 s after its successor began to sign. No token that it signed
//! honestly lives longer. A key that was retired, that is over, or that a restore has ended stays so whatever copies of its
//! file are put back.

use std::path::Path;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::TestServer;

const NAME: &str = "ada@test.org";
const THREE_YEARS: u64 = 3 * 365 * 86_400;
/// `token.publish_ahead_secs`.
const AHEAD: Duration = Duration::from_mins(10);
/// `token.access_ttl_secs`, and the difference between clocks that is allowed.
const OVERLAP: Duration = Duration::from_secs(930);

/// Returns the private key that the server began with, as a copy of its files holds it.
fn stolen_key(server: &TestServer) -> Vec<u8> {
    let path = server.data_dir().join("keys/signing-00000001.key");
    let text = std::fs::read_to_string(path).unwrap();
    // The second line is a checksum.
    Base64::decode_vec(text.lines().next().unwrap()).unwrap()
}

/// Returns the token `honest` with its end in three years, signed by `key`.
fn forge(honest: &str, key: &[u8]) -> String {
    let mut parts = honest.split('.');
    let header = parts.next().unwrap();
    let claims = Base64UrlUnpadded::decode_vec(parts.next().unwrap()).unwrap();
    let mut claims: Value = serde_json::from_slice(&claims).unwrap();
    claims["exp"] = json!(claims["iat"].as_u64().unwrap() + THREE_YEARS);
    let claims = Base64UrlUnpadded::encode_string(claims.to_string().as_bytes());
    let text = format!("{header}.{claims}");
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key).unwrap();
    let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
    format!("{text}.{}", Base64UrlUnpadded::encode_string(signature.as_ref()))
}

async fn status(server: &TestServer, token: &str) -> StatusCode {
    server.get_as("/v1/me", token).await.status
}

/// Waits up to two seconds of real time, in which the server looks after its keys, until it publishes `count` keys.
async fn published(server: &TestServer, count: usize) -> usize {
    let mut found = 0;
    for _ in 0..80 {
        found = server.get("/.well-known/jwks.json").await.array("keys").len();
        if found == count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    found
}

#[tokio::test]
async fn a_key_that_was_rotated_out_forges_nothing_once_its_honest_tokens_are_over() {
    let server = TestServer::start();
    server.account(NAME).await;
    // The session stays alive: its owner refreshes it now and then.
    let (access, refresh) = server.tokens(NAME).await;
    let key = stolen_key(&server);
    let forged = forge(&access, &key);
    server.operated(json!({"operation": "key_rotate"})).await;
    server.clock.advance((AHEAD + OVERLAP).saturating_sub(Duration::from_secs(1)));
    // The last honest tokens of the key are still alive, so it verifies, and the server caches that this token is valid.
    assert_eq!(status(&server, &forged).await, StatusCode::OK);
    server.clock.advance(Duration::from_secs(2));
    assert_eq!(published(&server, 1).await, 1);
    assert_eq!(status(&server, &forged).await, StatusCode::UNAUTHORIZED);
    let fresh = server.refresh(&refresh).await.text("access_token");
    assert_eq!(status(&server, &fresh).await, StatusCode::OK);
    // A forged token that is not in the cache is refused, too.
    assert_eq!(status(&server, &forge(&access, &key)).await, StatusCode::UNAUTHORIZED);
    // The file goes too, so that no later copy of the directory holds the key.
    let file = server.data_dir().join("keys/signing-00000001.key");
    for _ in 0..200 {
        if !file.exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the old key is still in its file");
}

#[tokio::test]
async fn the_running_server_changes_a_key_that_is_old_enough() {
    let server = TestServer::with(&[("token.key_days", "30")]);
    server.account(NAME).await;
    let first = stolen_key(&server);
    assert_eq!(published(&server, 1).await, 1);
    let (access, _) = server.tokens(NAME).await;
    server.clock.advance(Duration::from_hours(24 * 30) - Duration::from_mins(1));
    assert_eq!(server.get("/.well-known/jwks.json").await.array("keys").len(), 1);
    server.clock.advance(Duration::from_mins(2));
    // Published before it signs, as a rotation by hand.
    assert_eq!(published(&server, 2).await, 2);
    server.clock.advance(AHEAD + OVERLAP + Duration::from_secs(1));
    assert_eq!(published(&server, 1).await, 1);
    assert_eq!(status(&server, &forge(&access, &first)).await, StatusCode::UNAUTHORIZED);
    let (honest, _) = server.tokens(NAME).await;
    assert_eq!(status(&server, &honest).await, StatusCode::OK);
}

/// Copies the files of signing keys from `from` to `to`.
fn copy_signing_keys(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        if name.to_string_lossy().starts_with("signing-") {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

/// The kind: a key that was ended comes back with an old copy of its file. Its operators retired it since I have it; later
/// they put a copy of the directory of keys back.
#[tokio::test]
async fn a_retired_key_does_not_come_back_with_a_copy_of_its_file() {
    for is_long_ago in [false, true] {
        let server = TestServer::start();
        server.account(NAME).await;
        let (access, _) = server.tokens(NAME).await;
        let forged = forge(&access, &stolen_key(&server));
        let copy = tempfile::tempdir().unwrap();
        copy_signing_keys(&server.data_dir().join("keys"), copy.path());
        let jwks = server.get("/.well-known/jwks.json").await;
        let kid = jwks.array("keys")[0]["kid"].as_str().unwrap().to_owned();
        server.operated(json!({"operation": "key_retire", "kid": kid})).await;
        assert_eq!(status(&server, &forged).await, StatusCode::UNAUTHORIZED);
        if is_long_ago {
            // The record that it was retired is removed by the next start.
            server.clock.advance(Duration::from_hours(24 * 30));
        }
        let put_back = |data: &Path| copy_signing_keys(copy.path(), &data.join("keys"));
        let server = server.restart_after(put_back).restart_after(put_back);
        assert_eq!(status(&server, &forged).await, StatusCode::UNAUTHORIZED, "{is_long_ago}");
        let jwks = server.get("/.well-known/jwks.json").await;
        let kids: Vec<_> = jwks.array("keys").iter().map(|key| key["kid"].clone()).collect();
        assert!(!kids.is_empty() && kids.iter().all(|found| *found != kid.as_str()), "{kids:?}");
        let (honest, _) = server.tokens(NAME).await;
        assert_eq!(status(&server, &honest).await, StatusCode::OK);
        assert!(server.data_dir().join("keys/signing-00000001.key.set-aside").exists());
    }
}

/// Nor does a key come back that ended by its age.
#[tokio::test]
async fn a_key_that_is_over_does_not_come_back_with_a_copy_of_its_file() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    let forged = forge(&access, &stolen_key(&server));
    let copy = tempfile::tempdir().unwrap();
    copy_signing_keys(&server.data_dir().join("keys"), copy.path());
    server.operated(json!({"operation": "key_rotate"})).await;
    server.clock.advance(AHEAD + OVERLAP + Duration::from_secs(2));
    assert_eq!(published(&server, 1).await, 1);
    let server = server.restart_after(|data| copy_signing_keys(copy.path(), &data.join("keys")));
    assert_eq!(published(&server, 1).await, 1);
    assert_eq!(status(&server, &forged).await, StatusCode::UNAUTHORIZED);
}
