//! The answer of an endpoint that sends events as they happen (server-sent events).

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::HeaderName;
use actix_web::{HttpResponse, web};
use tokio::sync::mpsc;

/// Answers with what comes out of `body`, until its sender is dropped.
pub(super) fn answer(body: mpsc::Receiver<web::Bytes>) -> HttpResponse {
    // Proxies that collect an answer before they pass it on, as nginx does, must not: an event would wait for the next.
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    HttpResponse::Ok().content_type("text/event-stream").insert_header(unbuffered).body(Events(body))
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
