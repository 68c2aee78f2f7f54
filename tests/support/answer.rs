//! Answers of the server, read in full.

use reqwest::StatusCode;
use serde_json::{Value, json};

/// An answer: its status, its headers, and its body as JSON (`Null` if it is none) and as bytes.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// Reads `response` to its end. Asserts that every error is a problem document which names its own status.
    pub async fn of(response: reqwest::Response) -> Self {
        let status = response.status();
        let headers = response.headers().clone();
        let bytes = response.bytes().await.unwrap().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Self { status, headers, body, bytes };
        if answer.status.is_client_error() || answer.status.is_server_error() {
            assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
            assert_eq!(answer.body["status"], json!(answer.status.as_u16()));
        }
        answer
    }

    /// Returns the text field `field` of the body.
    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.body)).to_owned()
    }

    /// Returns the array field `field` of the body.
    pub fn array(&self, field: &str) -> &Vec<Value> {
        self.body[field].as_array().unwrap_or_else(|| panic!("no {field} in {}", self.body))
    }

    /// Returns the header `name`, or an empty text if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Returns every `set-cookie` header with its attributes.
    pub fn set_cookies(&self) -> Vec<&str> {
        self.headers.get_all("set-cookie").iter().map(|cookie| cookie.to_str().unwrap()).collect()
    }

    /// Returns `name=value` of the session cookie that the answer sets.
    pub fn session_cookie(&self) -> String {
        let cookies = self.set_cookies();
        let cookie = cookies.iter().find(|cookie| cookie.contains("session="));
        cookie.unwrap_or_else(|| panic!("no session cookie: {self:?}")).split(';').next().unwrap().to_owned()
    }

    /// Returns status and code of a problem; an empty code if the answer is none.
    pub fn problem(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or(""))
    }
}
