//! Idle connections: they are closed after a while.
//!
//! **The attack:** a client sends a request, then the first byte of a second one and nothing more. The keep-alive
//! timeout of the HTTP library ends with that byte, and its timeout for a head applies to the first request only, so
//! the client would hold its connection for ever.
//!
//! **The rule:** a connection on which no request has been served for [`IDLE_TICKS_MAX`] seconds is shut down. A
//! request ends with the body of its answer: an event stream that lasts for hours is being served.

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

/// The idle time after which a connection is shut down, in ticks: the keep-alive time, the time for a head, and one
/// tick.
const IDLE_TICKS_MAX: u32 = 16;
const TICK: Duration = Duration::from_secs(1);

/// One connection.
pub(super) struct Connection {
    /// A duplicate descriptor of the socket. While it is open, its number cannot be reused for another socket.
    socket: TcpStream,
    /// The number of requests that are being served.
    serving: AtomicU32,
    /// Ticks since a request was last served.
    idle_ticks: AtomicU32,
}

/// A guard for a request that is being served.
pub(super) struct Serving(Arc<Connection>);

impl Serving {
    pub(super) fn on(connection: &Arc<Connection>) -> Self {
        connection.serving.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(connection))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.idle_ticks.store(0, Ordering::Relaxed);
        self.0.serving.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connections of a server.
#[derive(Clone, Default)]
pub struct Connections(Arc<Mutex<Vec<Weak<Connection>>>>);

impl Connections {
    /// Registers a new connection. Called by [`actix_web::HttpServer::on_connect`].
    pub fn opened(&self, stream: &dyn Any, data: &mut Extensions) {
        let Some(stream) = stream.downcast_ref::<tokio::net::TcpStream>() else { return };
        // Without a duplicate the connection is not watched; the timeouts of the HTTP library still apply.
        let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
        data.insert(self.add(socket.into()));
    }

    fn add(&self, socket: TcpStream) -> Arc<Connection> {
        let connection =
            Arc::new(Connection { socket, serving: AtomicU32::new(0), idle_ticks: AtomicU32::new(0) });
        self.0.lock().push(Arc::downgrade(&connection));
        connection
    }

    /// Shuts down idle connections, for as long as the future is polled.
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
            let is_idle = connection.idle_ticks.fetch_add(1, Ordering::Relaxed) >= IDLE_TICKS_MAX;
            if is_idle {
                // An error means that the connection has closed already. Otherwise its event loop notices now.
                let _ = connection.socket.shutdown(Shutdown::Both);
            }
            !is_idle
        });
    }
}

/// The body of an answer. Its request is being served until the body is sent.
pub(super) struct Served {
    pub(super) body: BoxBody,
    /// Whether the request was HEAD: the answer says how long the body is and has none.
    pub(super) is_head: bool,
    pub(super) _serving: Option<Serving>,
}

impl MessageBody for Served {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        if self.is_head {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_next(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_idle_connection_is_shut_and_one_being_served_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        let mut is_open = || client.read(&mut [0]).is_err();
        let connections = Connections::default();
        let connection = connections.add(listener.accept().unwrap().0);
        let serving = [Serving::on(&connection), Serving::on(&connection)];
        for _ in 0..3 * IDLE_TICKS_MAX {
            connections.tick();
        }
        drop(serving);
        for _ in 0..IDLE_TICKS_MAX {
            connections.tick();
        }
        // A request in time starts the count again when it ends.
        drop(Serving::on(&connection));
        for _ in 0..IDLE_TICKS_MAX {
            connections.tick();
        }
        assert!(is_open());
        connections.tick();
        assert!(!is_open());
        assert!(connections.0.lock().is_empty());
        drop(connections.add(connection.socket.try_clone().unwrap()));
        connections.tick();
        assert!(connections.0.lock().is_empty());
    }
}
