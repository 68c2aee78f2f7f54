//! The patterns of all endpoints, by which requests are counted.

use std::time::Duration;

use actix_web::dev::ServiceResponse;

use crate::engine::Engine;
use crate::engine::request_figures::RequestFigures;

/// The patterns of all endpoints, sorted. [`super::endpoint::resource`] accepts no other one.
pub(super) const ROUTES: &[&str] = &[
    "/.well-known/jwks.json",
    "/healthz",
    "/metrics",
    "/readyz",
    "/v1/admin/api_keys",
    "/v1/admin/api_keys/{id}",
    "/v1/admin/audit",
    "/v1/admin/keys/rotate",
    "/v1/admin/keys/{kid}/retire",
    "/v1/admin/users",
    "/v1/admin/users/{id}",
    "/v1/admin/users/{id}/{act}",
    "/v1/csrf",
    "/v1/devices",
    "/v1/email/change",
    "/v1/email/change/confirm",
    "/v1/email/change/undo",
    "/v1/email/verify",
    "/v1/email/verify/resend",
    "/v1/introspect",
    "/v1/login",
    "/v1/logout",
    "/v1/me",
    "/v1/me/delete",
    "/v1/password/change",
    "/v1/password/check",
    "/v1/password/forgot",
    "/v1/password/reset",
    "/v1/reauthenticate",
    "/v1/refresh",
    "/v1/revocations",
    "/v1/session",
    "/v1/sessions",
    "/v1/sessions/{id}",
    "/v1/signup",
    "/v1/unlock",
];

/// The statuses that endpoints answer with, sorted.
const STATUSES: &[u16] =
    &[200, 201, 202, 204, 400, 401, 403, 404, 405, 408, 409, 410, 413, 415, 422, 429, 500, 503];

/// Endpoints that machines ask again and again, whoever else is there.
const PROBES: [&str; 3] = ["/healthz", "/metrics", "/readyz"];

/// Says whether a request to `path` is a probe of a machine, which says nothing about clients.
pub(super) fn is_probe(path: &str) -> bool {
    PROBES.contains(&path)
}

/// Returns the figures of the requests to `engine`.
pub(super) fn figures(engine: &Engine) -> &RequestFigures {
    engine.services.request_figures(|| RequestFigures::new(ROUTES, STATUSES))
}

/// Counts a request that was answered after `took`.
pub(super) fn count(engine: &Engine, response: &ServiceResponse, took: Duration) {
    // The name of a resource is its pattern: to read it costs no allocation.
    figures(engine).count(response.request().match_name(), response.status().as_u16(), took);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_for_the_search_in_them() {
        assert!(ROUTES.is_sorted());
        assert!(STATUSES.is_sorted());
        assert!(PROBES.iter().all(|probe| ROUTES.contains(probe)));
    }
}
