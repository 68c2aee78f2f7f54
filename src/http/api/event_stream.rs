//! The answer of an endpoint that sends events as they happen (server-sent events).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::HeaderName;
use actix_web::{HttpResponse, web};
use tokio::sync::{mpsc, watch};

/// The time after which a silent stream sends something, so that no proxy on the way closes the connection as idle.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The interval at which polls and streams check whether the server is stopping, and streams their credential.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What writes the events of an answer.
pub(super) struct EventWriter {
    client: mpsc::Sender<web::Bytes>,
    /// How long nothing was sent.
    silent: Duration,
}

impl EventWriter {
    /// Says whether the client must be sent something, since the stream begins or has been silent for long.
    pub(super) fn is_long_silent(&self) -> bool {
        self.silent >= KEEP_ALIVE
    }

    /// Sends `text`, unless it is empty. Returns false if the client has disconnected, or reads nothing: it keeps no place for
    /// ever.
    pub(super) async fn send(&mut self, text: String) -> bool {
        if text.is_empty() {
            return true;
        }
        self.silent = Duration::ZERO;
        self.client.send_timeout(web::Bytes::from(text), KEEP_ALIVE).await.is_ok()
    }

    /// Waits until `watch` changes, a second at most. Returns false if the client has disconnected.
    pub(super) async fn wait<T>(&mut self, watch: &mut watch::Receiver<T>) -> bool {
        tokio::select! {
            changed = tokio::time::timeout(LOOK_EVERY, watch.changed()) => {
                if changed.is_err() {
                    self.silent += LOOK_EVERY;
                }
                true
            }
            () = self.client.closed() => false,
        }
    }
}

/// Returns an answer, and what writes its events. It ends when the writer is dropped.
pub(super) fn open() -> (EventWriter, HttpResponse) {
    let (client, body) = mpsc::channel(8);
    // Proxies that collect an answer before they pass it on, as nginx does, must not: an event would wait for the next.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    let answer =
        HttpResponse::Ok().content_type("text/event-stream").insert_header(unbuffered).body(Events(body));
    (EventWriter { client, silent: KEEP_ALIVE }, answer)
}

/// The body of an event stream.
struct Events(mpsc::Receiver<web::Bytes>);

impl MessageBody for Events {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Stream
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<web::Bytes, Infallible>>> {
        self.get_mut().0.poll_recv(context).map(|event| event.map(Ok))
    }
}
