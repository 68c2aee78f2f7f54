//! A server in this process, started through the same `server::build` as the binary, and a client that speaks to it.

use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use portcullis::config::{Config, Reader};
use portcullis::engine::Engine;
use portcullis::mail::outgoing::Outgoing;
use portcullis::mail::transport::Transport;
use portcullis::server;
use portcullis::system::clock::{Clock, Timestamp};
use portcullis::system::fail_stop::FailStop;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::links::{BoundLink, token_in};
use super::{Answer, PASSWORD, conformance};

/// The origin at which the test servers say they are reached.
pub const ORIGIN: &str = "http://login.test";
/// The time at which the manual clocks of the tests begin.
pub const START: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A server with a directory and a manual clock of its own, whose mails stay in memory. It stops when it is dropped.
pub struct TestServer {
    pub url: String,
    pub clock: Clock,
    pub mails: Arc<Mutex<Vec<Outgoing>>>,
    pub http: reqwest::Client,
    /// The engine, for tests that read its figures.
    pub engine: Weak<Engine>,
    dir: Option<tempfile::TempDir>,
    settings: Vec<(String, String)>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starting and stopping.
impl TestServer {
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// Starts a server with `settings` on top of those of [`TestServer::start`].
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self::over(tempfile::tempdir().unwrap(), settings, Clock::manual(START), None)
    }

    /// Starts a server behind a proxy, which reports the address of each client in `x-forwarded-for`.
    pub fn behind_proxy() -> Self {
        Self::behind_proxy_with(&[])
    }

    /// Starts a server like [`TestServer::behind_proxy`], with `settings` on top.
    pub fn behind_proxy_with(settings: &[(&str, &str)]) -> Self {
        Self::with(&[&[("http.trusted_proxies", "127.0.0.0/8")], settings].concat())
    }

    /// Starts a server whose mails leave by `transport`.
    pub fn mailing(transport: Transport) -> Self {
        Self::over(tempfile::tempdir().unwrap(), Vec::new(), Clock::manual(START), Some(transport))
    }

    fn over(
        dir: tempfile::TempDir,
        settings: Vec<(String, String)>,
        clock: Clock,
        transport: Option<Transport>,
    ) -> Self {
        let config = config(dir.path(), &settings);
        let mails = Arc::new(Mutex::new(Vec::new()));
        let transport = transport.unwrap_or_else(|| Transport::Memory(Arc::clone(&mails)));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let server_clock = clock.clone();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let fail_stop = FailStop::new(|why| eprintln!("engine ended: {why}"));
                let server = server::build(config, server_clock, true, Some(transport), &fail_stop).unwrap();
                ready.send((server.address, Arc::downgrade(&server.engine))).unwrap();
                let _ = stopped.await;
                server.stop().await;
            });
        });
        let (address, engine) = is_ready.recv_timeout(Duration::from_secs(30)).unwrap();
        let http = reqwest::Client::builder().user_agent("test").build().unwrap();
        let url = format!("http://{address}");
        Self {
            url,
            clock,
            mails,
            http,
            engine,
            dir: Some(dir),
            settings,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Stops in order and starts again over the same directory.
    pub fn restart(self) -> Self {
        self.restart_after(|_| ())
    }

    /// Stops in order and starts again over the same directory, with `settings` on top.
    pub fn restart_with(mut self, settings: &[(&str, &str)]) -> Self {
        self.settings.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        self.restart()
    }

    /// Stops in order, lets `meanwhile` change the directory, and starts again over it.
    pub fn restart_after(mut self, meanwhile: impl FnOnce(&Path)) -> Self {
        self.end();
        meanwhile(self.data_dir());
        let dir = self.dir.take().unwrap();
        let settings = std::mem::take(&mut self.settings);
        Self::over(dir, settings, self.clock.clone(), None)
    }

    pub fn data_dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Returns a configuration with cheap passwords and generous rate limits, over which `settings` win.
fn config(dir: &Path, settings: &[(String, String)]) -> Config {
    let mut reader = Reader::new();
    let data_dir = dir.to_string_lossy().into_owned();
    let cheap = [
        ("data_dir", data_dir.as_str()),
        ("http.listen", "127.0.0.1:0"),
        ("http.public_origin", ORIGIN),
        ("password.memory_kib", "64"),
        ("password.passes", "1"),
        ("password.threads", "2"),
        // A test that moves the clock while a hash is measured makes the hash seem that slow.
        ("password.wait_budget_ms", "600000"),
        ("throttle.cells", "10000"),
        ("reset.mails_per_network", "100000"),
        ("journal.segment_bytes", "4194304"),
        ("mail.console", "false"),
    ];
    for (key, value) in cheap {
        reader.plain(key, value, "test");
    }
    for class in [
        "login", "signup", "refresh", "forgot", "reset", "verify", "unlock", "check", "rejected", "change",
        "advice",
    ] {
        reader.plain(&format!("throttle.{class}.burst"), "100000", "test");
        reader.plain(&format!("throttle.{class}.per_minute"), "100000", "test");
    }
    for (key, value) in settings {
        // What no single key says, such as a section that is there several times.
        if key == "toml" {
            reader.file("test", value);
        } else {
            reader.plain(key, value, "test");
        }
    }
    Config::from_reader(reader).unwrap()
}

/// Requests.
impl TestServer {
    /// Begins a request, to which a test adds what it needs.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn get_as(&self, path: &str, access: &str) -> Answer {
        send(self.request(Method::GET, path).bearer_auth(access)).await
    }

    pub async fn get_with_cookie(&self, path: &str, cookie: &str) -> Answer {
        send(self.request(Method::GET, path).header("cookie", cookie)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn post_as(&self, path: &str, access: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).bearer_auth(access).json(&body)).await
    }

    pub async fn patch_as(&self, path: &str, access: &str, body: Value) -> Answer {
        send(self.request(Method::PATCH, path).bearer_auth(access).json(&body)).await
    }

    pub async fn delete_as(&self, path: &str, access: &str, body: Value) -> Answer {
        let request = self.request(Method::DELETE, path).bearer_auth(access);
        send(if body.is_null() { request } else { request.json(&body) }).await
    }

    /// Sends a request and closes the connection `after` a time at which the answer cannot have arrived.
    pub async fn post_and_hang_up(&self, path: &str, access: &str, body: Value, after: Duration) {
        self.post_and_leave(path, access, body, after).await;
    }

    /// Does the same, and resets the connection instead of closing it.
    pub async fn post_and_reset(&self, path: &str, access: &str, body: Value, after: Duration) {
        self.post_and_leave(path, access, body, after).await.set_zero_linger().unwrap();
    }

    async fn post_and_leave(
        &self,
        path: &str,
        access: &str,
        body: Value,
        after: Duration,
    ) -> tokio::net::TcpStream {
        use tokio::io::AsyncWriteExt;
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: login.test\r\nuser-agent: test\r\nauthorization: Bearer {access}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        tokio::time::sleep(after).await;
        stream
    }

    /// Sends `operation` to the operator's socket, as the command line does, and returns the answer.
    pub async fn operate(&self, operation: Value) -> Value {
        use std::io::{BufRead, BufReader, Write};
        let socket = self.data_dir().join("admin.sock");
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            writeln!(stream, "{operation}").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            serde_json::from_str::<Value>(&line).unwrap()
        });
        answer.await.unwrap()
    }

    /// Sends `operation` like [`TestServer::operate`], asserts that it succeeds, and returns its result.
    pub async fn operated(&self, operation: Value) -> Value {
        let mut answer = self.operate(operation).await;
        assert!(answer.get("ok").is_some(), "{answer}");
        answer["ok"].take()
    }

    /// Returns the figure `name` of the metrics, without its prefix and with its labels, if there is one.
    pub async fn figure(&self, access: &str, name: &str) -> Option<u64> {
        let metrics = String::from_utf8(self.get_as("/metrics", access).await.bytes).unwrap();
        let mark = format!("portcullis_{name} ");
        Some(metrics.lines().find_map(|line| line.strip_prefix(&mark))?.parse().unwrap())
    }
}

