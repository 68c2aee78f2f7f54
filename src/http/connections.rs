//! Connections on which nothing is asked: closed after a while.
//!
//! **The attack:** a client asks something, and then sends the first byte of a second request and no more. The time for
//! connections that are kept open ends with that byte, and that for a head is of the first request alone: it would hold its
//! connection for ever.
//!
//! **The rule:** a connection on which no request is being served for [`QUIET_MAX`] is shut. Where a request ends is known by
//! its body: an answer that goes on for hours is being served.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Extensions;
use actix_web::web::Bytes;

use crate::system::lock::Mutex;

/// What a head may take, and before it what a connection may be kept open for: with a second for the tick.
const QUIET_MAX: u32 = 16;
const TICK: Duration = Duration::from_secs(1);

/// One connection.
pub(super) struct Connection {
    /// A descriptor of its own of the same socket: so long as it is held, the number means this socket and no other.
    socket: TcpStream,
    serving: AtomicU32,
    /// Ticks since the last request was served.
    quiet: AtomicU32,
}

/// A request that is being served.
pub(super) struct Serving(Arc<Connection>);

impl Serving {
    pub(super) fn on(connection: &Arc<Connection>) -> Self {
        connection.serving.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connection))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.quiet.store(0, Ordering::Relaxed);
        self.0.serving.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All connections of a server.
#[derive(Clone, Default)]
pub struct Connections(Arc<Mutex<Vec<Weak<Connection>>>>);

impl Connections {
    /// Takes a new one down, for [`actix_web::HttpServer::on_connect`].
    pub fn opened(&self, stream: &dyn Any, data: &mut Extensions) {
        let Some(stream) = stream.downcast_ref::<tokio::net::TcpStream>() else { return };
        // Without one it is closed as before: by what is asked on it.
        let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
        data.insert(self.add(socket.into()));
    }

    fn add(&self, socket: TcpStream) -> Arc<Connection> {
        let connection =
            Arc::new(Connection { socket, serving: AtomicU32::new(0), quiet: AtomicU32::new(0) });
        self.0.lock().push(Arc::downgrade(&connection));
        connection
    }

    /// Shuts what is quiet for too long, until it is dropped.
    pub async fn watch(self) {
        loop {
            tokio::time::sleep(TICK).await;
            self.tick();
        }
    }

    fn tick(&self) {
        self.0.lock().retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            if connection.serving.load(Ordering::Relaxed) > 0 {
                return true;
            }
            let is_over = connection.quiet.fetch_add(1, Ordering::Relaxed) >= QUIET_MAX;
            if is_over {
                // It is gone already, or its event loop hears of it now.
                let _ = connection.socket.shutdown(Shutdown::Both);
            }
            !is_over
        });
    }
}

/// The body of an answer, which is being served until it is out.
pub(super) struct Served {
    pub(super) body: BoxBody,
    pub(super) _serving: Option<Serving>,
}

impl MessageBody for Served {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_asks_nothing_for_long_is_shut_and_what_is_being_served_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        let mut is_open = || client.read(&mut [0]).is_err();
        let connections = Connections::default();
        let connection = connections.add(listener.accept().unwrap().0);
        let serving = [Serving::on(&connection), Serving::on(&connection)];
        for _ in 0..3 * QUIET_MAX {
            connections.tick();
        }
        drop(serving);
        for _ in 0..QUIET_MAX {
            connections.tick();
        }
        // Asked again in time: counted from the end of that.
        drop(Serving::on(&connection));
        for _ in 0..QUIET_MAX {
            connections.tick();
        }
        assert!(is_open());
        connections.tick();
        assert!(!is_open() && connections.0.lock().is_empty());
        drop(connections.add(connection.socket.try_clone().unwrap()));
        connections.tick();
        assert!(connections.0.lock().is_empty());
    }
}
