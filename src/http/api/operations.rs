//! Health, metrics, public keys.

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::json;

use super::metrics::metrics;
use crate::engine::Engine;
use crate::http::rejection::{Rejection, answer};
use crate::http::request::signed_in;
use crate::http::resource;
use crate::registry::outbox::actor::Waiting;
use crate::token::JWKS_KEPT;

type Eng = web::Data<Engine>;

/// Mails that wait before `/readyz` says so.
const MAILS_WAITING: usize = 100;
const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(in crate::http) fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/.well-known/jwks.json", "GET").route(web::get().to(get_jwks)))
        .service(resource("/healthz", "GET").route(web::get().to(get_health)))
        .service(resource("/readyz", "GET").route(web::get().to(get_ready)))
        .service(resource("/metrics", "GET").route(web::get().to(get_metrics)));
}

/// What the listener for operators answers: the metrics without a role.
pub fn configure_for_operators(config: &mut web::ServiceConfig) {
    let metrics = |engine: Eng| async move {
        HttpResponse::Ok().insert_header((CONTENT_TYPE, METRICS_TYPE)).body(metrics(&engine).await)
    };
    config
        .service(resource("/healthz", "GET").route(web::get().to(get_health)))
        .service(resource("/readyz", "GET").route(web::get().to(get_ready)))
        .service(resource("/metrics", "GET").route(web::get().to(metrics)));
}

async fn get_jwks(engine: Eng) -> HttpResponse {
    let kept = format!("public, max-age={}", JWKS_KEPT.as_secs());
    HttpResponse::Ok().insert_header((CACHE_CONTROL, kept)).json(engine.services.signer.read().jwks())
}

async fn get_health() -> HttpResponse {
    HttpResponse::Ok().json(json!({"status": "ok", "reasons": []}))
}

async fn get_ready(engine: Eng) -> HttpResponse {
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
    if engine.is_snapshot_failing() {
        reasons.push("snapshot_failing");
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
    let body = json!({"status": status, "reasons": reasons});
    if ready { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

async fn get_metrics(request: HttpRequest, engine: Eng) -> HttpResponse {
    let result = async {
        signed_in(&request, &engine).await?.has_role(&["metrics", "admin"])?;
        let text = metrics(&engine).await;
        Ok::<_, Rejection>(HttpResponse::Ok().insert_header((CONTENT_TYPE, METRICS_TYPE)).body(text))
    };
    answer(&request, &engine, result.await)
}
