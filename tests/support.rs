//! A server for a test, started through the same `server::build` as the binary, and a client that speaks to it.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use portcullis::config::{Config, Reader};
use portcullis::mail::outgoing::Outgoing;
use portcullis::mail::transport::Transport;
use portcullis::server;
use portcullis::system::clock::{Clock, Timestamp};
use portcullis::system::fail_stop::FailStop;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

pub const PASSWORD: &str = "correct horse battery staple";
pub const ORIGIN: &str = "http://login.test";

pub struct TestServer {
    pub url: String,
    pub clock: Clock,
    pub mails: Arc<Mutex<Vec<Outgoing>>>,
    pub http: reqwest::Client,
    dir: Option<tempfile::TempDir>,
    settings: Vec<(String, String)>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Self::over(
            tempfile::tempdir().unwrap(),
            settings,
            Clock::manual(Timestamp::from_secs(1_800_000_000)),
            None,
        )
    }

    /// Whose mails leave otherwise than into memory.
    pub fn mailing(transport: Transport) -> Self {
        let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
        Self::over(tempfile::tempdir().unwrap(), Vec::new(), clock, Some(transport))
    }

    fn over(
        dir: tempfile::TempDir,
        settings: Vec<(String, String)>,
        clock: Clock,
        transport: Option<Transport>,
    ) -> Self {
        let mut reader = Reader::new();
        let data_dir = dir.path().to_string_lossy().into_owned();
        let cheap = [
            ("data_dir", data_dir.as_str()),
            ("http.listen", "127.0.0.1:0"),
            ("http.public_origin", ORIGIN),
            ("password.memory_kib", "64"),
            ("password.passes", "1"),
            ("password.threads", "2"),
            // A clock that is moved while a hash is measured makes it seem as slow.
            ("password.wait_budget_ms", "600000"),
            ("throttle.cells", "10000"),
            ("journal.segment_bytes", "4194304"),
            ("mail.console", "false"),
        ];
        for (key, value) in cheap {
            reader.plain(key, value, "test");
        }
        for class in ["login", "signup", "refresh", "forgot", "reset", "verify", "unlock", "check"] {
            reader.plain(&format!("throttle.{class}.burst"), "100000", "test");
            reader.plain(&format!("throttle.{class}.per_minute"), "100000", "test");
        }
        for (key, value) in &settings {
            reader.plain(key, value, "test");
        }
        let config = Config::from_reader(reader).unwrap();
        let mails = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let transport = transport.unwrap_or_else(|| Transport::Memory(Arc::clone(&mails)));
        let its_clock = clock.clone();
        let thread = std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let fail_stop = FailStop::new(|why| eprintln!("engine ended: {why}"));
                let server = server::build(config, its_clock, true, Some(transport), &fail_stop).unwrap();
                ready.send(server.address).unwrap();
                let _ = stopped.await;
                server.stop().await;
            });
        });
        let address = is_ready.recv_timeout(Duration::from_secs(30)).unwrap();
        let http = reqwest::Client::builder().user_agent("test").build().unwrap();
        let url = format!("http://{address}");
        Self { url, clock, mails, http, dir: Some(dir), settings, stop: Some(stop), thread: Some(thread) }
    }

    /// Stops in order and starts again over the same directory.
    pub fn restart(self) -> Self {
        self.restart_after(|_| ())
    }

    /// Likewise, with something done to the directory between.
    pub fn restart_after(mut self, meanwhile: impl FnOnce(&std::path::Path)) -> Self {
        self.end();
        meanwhile(self.data_dir());
        let (dir, settings) = (self.dir.take().unwrap(), std::mem::take(&mut self.settings));
        Self::over(dir, settings, self.clock.clone(), None)
    }

    pub fn data_dir(&self) -> &std::path::Path {
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

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(&body).send().await.unwrap()).await
    }

    pub async fn get_as(&self, path: &str, access: &str) -> Answer {
        Answer::of(self.request(Method::GET, path).bearer_auth(access).send().await.unwrap()).await
    }

    pub async fn post_as(&self, path: &str, access: &str, body: Value) -> Answer {
        Answer::of(self.request(Method::POST, path).bearer_auth(access).json(&body).send().await.unwrap())
            .await
    }

    /// The token of the newest mail to `to` with that word in its subject; waits for it to be sent.
    pub async fn mailed(&self, to: &str, subject: &str) -> String {
        let link = self.mail(to, subject).await.letter.link.unwrap();
        link.split("#token=").nth(1).unwrap().to_owned()
    }

    pub async fn mail(&self, to: &str, subject: &str) -> Outgoing {
        for _ in 0..200 {
            let found = self
                .mails
                .lock()
                .iter()
                .rev()
                .find(|m| m.to == to && m.letter.subject.contains(subject))
                .cloned();
            if let Some(mail) = found {
                return mail;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("no mail with {subject:?} to {to}");
    }

    /// Signs up and confirms.
    pub async fn account(&self, email: &str) {
        let signed_up = self.post("/v1/signup", json!({"email": email, "password": PASSWORD})).await;
        assert_eq!(
            (signed_up.status, &signed_up.body["status"]),
            (StatusCode::ACCEPTED, &json!("verification_sent"))
        );
        let token = self.mailed(email, "Confirm").await;
        assert_eq!(
            self.post("/v1/email/verify", json!({"token": token})).await.status,
            StatusCode::NO_CONTENT
        );
    }

    pub async fn log_in(&self, email: &str, password: &str) -> Answer {
        self.post("/v1/login", json!({"email": email, "password": password})).await
    }

    pub async fn tokens(&self, email: &str) -> (String, String) {
        let answer = self.log_in(email, PASSWORD).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        (answer.text("access_token"), answer.text("refresh_token"))
    }

    /// Sends a request and hangs up before its answer can have come.
    pub async fn post_and_hang_up(&self, path: &str, access: &str, body: Value, after: Duration) {
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
    }

    /// What the operator does from the command line.
    pub async fn operate(&self, operation: Value) -> Value {
        use std::io::{BufRead, BufReader, Write};
        let socket = self.data_dir().join("admin.sock");
        let asked = tokio::task::spawn_blocking(move || {
            let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
            writeln!(stream, "{operation}").unwrap();
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            serde_json::from_str::<Value>(&line).unwrap()
        });
        asked.await.unwrap()
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        self.post("/v1/refresh", json!({"refresh_token": token})).await
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.end();
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.unwrap().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let answer = Self { status, headers, body, bytes };
        if answer.status.is_client_error() || answer.status.is_server_error() {
            assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
            assert_eq!(answer.body["status"], json!(answer.status.as_u16()));
        }
        answer
    }

    pub fn text(&self, field: &str) -> String {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.body)).to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Status and code of a problem.
    pub fn problem(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or(""))
    }
}
