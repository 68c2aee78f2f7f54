//! Attacks with credentials that are valid, were valid, or are valid for something else.

mod confusion;
mod flood;
mod grace;
mod links;
mod matrix;
mod rights;
mod step_up;

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Answer, PASSWORD, TestServer};

const NAME: &str = "ada@test.org";
const NEXT: &str = "an entirely different phrase";
const ROOT: &str = "root@test.org";

/// Returns the path under which administrators find the account of `access`.
async fn path_of(server: &TestServer, access: &str) -> String {
    format!("/v1/admin/users/{}", server.get_as("/v1/me", access).await.text("id"))
}

async fn is_alive(server: &TestServer, access: &str) -> bool {
    server.get_as("/v1/me", access).await.status == StatusCode::OK
}

/// Asks for the password of the session of `access` again.
async fn reauthenticate(server: &TestServer, access: &str) -> Answer {
    server.post_as("/v1/reauthenticate", access, json!({"password": PASSWORD})).await
}
