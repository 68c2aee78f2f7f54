//! A browser that is logged in by a cookie.

use reqwest::Method;
use serde_json::Value;

use super::{Answer, ORIGIN, TestServer, send};

/// What a browser holds after a log-in, and the name it gives itself.
pub struct Browser {
    pub cookie: String,
    pub csrf: String,
    pub agent: &'static str,
}

impl Browser {
    /// Logs `email` in.
    pub async fn log_in(server: &TestServer, email: &str) -> Self {
        Self::of(&server.log_in_for_cookie(email).await)
    }

    /// Takes the cookie and the CSRF token of an answer, from the body of a log-in or from a header.
    pub fn of(answer: &Answer) -> Self {
        let in_body = answer.body["csrf_token"].as_str();
        let csrf = in_body.unwrap_or_else(|| answer.header("x-csrf-token")).to_owned();
        assert!(!csrf.is_empty(), "{answer:?}");
        Self { cookie: answer.session_cookie(), csrf, agent: "test" }
    }

    /// Gives itself another name.
    pub fn named(self, agent: &'static str) -> Self {
        Self { agent, ..self }
    }

    /// Sends a request as a page of the site does; without a body if `body` is `Null`.
    pub async fn ask(&self, server: &TestServer, method: Method, path: &str, body: Value) -> Answer {
        let request = server.request(method, path).header("cookie", &self.cookie).header("origin", ORIGIN);
        let request = request.header("user-agent", self.agent).header("x-csrf-token", &self.csrf);
        send(if body.is_null() { request } else { request.json(&body) }).await
    }
}
