//! The typed client for JavaScript that `portcullis sdk ts` prints: one module without a dependency, and its types.
//!
//! The table of operations and the types are drawn from the table of routes, like `/openapi.json`. What works with them is
//! written by hand: `client.js` and `client.d.ts`, and `tabs.js`, by which the tabs of a browser share one session.
//!
//! ```text
//! tabs.js ─────────────┐                      client.d.ts ───────┐
//! table of routes ─────┼─▶ portcullis.js      table of routes ───┼─▶ portcullis.d.ts
//! client.js ───────────┘                                         │
//!                                             forms of bodies ───┘
//! ```
//!
//! `README.md` of this folder shows its use.

mod types;

use std::fmt::Write;

use serde_json::json;

use super::endpoints;
use crate::http::routes::{Credential, Endpoint, Operation, Takes};

pub use types::types;

/// Returns the client as one ES module.
pub fn module() -> String {
    let version = env!("CARGO_PKG_VERSION");
    let parts = [
        format!(
            "// The client of Portcullis {version}, printed by `portcullis sdk ts`. For browsers, Node 20 and later, and React \
             Native.\n"
        ),
        String::from(include_str!("tabs.js")),
        table(),
        String::from(include_str!("client.js")),
    ];
    parts.join("\n")
}

/// Returns every operation with the path of its endpoint.
fn operations() -> impl Iterator<Item = (&'static Endpoint, &'static Operation)> {
    endpoints().flat_map(|endpoint| endpoint.operations.iter().map(move |operation| (endpoint, operation)))
}

/// Writes the table of operations as an object of JavaScript.
fn table() -> String {
    let mut text = String::from("// Drawn from the table of routes of the server.\nconst OPERATIONS = {\n");
    for (endpoint, operation) in operations() {
        let _ = writeln!(text, "  {}: {},", operation.id, row(endpoint.path, operation));
    }
    text + "};\n"
}

/// Writes what the client has to know of an operation. Flags that do not hold are left out.
fn row(path: &str, operation: &Operation) -> String {
    let credential = match operation.credential {
        Credential::Nobody => "none",
        Credential::AccountOrNobody => "optional",
        _ => "session",
    };
    let mut members = vec![
        format!("id: {}", json!(operation.id)),
        format!("method: {}", json!(operation.method.name())),
        format!("path: {}", json!(path)),
        format!("credential: {}", json!(credential)),
    ];
    let mut statuses: Vec<u16> = operation.answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    members.push(format!("statuses: {statuses:?}"));
    let flags = [
        ("body", takes_body(operation)),
        ("lines", matches!(operation.body, Takes::Lines(_))),
        ("query", operation.query.is_some()),
        ("device", operation.request_headers.contains(&"X-Device-Token")),
        (
            "text",
            operation.answers.iter().any(|answer| answer.media_type.is_some() && answer.schemas.is_empty()),
        ),
    ];
    members.extend(flags.iter().filter(|(_, holds)| *holds).map(|(name, _)| format!("{name}: true")));
    format!("{{ {} }}", members.join(", "))
}

/// Says whether an operation takes a body.
fn takes_body(operation: &Operation) -> bool {
    !matches!(operation.body, Takes::Nothing)
}
