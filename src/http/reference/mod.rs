//! What the interface says about itself: `/openapi.json`, and `/problems/…`, the page of each problem.
//!
//! With the feature `docs-ui` also `/docs`. All are public, and say the same to everybody. The document is drawn from the table of routes once for each engine, and
//! served from memory.

#[cfg(feature = "docs-ui")]
mod docs_ui;
mod openapi;
mod operation;
mod parts;
mod problem_page;
pub mod sdk;

use std::sync::Arc;

use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_RESOURCE_POLICY, ETAG,
    HeaderMap, IF_NONE_MATCH, VARY,
};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde_json::Value;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use self::openapi::{CACHED, Site};
use self::problem_page::{ProblemPage, html, policy};
use super::api;
use super::endpoint::Eng;
use super::header::accepts;
use super::problem::Problem;
use super::problem::explained::explained;
use super::rejection::Rejection;
use super::routes::schema::Schema;
use super::routes::{Answer, Endpoint, Operation, PathPart, Tag};
use crate::config::Config;
use crate::config::sections::session::CookieNames;
use crate::engine::services::Reference;
use crate::value::id::hex;

const ENDPOINTS: &[Endpoint] = &[
    Endpoint::at(
        "/openapi.json",
        &[Operation::get("getOpenApi", "Describes this interface", |to| to.to(get_openapi))
            .explained("OpenAPI 3.1. For every origin.")
            .about(Tag::Reference)
            .constant()
            .reads(&["If-None-Match"])
            .answers(&[
                Answer::json(200, "This document.", &[Schema::of::<OpenApi>()])
                    .with(&["Cache-Control", "ETag"]),
                Answer { status: 304, ..Answer::empty("It is the one that `If-None-Match` names.") }
                    .with(&["Cache-Control", "ETag"]),
            ])],
    ),
    Endpoint::at(
        "/problems/{code}",
        &[Operation::get("explainProblem", "Explains a problem", |to| to.to(get_problem))
            .explained("The `type` of each problem leads here. A page for browsers, which name `text/html` in `Accept`.")
            .about(Tag::Reference)
            .constant()
            .path(&[PathPart {
                name: "code",
                meaning: "The `code` of the problem, as it is or with dashes.",
                example: "weak-password",
            }])
            .answers(&[Answer::json(200, "What it means, and what to do.", &[Schema::of::<ProblemPage>()])
                .or_as("text/html")
                .with(&["Cache-Control"])])
            .refuses(&["not_found"])],
    ),
];

/// An OpenAPI document.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `openapi::document` makes")]
struct OpenApi {
    /// The version of the format.
    #[schema(example = "3.1.1")]
    openapi: String,
    #[schema(value_type = Object)]
    info: Value,
    #[schema(value_type = Vec<Object>)]
    servers: Value,
    #[schema(value_type = Vec<Object>)]
    tags: Value,
    #[schema(value_type = Object)]
    paths: Value,
    #[schema(value_type = Object)]
    components: Value,
}

/// Returns every endpoint that the server has.
pub(super) fn endpoints() -> impl Iterator<Item = &'static Endpoint> {
    let endpoints = api::endpoints().chain(ENDPOINTS);
    #[cfg(feature = "docs-ui")]
    let endpoints = endpoints.chain(docs_ui::ENDPOINTS);
    endpoints
}

/// Says whether a request is for an endpoint that has GET.
pub(super) fn has_get(request: &HttpRequest) -> bool {
    // The name of a resource is its pattern.
    let name = request.match_name();
    endpoints().filter(|endpoint| Some(endpoint.path) == name).any(Endpoint::has_get)
}

/// Returns the OpenAPI document of a server that is reached at `origin`: what `/openapi.json` answers.
pub fn document(origin: &str) -> Value {
    let names = CookieNames::of("portcullis", origin.starts_with("https:"));
    openapi::document(endpoints(), &Site { origin, cookie: &names.session })
}

fn made(config: &Config) -> Reference {
    let site = Site { origin: config.http.public_origin.as_str(), cookie: &config.cookies.session };
    let text = openapi::document(endpoints(), &site).to_string();
    let tag = format!("\"{}\"", hex(Sha256::digest(&text).get(..16).unwrap_or_default()));
    Reference { text: text.into_bytes().into(), tag }
}

/// Lets pages of every origin read an answer that is the same for everybody.
fn open(response: &mut HttpResponseBuilder) -> &mut HttpResponseBuilder {
    response
        .insert_header((CACHE_CONTROL, CACHED))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((CROSS_ORIGIN_RESOURCE_POLICY, "cross-origin"))
}

async fn get_openapi(engine: Eng, request: HttpRequest) -> HttpResponse {
    let services = &engine.services;
    let reference = services.reference_or(|| made(&services.config));
    let is_known = names(request.headers(), &reference.tag);
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    open(&mut response).insert_header((ETAG, reference.tag.as_str()));
    if is_known {
        return response.finish();
    }
    response.content_type("application/json").body(web::Bytes::from_owner(Arc::clone(&reference.text)))
}

/// Says whether `If-None-Match` names `tag`, or any.
fn names(headers: &HeaderMap, tag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).filter_map(|value| value.to_str().ok());
    let tags = values.flat_map(|value| value.split(',')).map(|one| one.trim().trim_start_matches("W/"));
    tags.into_iter().any(|one| one == tag || one == "*")
}

async fn get_problem(
    engine: Eng,
    code: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Rejection> {
    let no_page = || Problem::new(404, "not_found", "There is no problem of this name.");
    let explained = explained(&code.replace('-', "_")).ok_or_else(no_page)?;
    let origin = engine.services.config.http.public_origin.as_str();
    let page = ProblemPage::of(explained, origin);
    let headers = request.headers();
    let mut response = HttpResponse::Ok();
    open(&mut response).insert_header((VARY, "accept"));
    if accepts(headers, "text/html") && !accepts(headers, "application/json") {
        response.insert_header((CONTENT_SECURITY_POLICY, policy()));
        return Ok(response.content_type("text/html; charset=utf-8").body(html(explained)));
    }
    Ok(response.json(page))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::problem::explained::EXPLAINED;
    use crate::http::routes::PROBES;

    #[test]
    fn the_table_has_every_path_and_every_id_once() {
        let mut paths = BTreeSet::new();
        let mut ids = BTreeSet::new();
        for endpoint in endpoints() {
            assert!(paths.insert(endpoint.path), "{} is there twice", endpoint.path);
            let mut methods = BTreeSet::new();
            for operation in endpoint.operations {
                assert!(methods.insert(operation.method.name()), "{}", endpoint.path);
                assert!(ids.insert(operation.id), "{} is there twice", operation.id);
                assert!(!operation.answers.is_empty(), "{} never succeeds", operation.id);
            }
        }
        assert!(PROBES.iter().all(|probe| paths.contains(probe)));
    }

    #[test]
    fn every_code_that_has_a_page_is_that_of_an_operation_and_the_other_way_round() {
        let mut used: BTreeSet<_> =
            endpoints().flat_map(|endpoint| endpoint.operations).flat_map(Operation::problems).collect();
        // Of a method that no operation has, and of a handler outside of this table.
        used.extend(["method_not_allowed", "no_engine"]);
        let pages: BTreeSet<_> = EXPLAINED.iter().map(|explained| explained.code).collect();
        assert_eq!(used, pages);
    }
}
