//! Answers as clients get them, directly or through a proxy.

use serde_json::Value;

use super::support::raw::exchange;

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// Names in lower case, with their values.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    /// Reads an answer from its head and its body.
    pub fn of(head: &str, body: &[u8]) -> Self {
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let status =
            status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {head:?}"));
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        Self { status, headers: headers.collect(), body: body.to_vec() }
    }

    /// Returns all values of the header `name`.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect()
    }

    /// Returns the header `name`, or an empty text. Asserts that it is there once at most.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} came {} times: {all:?}", all.len());
        all.first().copied().unwrap_or_default()
    }

    /// Returns the body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}: no JSON: {text}", self.status))
    }

    /// Returns the text field `field` of the body.
    #[track_caller]
    pub fn text(&self, field: &str) -> String {
        let json = self.json();
        json[field].as_str().unwrap_or_else(|| panic!("no {field} in {json}")).to_owned()
    }

    /// Asserts the status.
    #[track_caller]
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, String::from_utf8_lossy(&self.body));
        self
    }

    /// Asserts that the answer is a refusal of this server: its status and its `code`.
    #[track_caller]
    pub fn refuses(self, status: u16, code: &str) -> Self {
        let reply = self.is(status);
        assert_eq!(reply.header("content-type"), "application/problem+json", "{reply:?}");
        assert_eq!(reply.text("code"), code);
        reply
    }
}

/// Asks the server at `url` directly, on a connection of its own. Without a body if `body` is `Null`.
pub fn ask(url: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: login.test\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = if body.is_null() { String::new() } else { body.to_string() };
    if !body.is_empty() {
        head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
    }
    let answer = exchange(url, format!("{head}\r\n{body}").as_bytes());
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    Reply::of(head, body.as_bytes())
}