/// Sends `request` and reads the answer.
///
/// Panics: if the OpenAPI document does not foresee the answer.
pub async fn send(request: RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.unwrap();
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let answer = Answer::of(client.execute(request).await.unwrap()).await;
    conformance::check(&method, &path, &answer);
    answer
}

/// Steps of stories.
impl TestServer {
    /// Says whether the events of all that was answered so far can be read.
    pub fn has_told_everything(&self) -> bool {
        let engine = self.engine.upgrade().unwrap();
        engine.event_stats().covered >= engine.journal_stats().assigned
    }

    /// Signs up `email` with [`PASSWORD`] and confirms the address.
    pub async fn account(&self, email: &str) {
        let half = self.sign_up(email, PASSWORD).await;
        let link = self.mailed(email, "Confirm").await;
        assert_eq!(self.confirm(&link, &half).await.status, StatusCode::NO_CONTENT);
    }

    /// Signs up and returns the half of the sign-up that its client keeps.
    pub async fn sign_up(&self, email: &str, password: &str) -> String {
        let signed_up = self.post("/v1/signup", json!({"email": email, "password": password})).await;
        assert_eq!(signed_up.status, StatusCode::ACCEPTED);
        assert_eq!(signed_up.body["status"], json!("verification_sent"));
        signed_up.text("signup_token")
    }

    /// Confirms a sign-up by both its halves.
    pub async fn confirm(&self, link: &str, half: &str) -> Answer {
        self.post("/v1/email/verify", json!({"token": link, "signup_token": half})).await
    }

    /// Makes an account with `roles` by the operator's socket and returns an access token of it.
    pub async fn operator_account(&self, email: &str, roles: &[&str]) -> String {
        let add = json!({"operation": "user_add", "email": email, "password": PASSWORD, "roles": roles});
        let added = self.operate(add).await;
        assert_eq!(added["ok"]["roles"], json!(roles), "{added}");
        if roles.contains(&"admin") { self.admin_token(email).await } else { self.tokens(email).await.0 }
    }

