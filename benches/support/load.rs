//! A load generator on plain sockets. It does so little work that it does not measure itself.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::values::PASSWORD;

/// A connection that is kept open over requests.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Sends `request` and returns `name=value` of the cookie `name` that the answer sets.
    pub async fn cookie(&mut self, request: &[u8], name: &str) -> String {
        let (status, body) = self.ask(request).await;
        let answer = std::str::from_utf8(&self.buffer).unwrap();
        let set = answer.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        let cookie =
            set.filter_map(|cookie| cookie.split(';').next()).find(|cookie| cookie.starts_with(name));
        cookie.unwrap_or_else(|| panic!("{status} {}", String::from_utf8_lossy(&body))).to_owned()
    }

    /// Sends `request` and returns the status and the body of the answer.
    pub async fn ask(&mut self, request: &[u8]) -> (u16, Vec<u8>) {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        loop {
            let mut part = [0; 8192];
            let read = self.stream.read(&mut part).await.unwrap();
            assert!(read > 0, "the server hung up");
            self.buffer.extend_from_slice(&part[..read]);
            let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&self.buffer[..end]).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.parse().unwrap());
            if self.buffer.len() >= end + 4 + length {
                return (head[9..12].parse().unwrap(), self.buffer[end + 4..].to_vec());
            }
        }
    }
}

/// Returns a POST request with a JSON body.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Returns a text field of a JSON body. The body is not parsed, since the load generator shares the cores with the
/// server.
pub fn field(body: &[u8], name: &str) -> String {
    let body = std::str::from_utf8(body).unwrap();
    let (_, after) =
        body.split_once(&format!("\"{name}\":\"")).unwrap_or_else(|| panic!("no {name} in {body}"));
    after.split_once('"').unwrap().0.to_owned()
}

/// Signs up `name` and returns the connection and the body of the answer.
pub async fn signed_up(address: SocketAddr, name: &str) -> (Connection, Vec<u8>) {
    let mut connection = Connection::open(address).await;
    let body = format!("{{\"email\":\"{name}@b.org\",\"password\":\"{PASSWORD}\"}}");
    let (status, body) = connection.ask(&post("/v1/signup", &body)).await;
    assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
    (connection, body)
}

/// Presents the refresh token of a client, and returns the client with its next one.
pub async fn rotate((mut connection, token): (Connection, String)) -> ((Connection, String), bool) {
    let request = post("/v1/refresh", &format!("{{\"refresh_token\":\"{token}\"}}"));
    let (status, body) = connection.ask(&request).await;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    ((connection, field(&body, "refresh_token")), true)
}

/// The result of a run: requests a second and quantiles of their times.
pub struct Run {
    pub rate: f64,
    pub p50: Duration,
    pub p99: Duration,
}

/// Runs [`run_on`] and drops the states.
pub async fn run<S: Send + 'static, F>(
    states: Vec<S>,
    time: Duration,
    work: impl Fn(S) -> F + Clone + Send + 'static,
) -> Run
where
    F: Future<Output = (S, bool)> + Send + 'static,
{
    run_on(states, time, work).await.0
}

/// Runs a task for each of `states`, which repeats `work` for `time`. `work` makes one request and returns whether it
/// counts. Returns the result and the states as they are in the end.
pub async fn run_on<S: Send + 'static, F>(
    states: Vec<S>,
    time: Duration,
    work: impl Fn(S) -> F + Clone + Send + 'static,
) -> (Run, Vec<S>)
where
    F: Future<Output = (S, bool)> + Send + 'static,
{
    let over = Arc::new(AtomicBool::new(false));
    let count = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    let begin = Instant::now();
    for mut state in states {
        let over = Arc::clone(&over);
        let count = Arc::clone(&count);
        let work = work.clone();
        tasks.spawn(async move {
            let mut times = hdrhistogram::Histogram::<u64>::new(3).unwrap();
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let (next, counts) = work(state).await;
                state = next;
                times.record(asked.elapsed().as_micros() as u64).unwrap();
                count.fetch_add(u64::from(counts), Ordering::Relaxed);
            }
            (times, state)
        });
    }
    tokio::time::sleep(time).await;
    let rate = count.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let mut all = hdrhistogram::Histogram::<u64>::new(3).unwrap();
    let mut states = Vec::new();
    for (times, state) in tasks.join_all().await {
        all.add(times).unwrap();
        states.push(state);
    }
    let at = |quantile| Duration::from_micros(all.value_at_quantile(quantile));
    (Run { rate, p50: at(0.5), p99: at(0.99) }, states)
}
