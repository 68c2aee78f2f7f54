//! Attacks with credentials that are valid, were valid, or are valid for something else.

mod confusion;
mod flood;
mod grace;
mod matrix;
mod rights;
mod step_up;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";
const NEXT: &str = "an entirely different phrase";
const ROOT: &str = "root@test.org";

/// What a browser holds after a log-in.
struct Browser {
    cookie: String,
    csrf: String,
}

impl Browser {
    async fn log_in(server: &TestServer, email: &str) -> Self {
        let opened = server.log_in_for_cookie(email).await;
        Self { cookie: opened.session_cookie(), csrf: opened.text("csrf_token") }
    }

    async fn ask(&self, server: &TestServer, method: Method, path: &str, body: Value) -> Answer {
        let request = server.request(method, path).header("cookie", &self.cookie).header("origin", ORIGIN);
        let request = request.header("x-csrf-token", &self.csrf);
        send(if body.is_null() { request } else { request.json(&body) }).await
    }
}

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
