//! The outermost step of a request on a listener of ours.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use actix_web::web;

use super::beside::{BesideRoutes, note_serving};
use crate::http::middleware::{pass_on, wrap_request};
use crate::http::served::Served;

/// Serves a request of a listener of ours: one to the API by [`wrap_request`], and one to a route that the embedding program
/// has beside it as the program says. Its connection only learns that it is being served.
pub(crate) async fn serve_request(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<Served>, actix_web::Error> {
    match request.app_data::<web::Data<BesideRoutes>>() {
        None => wrap_request(request, next).await,
        Some(beside) if beside.is_of_api(request.path()) => pass_on(request, &next, None).await,
        Some(_) => {
            let (request, serving) = note_serving(request);
            pass_on(request, &next, serving).await
        }
    }
}
