//! A connection to a mail server, whose words are counted before they are kept.
//!
//! **The attack:** a mail server, or who sits on the way to it before STARTTLS, sends a line that never ends. The SMTP
//! client keeps a line until it ends, and looks at its length only then: the memory of the process is gone in seconds.
//!
//! **The rule:** between two things that we send, a mail server sends [`REPLY_BYTES_MAX`], and [`CONNECTION_BYTES_MAX`] in
//! all. The bytes of the socket are counted, so that a handshake of TLS and what is encrypted are bounded alike: nothing is
//! decompressed. Lines that end are bounded by the SMTP client, at 1,000 bytes.
//!
//! Source: RFC 5321 §4.5.3.1.5: a line of a reply has 512 bytes at most.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use lettre::transport::smtp::client::{AsyncTokioStream, TlsParameters};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The most bytes that a mail server may send before we send something again.
pub const REPLY_BYTES_MAX: usize = 64 * 1024;
/// The most bytes that it may send on one connection. A server can make TLS answer by itself, so that the count of a reply
/// begins anew; this one never does.
pub const CONNECTION_BYTES_MAX: usize = 512 * 1024;

/// Connects to the first address of `host` that answers, each within `at_most`.
pub(super) async fn connect(host: &str, port: u16, at_most: Duration) -> io::Result<Counted> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        match timeout(at_most, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(Counted { stream, address, of_reply: 0, in_all: 0 }),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

/// A connection whose incoming bytes are counted.
#[derive(Debug)]
pub(super) struct Counted {
    stream: TcpStream,
    address: SocketAddr,
    /// Bytes received since we sent something.
    of_reply: usize,
    /// Bytes received since the connection was opened.
    in_all: usize,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.of_reply > REPLY_BYTES_MAX || self.in_all > CONNECTION_BYTES_MAX {
            return Poll::Ready(Err(io::Error::other("the mail server's reply does not end")));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        let received = buffer.filled().len() - before;
        self.of_reply += received;
        self.in_all += received;
        Poll::Ready(read)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.of_reply = 0;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Counted {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// A connection under TLS from its first byte. The SMTP client builds such a one only together with the socket below, which
/// would not be counted.
#[derive(Debug)]
#[expect(deprecated, reason = "no other type of lettre does TLS on a stream of ours")]
pub(super) struct Encrypted(lettre::transport::smtp::client::AsyncNetworkStream);

impl Encrypted {
    /// Does the handshake on `stream`.
    #[expect(deprecated, reason = "no other type of lettre does TLS on a stream of ours")]
    pub(super) async fn over(
        stream: Counted,
        parameters: TlsParameters,
    ) -> Result<Self, lettre::transport::smtp::Error> {
        let mut stream =
            lettre::transport::smtp::client::AsyncNetworkStream::use_existing_tokio1(Box::new(stream));
        stream.upgrade_tls(parameters).await?;
        Ok(Self(stream))
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read =
            futures_io::AsyncRead::poll_read(Pin::new(&mut self.0), context, buffer.initialize_unfilled());
        buffer.advance(ready!(read)?);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        futures_io::AsyncWrite::poll_write(Pin::new(&mut self.0), context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_flush(Pin::new(&mut self.0), context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_close(Pin::new(&mut self.0), context)
    }
}

impl AsyncTokioStream for Encrypted {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.peer_addr()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Each word of ours is answered at length, as by requests of TLS that rustls answers by itself.
    #[tokio::test]
    async fn a_server_that_says_much_between_our_words_is_cut_off_as_well() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() {
                if stream.write_all(&vec![b'A'; REPLY_BYTES_MAX]).await.is_err() {
                    break;
                }
            }
        };
        let asking = async {
            let mut stream = connect("127.0.0.1", port, Duration::from_secs(10)).await.unwrap();
            let mut answer = vec![0; REPLY_BYTES_MAX];
            for number in 0.. {
                stream.write_all(b"?").await.unwrap();
                if stream.read_exact(&mut answer).await.is_err() {
                    return number;
                }
            }
            0
        };
        let (answers, ()) = tokio::join!(asking, answering);
        // The count is looked at before a reading, so that the last one may go beyond it.
        assert!((8..=9).contains(&answers), "{answers}");
    }
}