    /// Logs `email` in with [`PASSWORD`] and returns an access token for the administrators' endpoints.
    pub async fn admin_token(&self, email: &str) -> String {
        let body = json!({"email": email, "password": PASSWORD, "audience": "admin"});
        self.post("/v1/login", body).await.text("access_token")
    }

    /// Makes an API key and returns its text and its id.
    pub async fn api_key(&self, scopes: &[&str], expires_at: Option<&str>) -> (String, String) {
        let create = json!({
            "operation": "api_key_create", "name": "service", "scopes": scopes, "expires_at": expires_at
        });
        let made = self.operated(create).await;
        let text = |field: &str| made[field].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
        (text("key"), text("id"))
    }

    pub async fn log_in(&self, email: &str, password: &str) -> Answer {
        self.post("/v1/login", json!({"email": email, "password": password})).await
    }

    /// Logs in with the device token `device`.
    pub async fn log_in_on(&self, email: &str, password: &str, device: &str) -> Answer {
        let request = self.request(Method::POST, "/v1/login").header("x-device-token", device);
        send(request.json(&json!({"email": email, "password": password}))).await
    }

    /// Logs in from the address `from`, as a trusted proxy reports it, with the device token `device` if there is one.
    pub async fn log_in_from(&self, from: &str, email: &str, password: &str, device: Option<&str>) -> Answer {
        let mut request = self.request(Method::POST, "/v1/login").header("x-forwarded-for", from);
        if let Some(device) = device {
            request = request.header("x-device-token", device);
        }
        send(request.json(&json!({"email": email, "password": password}))).await
    }

    /// Logs `email` in with [`PASSWORD`] as a browser does, for a session cookie.
    pub async fn log_in_for_cookie(&self, email: &str) -> Answer {
        let body = json!({"email": email, "password": PASSWORD, "mode": "cookie"});
        send(self.request(Method::POST, "/v1/login").header("origin", ORIGIN).json(&body)).await
    }

    /// Logs `email` in with [`PASSWORD`] and returns the access and the refresh token.
    pub async fn tokens(&self, email: &str) -> (String, String) {
        let answer = self.log_in(email, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        (answer.text("access_token"), answer.text("refresh_token"))
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/v1/refresh", json!({"refresh_token": token})).await
    }

    pub async fn forgot(&self, email: &str) -> Answer {
        self.post("/v1/password/forgot", json!({"email": email})).await
    }

    /// Sets the password `new` with the mailed `token`.
    pub async fn reset(&self, token: &str, new: &str) -> Answer {
        self.post("/v1/password/reset", json!({"token": token, "new_password": new})).await
    }

    /// Proves an address with the mailed `token` alone.
    pub async fn verify(&self, token: &str) -> Answer {
        self.post("/v1/email/verify", json!({"token": token})).await
    }

    /// Changes the password of the account of `access`.
    pub async fn change_password(&self, access: &str, current: &str, new: &str) -> Answer {
        let body = json!({"current_password": current, "new_password": new});
        self.post_as("/v1/password/change", access, body).await
    }

    /// Asks to change the address of the account of `access` to `email`, with [`PASSWORD`].
    pub async fn change_email(&self, access: &str, email: &str) -> Answer {
        self.post_as("/v1/email/change", access, json!({"email": email, "password": PASSWORD})).await
    }

    /// Waits for a mail to `to` with `subject` in its subject line and returns the newest one.
    pub async fn mail(&self, to: &str, subject: &str) -> Outgoing {
        for _ in 0..200 {
            let newest = self
                .mails
                .lock()
                .iter()
                .rev()
                .find(|m| m.to == to && m.letter.subject.contains(subject))
                .cloned();
            if let Some(mail) = newest {
                return mail;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("no mail with {subject:?} to {to}");
    }

    /// Waits like [`TestServer::mail`] and returns the token of the link of the mail.
    pub async fn mailed(&self, to: &str, subject: &str) -> String {
        token_in(&self.mail(to, subject).await.letter.link.unwrap())
    }

    /// Waits like [`TestServer::mail`] for a link that is bound to an address.
    pub async fn mailed_link(&self, to: &str, subject: &str) -> BoundLink {
        let link = self.mail(to, subject).await.letter.link.unwrap();
        let (_, email) = link.split_once("&email=").unwrap();
        (token_in(&link), email.to_owned())
    }

    /// Posts `link` to `path`, with `password` if there is one.
    pub async fn follow(&self, path: &str, link: &BoundLink, password: Option<&str>) -> Answer {
        let mut body = json!({"token": link.0, "email": link.1});
        if let Some(password) = password {
            body["password"] = json!(password);
        }
        self.post(path, body).await
    }

    /// Posts `link` to `path` with the session of `access`.
    pub async fn follow_as(&self, access: &str, path: &str, link: &BoundLink) -> Answer {
        self.post_as(path, access, json!({"token": link.0, "email": link.1})).await
    }

    /// Counts the mails that have left with `subject` in their subject line.
    pub fn mail_count(&self, subject: &str) -> usize {
        self.mails.lock().iter().filter(|mail| mail.letter.subject.contains(subject)).count()
    }
}
