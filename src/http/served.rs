//! The body of an answer, as it leaves.

use std::pin::Pin;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;

use super::connection::Serving;

/// The body of an answer. Its request is being served until the body is sent: an event stream that lasts for hours is.
pub(crate) struct Served {
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
