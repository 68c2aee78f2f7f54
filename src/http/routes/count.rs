//! Counting requests by endpoint and status.

use std::time::Duration;

use actix_web::dev::ServiceResponse;

use crate::engine::Engine;
use crate::engine::request_figures::RequestFigures;
use crate::http::reference::endpoints;

/// The statuses that endpoints answer with, sorted.
const STATUSES: &[u16] =
    &[200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 500, 503];

/// Returns the figures of the requests to `engine`. They are there before the first request is served.
pub(in crate::http) fn figures(engine: &Engine) -> &RequestFigures {
    engine.services.request_figures_or(|| {
        let paths = endpoints().map(|endpoint| endpoint.path).collect();
        RequestFigures::new(paths, STATUSES)
    })
}

/// Counts a request that was answered after `took`.
pub(in crate::http) fn count(figures: &RequestFigures, response: &ServiceResponse, took: Duration) {
    // The name of a resource is its pattern: to read it costs no allocation.
    figures.count(response.request().match_name(), response.status().as_u16(), took);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statuses_are_sorted_for_the_search_in_them() {
        assert!(STATUSES.is_sorted());
    }
}
