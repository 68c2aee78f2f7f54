//! HTTP/1.1 on plain sockets. It does so little work that the bench measures the server and not itself.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Upper bound of an answer, above the longest of the server.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Idle connections to one server, for one thread.
pub(super) struct Pool {
    address: SocketAddr,
    idle: RefCell<Vec<TcpStream>>,
}

/// An answer of the server.
pub(super) struct Answer {
    pub(super) status: u16,
    text: Vec<u8>,
    /// Offset of the body.
    body: usize,
}

impl Pool {
    pub(super) const fn new(address: SocketAddr) -> Self {
        Self { address, idle: RefCell::new(Vec::new()) }
    }

    /// Sends a request and reads its answer. If the server has closed the idle connection meanwhile, opens a new one.
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
    let mut text = Vec::with_capacity(2048);
    loop {
        if stream.read_buf(&mut text).await? == 0 || text.len() > ANSWER_BYTES_MAX {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The head may arrive in parts: read on until its end is there.
        let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let answer = Answer { status: 0, body: end + 4, text };
        let length =
            answer.header("content-length").map_or(Ok(0), str::parse::<usize>).map_err(io::Error::other)?;
        if answer.body().len() < length {
            text = answer.text;
            continue;
        }
        let status = answer.text.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let status = status.ok_or_else(|| io::Error::other("no status in an answer"))?;
        return Ok(Answer { status, ..answer });
    }
}

impl Answer {
    fn body(&self) -> &[u8] {
        self.text.get(self.body..).unwrap_or_default()
    }

    /// Returns the value of the header `name`.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.text.get(..self.body)?.split(|byte| *byte == b'\n');
        let mut named = lines.filter_map(|line| {
            let (start, rest) = line.split_at_checked(name.len())?;
            start.eq_ignore_ascii_case(name.as_bytes()).then(|| rest.strip_prefix(b":"))?
        });
        std::str::from_utf8(named.next()?).ok().map(str::trim)
    }

    /// Returns the text field `name` of a JSON body.
    pub(super) fn field(&self, name: &str) -> Option<String> {
        let body: serde_json::Value = serde_json::from_slice(self.body()).ok()?;
        body.get(name)?.as_str().map(ToOwned::to_owned)
    }

    /// Returns the body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.body()).into_owned()
    }
}

/// Returns a GET request from the address `network`, as a proxy would forward it.
pub(super) fn get(path: &str, network: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: bench\r\nx-forwarded-for: {network}\r\n{headers}\r\n").into_bytes()
}

/// Returns a POST request with a JSON body from the address `network`, as a proxy would forward it.
pub(super) fn post(path: &str, network: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: bench\r\nx-forwarded-for: {network}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}
