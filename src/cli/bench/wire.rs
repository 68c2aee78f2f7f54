//! HTTP/1.1 on plain sockets, with so little work of its own that it measures the server and not itself.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More of an answer than any of ours has.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Kept connections to one server, used by one thread.
pub(super) struct Pool {
    address: SocketAddr,
    idle: RefCell<Vec<TcpStream>>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    head: String,
    body: Vec<u8>,
}

impl Pool {
    pub(super) const fn new(address: SocketAddr) -> Self {
        Self { address, idle: RefCell::new(Vec::new()) }
    }

    /// Sends a request and reads its answer. A kept connection that the server has closed meanwhile is replaced.
    pub(super) async fn ask(&self, request: &[u8]) -> io::Result<Answer> {
        let kept = self.idle.borrow_mut().pop();
        if let Some(mut stream) = kept
            && let Ok(answer) = exchange(&mut stream, request).await
        {
            self.idle.borrow_mut().push(stream);
            return Ok(answer);
        }
        let mut stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let answer = exchange(&mut stream, request).await?;
        self.idle.borrow_mut().push(stream);
        Ok(answer)
    }
}

async fn exchange(stream: &mut TcpStream, request: &[u8]) -> io::Result<Answer> {
    stream.write_all(request).await?;
    let mut read = Vec::with_capacity(2048);
    loop {
        if stream.read_buf(&mut read).await? == 0 || read.len() > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let (head, body) = read.split_at(end + 4);
        let head = std::str::from_utf8(head).map_err(io::Error::other)?;
        let length =
            header(head, "content-length").map_or(Ok(0), str::parse::<usize>).map_err(io::Error::other)?;
        if body.len() < length {
            continue;
        }
        let status = head.get(9..12).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("no status in an answer"))?;
        return Ok(Answer { status, head: head.to_owned(), body: body.to_vec() });
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let line = |line: &'a str| {
        let (named, value) = line.split_once(':')?;
        named.eq_ignore_ascii_case(name).then_some(value.trim())
    };
    head.lines().find_map(line)
}

impl Answer {
    /// A header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }

    /// A text field of a JSON body.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        body.get(name)?.as_str().map(ToOwned::to_owned)
    }

    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request of `network`, as a proxy would pass it on.
pub(super) fn get(path: &str, network: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\nx-forwarded-for: {network}\r\n{headers}\r\n").into_bytes()
}

/// Likewise, with a JSON body.
pub(super) fn post(path: &str, network: &str, headers: &str, body: &serde_json::Value) -> Vec<u8> {
    let body = body.to_string();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nx-forwarded-for: {network}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}
