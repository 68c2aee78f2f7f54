//! The id of a request, as its answer and the log show it.

use std::rc::Rc;

use actix_web::{HttpMessage, HttpRequest};

#[derive(Clone)]
pub(super) struct RequestId(pub(super) Rc<str>);

/// The id of a request, as its answer and the log show it.
pub fn request_id(request: &HttpRequest) -> Rc<str> {
    request.extensions().get::<RequestId>().map_or_else(Rc::default, |id| Rc::clone(&id.0))
}
