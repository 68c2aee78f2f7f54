//! The id of a request, as its answer and the log show it.

use std::sync::Arc;

use actix_web::{HttpMessage, HttpRequest};

use crate::system::random::Random;
use crate::value::id::hex;

/// The id of a request, kept in its extensions by [`super::middleware::wrap_request`].
#[derive(Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

/// Returns the id of a request, or an empty one if no middleware has set it.
pub(super) fn request_id(request: &HttpRequest) -> Arc<str> {
    request.extensions().get::<RequestId>().map_or_else(Arc::default, |id| Arc::clone(&id.0))
}

/// Returns a new id.
pub(super) fn new_request_id(random: &Random) -> String {
    random.bytes::<12>().map_or_else(|_| String::from("none"), |bytes| hex(&bytes))
}
