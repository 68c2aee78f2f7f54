//! `/healthz`, `/readyz`, `/.well-known/jwks.json`: health and the public signing keys. Also the operators' listener.

use actix_web::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CROSS_ORIGIN_RESOURCE_POLICY};
use actix_web::{HttpResponse, web};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::metrics;
use crate::engine::Engine;
use crate::http::endpoint::Eng;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Endpoint, Operation, Tag, serve};
use crate::registry::outbox::actor::Waiting;
use crate::token::JWKS_KEPT;

/// `/readyz` reports a degraded state if more mails than this are waiting.
const MAILS_WAITING: usize = 100;

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::at(
        "/.well-known/jwks.json",
        &[Operation::get("getKeys", "Publishes the keys that sign access tokens", |to| to.to(get_jwks))
            .explained("RFC 7517. May be cached for 300 s; a new key is published 600 s before it signs. For every origin.")
            .about(Tag::ResourceServers)
            .constant()
            .answers(&[Answer::json(200, "The public keys.", &[Schema::of::<KeySet>()]).with(&["Cache-Control"])])],
    ),
    HEALTH,
    READY,
];

const HEALTH: Endpoint = Endpoint::at(
    "/healthz",
    &[Operation::get("getHealth", "Says that the process lives", |to| to.to(get_health))
        .about(Tag::Operation)
        .constant()
        .answers(&[Answer::json(200, "It lives.", &[Schema::of::<Health>()])])],
);

const READY: Endpoint = Endpoint::at(
    "/readyz",
    &[Operation::get("getReadiness", "Says whether the server takes requests", |to| to.to(get_ready))
        .about(Tag::Operation)
        .constant()
        .answers(&[
            Answer::json(200, "`ready`, or `degraded` for the reasons.", &[Schema::of::<Health>()]),
            Answer::json(503, "`not_ready` for the reasons.", &[Schema::of::<Health>()]),
        ])],
);

/// The endpoints of the operators' listener: health, and metrics without a role.
const FOR_OPERATORS: &[Endpoint] = &[HEALTH, READY];

/// Adds the endpoints of the operators' listener.
pub fn configure_for_operators(config: &mut web::ServiceConfig) {
    serve(config, FOR_OPERATORS.iter().chain(metrics::ENDPOINTS_FOR_OPERATORS));
}

/// Health of the server.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `readiness` writes")]
struct Health {
    /// `ok`, `ready`, `degraded` or `not_ready`.
    #[schema(example = "ready")]
    status: String,
    /// Of `stopping`, `storage_full`, `audit_unavailable`, `snapshot_failing`, `clock_ahead`, `mails_waiting`.
    reasons: Vec<String>,
}

/// The public keys, a JWK Set (RFC 7517).
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `jsonwebtoken` writes")]
struct KeySet {
    keys: Vec<PublicKey>,
}

/// A public key. ES256 has `crv`, `x` and `y`, EdDSA `crv` and `x`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `jsonwebtoken` writes")]
struct PublicKey {
    /// The id of the key, as in the head of a token.
    kid: String,
    kty: String,
    alg: String,
    r#use: String,
    crv: String,
    x: String,
    #[schema(nullable = false)]
    y: Option<String>,
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
