//! The OpenAPI document, drawn from the table of routes.
//!
//! Source: OpenAPI 3.1.1. Not 3.2: generators of clients stop at 3.1.

use serde_json::{Map, Value, json};

use super::operation;
use super::parts::Parts;
use crate::http::problem::ProblemBody;
use crate::http::problem::explained::{EXPLAINED, Explained, title};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Endpoint, Tag};

/// How long what the interface says about itself may be cached.
pub(super) const CACHED: &str = "public, max-age=300";

/// The server that is described.
pub(super) struct Site<'a> {
    /// Its public origin.
    pub(super) origin: &'a str,
    /// The name of its session cookie.
    pub(super) cookie: &'a str,
}

/// Headers of answers, with what they say.
pub(super) const HEADERS: [(&str, &str); 13] = [
    ("Allow", "The methods of the endpoint."),
    (
        "Cache-Control",
        "How long the answer may be kept. It is `no-store` where an operation does not name it.",
    ),
    ("ETag", "Names this answer and no other one."),
    ("RateLimit", "How many requests are left, and after how many seconds there is another one."),
    (
        "RateLimit-Policy",
        "The limit of the network of the client: its name, how many requests at once, in how many seconds.",
    ),
    ("Retry-After", "After how many seconds to try again."),
    (
        "Set-Cookie",
        "A session, a known device, or the half of a sign-up. HttpOnly; SameSite=Lax; Path=/; Secure with https.",
    ),
    ("Vary", "The headers of the request that the answer depends on."),
    ("WWW-Authenticate", "Which credential is asked for, and why."),
    ("X-Accel-Buffering", "`no`: a proxy passes each event on at once."),
    ("X-CSRF-Token", "The CSRF token of the new session."),
    (
        "X-Device-Token",
        "By which a later log-in shows that it comes from a known device. Replaces the one before.",
    ),
    ("X-Request-Id", "The id of the request, as in the log."),
];

/// Returns the document of a server at `site` with `endpoints`.
pub(super) fn document<'a>(endpoints: impl Iterator<Item = &'a Endpoint>, site: &Site<'_>) -> Value {
    let mut parts = Parts::default();
    parts.form(&Schema::of::<ProblemBody>());
    let mut paths = Map::new();
    for endpoint in endpoints {
        let operations = endpoint.operations.iter();
        let item: Map<String, Value> = operations
            .map(|operation| {
                (operation.method.name().to_lowercase(), operation::described(operation, &mut parts))
            })
            .collect();
        paths.insert(endpoint.path.to_owned(), Value::Object(item));
    }
    let tags =
        Tag::ALL.iter().map(|(_, name, description)| json!({"name": name, "description": description}));
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Portcullis",
            "summary": "A hardened authentication server",
            "description": "Requests and answers are JSON objects in UTF-8 with names in `snake_case`; a member that is not \
                            listed is refused. Times are RFC 3339 in UTC. A body has at most 16,384 bytes. HEAD is answered \
                            like GET. A method that a path does not have is answered with 405 `method_not_allowed` and \
                            `Allow`. `x-limit` names the rate limit of an operation, `x-fresh` that the password must have \
                            been proved within the last 15 minutes, `x-roles` and `x-scope` who may.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": site.origin}],
        "tags": tags.collect::<Vec<_>>(),
        "paths": paths,
        "components": {
            "schemas": parts.forms,
            "responses": parts.responses,
            "headers": headers(),
            "examples": examples(site),
            "securitySchemes": security_schemes(site),
        },
    })
}

fn headers() -> Map<String, Value> {
    let header = |(name, description): (&str, &str)| {
        let is_number = name == "Retry-After";
        let schema =
            if is_number { json!({"type": "integer", "minimum": 1}) } else { json!({"type": "string"}) };
        (name.to_owned(), json!({"description": description, "schema": schema}))
    };
    HEADERS.into_iter().map(header).collect()
}

/// One example of each problem.
fn examples(site: &Site<'_>) -> Map<String, Value> {
    let example = |explained: &Explained| {
        let id = "0a1b2c3d4e5f60718293a4b5";
        let value = json!({
            "type": format!("{}/problems/{}", site.origin, explained.code.replace('_', "-")),
            "title": title(explained.code),
            "status": explained.status,
            "detail": explained.advice,
            "instance": format!("/requests/{id}"),
            "code": explained.code,
            "request_id": id,
        });
        (explained.code.to_owned(), json!({"summary": explained.meaning, "value": value}))
    };
    EXPLAINED.iter().map(example).collect()
}

fn security_schemes(site: &Site<'_>) -> Value {
    json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "The `access_token` of a log-in. Exempt from CSRF checks: no browser attaches it by itself.",
        },
        "cookie": {
            "type": "apiKey",
            "in": "cookie",
            "name": site.cookie,
            "description": "The session cookie of a log-in with `mode: cookie`. A request that changes something also shows \
                            its origin (`Origin` or `Sec-Fetch-Site`, as browsers do) and the CSRF token.",
        },
        "csrfToken": {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRF-Token",
            "description": "The `csrf_token` of the log-in or of `GET /v1/session`, beside a session cookie.",
        },
        "apiKey": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "pck_…",
            "description": "The key of a service, with the scope that the operation names.",
        },
        "basic": {
            "type": "http",
            "scheme": "basic",
            "description": "An API key as the password, beside any user name, as clients of OAuth send their secret; where \
                            an operation names it.",
        },
    })
}
