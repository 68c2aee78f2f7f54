//! `/healthz`, `/readyz`, `/.well-known/jwks.json`: health and the public signing keys. Also the operators' listener.

use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CROSS_ORIGIN_RESOURCE_POLICY};
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::metrics;
use crate::engine::Engine;
use crate::http::endpoint::{Eng, resource};
use crate::registry::outbox::actor::Waiting;
use crate::token::JWKS_KEPT;

/// `/readyz` reports a degraded state if more mails than this are waiting.
const MAILS_WAITING: usize = 100;

pub(super) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/.well-known/jwks.json", "GET").route(web::get().to(get_jwks)))
        .service(resource("/healthz", "GET").route(web::get().to(get_health)))
        .service(resource("/readyz", "GET").route(web::get().to(get_ready)));
}

/// Adds the endpoints of the operators' listener: health, and metrics without a role.
pub fn configure_for_operators(config: &mut web::ServiceConfig) {
    config
        .service(resource("/healthz", "GET").route(web::get().to(get_health)))
        .service(resource("/readyz", "GET").route(web::get().to(get_ready)));
    metrics::configure_for_operators(config);
}

async fn get_jwks(engine: Eng) -> HttpResponse {
    let cache_control = format!("public, max-age={}", JWKS_KEPT.as_secs());
    let keys = engine.services.signer.read();
    // Public keys are for everybody: a page of any origin may check tokens with them.
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, cache_control))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"))
        .json(keys.jwks(engine.clock.now()))
}

async fn get_health() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok", "reasons": []}))
}

async fn get_ready(engine: Eng) -> HttpResponse {
    let (ready, body) = readiness(&engine).await;
    if ready { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

/// Says whether the server is ready for requests, and returns the body of the answer, which names each reason why it is not,
/// or not wholly.
pub(crate) async fn readiness(engine: &Engine) -> (bool, Value) {
    let stats = engine.journal_stats();
    let mut reasons = Vec::new();
    let mut ready = !engine.services.is_stopping();
    if !ready {
        reasons.push("stopping");
    }
    if stats.room == 0 || stats.low {
        reasons.push("storage_full");
        ready = false;
    }
    // Administrators change nothing meanwhile, everybody else is served.
    if engine.services.audit.log.trouble().0 {
        reasons.push("audit_unavailable");
    }
    if engine.is_snapshot_failing() {
        reasons.push("snapshot_failing");
    }
    if engine.clock.far_ahead().is_some() {
        reasons.push("clock_ahead");
    }
    match engine.outbox.ask(Waiting).await {
        Ok(waiting) if waiting > MAILS_WAITING => reasons.push("mails_waiting"),
        Ok(_) => {}
        Err(_) => {
            reasons.push("stopping");
            ready = false;
        }
    }
    let status = match (ready, reasons.is_empty()) {
        (false, _) => "not_ready",
        (true, false) => "degraded",
        (true, true) => "ready",
    };
    (ready, json!({"status": status, "reasons": reasons}))
}
