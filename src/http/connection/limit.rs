//! The bound of the connections of one network, for a listener of the embedding program.
//!
//! Below HTTP that listener is the program's, so a connection can only be counted when it opens and when it has closed. One too
//! many is shut at once; no idle one gives way to it, since it is not known which are idle.

use std::any::Any;
use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;

use actix_web::dev::Extensions;
use tokio::net::TcpStream;

use super::lifetime::Connection;
use super::table::Connections;
use crate::engine::Engine;
use crate::system::descriptors;

/// Bounds the connections that one network may hold, for `HttpServer::on_connect`: a sixteenth of those that the limit of open
/// files leaves room for, and wider networks a multiple. Proxies in `http.trusted_proxies` are not bounded.
///
/// A connection too many is closed at once. Connections with TLS of the program's own (`bind_rustls`) are not counted.
pub fn connection_limit(engine: &Arc<Engine>) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync + use<> {
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let most = descriptors::connections(descriptors::raise(), workers) * workers;
    limit(Connections::new(&engine.services.config, most).without_replacing())
}

fn limit(connections: Connections) -> impl Fn(&dyn Any, &mut Extensions) + Send + Sync {
    move |stream, data| {
        let Some(stream) = stream.downcast_ref::<TcpStream>() else { return };
        let Ok(peer) = stream.peer_addr() else { return };
        match connections.open(peer.ip()) {
            Some(connection) => {
                data.insert(Counted { connections: connections.clone(), connection });
            }
            // If it cannot be shut, it stays, and is not counted.
            None => {
                let _ = shut(stream);
            }
        }
    }
}

/// Shuts a socket that another owner will close.
fn shut(stream: &TcpStream) -> io::Result<()> {
    let same = stream.as_fd().try_clone_to_owned()?;
    std::net::TcpStream::from(same).shutdown(Shutdown::Both)
}

/// A connection that is counted, in the data that its requests see. It is dropped when the connection has closed.
struct Counted {
    connections: Connections,
    connection: Arc<Connection>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.connections.closed(&self.connection);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::config::Config;

    #[tokio::test]
    async fn a_connection_too_many_is_shut_and_a_closed_one_makes_room() {
        let config = Config::builder().build().unwrap();
        // The fewest that a network may hold: eight.
        let on_connect = limit(Connections::new(&config, 16).without_replacing());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut open = Vec::new();
        let mut connect = async || {
            let client = std::net::TcpStream::connect(address).unwrap();
            client.set_nonblocking(true).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let mut data = Extensions::new();
            on_connect(&stream, &mut data);
            // A shut connection has come to its end; an open one has nothing to read yet.
            let is_shut = matches!((&client).read(&mut [0]), Ok(0));
            open.push((client, stream, data));
            is_shut
        };
        for _ in 0..8 {
            assert!(!connect().await);
        }
        assert!(connect().await);
        drop(open.remove(0));
        let again = async || {
            let client = std::net::TcpStream::connect(address).unwrap();
            client.set_nonblocking(true).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            on_connect(&stream, &mut Extensions::new());
            matches!((&client).read(&mut [0]), Ok(0))
        };
        assert!(!again().await);
    }
}
