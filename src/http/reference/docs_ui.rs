//! `/docs`: Swagger UI for `/openapi.json`, with the feature `docs-ui`.
//!
//! **The attack:** a script on the origin of the log-in reads what the log-in answers, and a page that takes the answer of an
//! authorization server hands it to whoever made the request.
//!
//! **The rule:** the page loads scripts from its own folder alone and asks no other host; it sends no requests but that for the
//! document; and its page for the answers of authorization servers is not served.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use actix_web::{HttpResponse, web};
use utoipa_swagger_ui::{Config, serve};

use super::openapi::CACHED;
use crate::http::endpoint::Eng;
use crate::http::problem::Problem;
use crate::http::rejection::Rejection;
use crate::http::routes::{Answer, Endpoint, Operation, PathPart, Tag};

pub(super) const ENDPOINTS: &[Endpoint] = &[
    Endpoint::at(
        "/docs",
        &[Operation::get("goToDocs", "Leads to the page about this interface", |to| to.to(get_docs))
            .about(Tag::Reference)
            .constant()
            .answers(&[Answer { status: 308, ..Answer::empty("To `/docs/`.") }.with(&["Cache-Control"])])],
    ),
    Endpoint::at(
        "/docs/",
        &[Operation::get("showDocs", "Shows this interface in a browser", |to| to.to(get_page))
            .about(Tag::Reference)
            .constant()
            .answers(&[Answer::text("Swagger UI.", "text/html").with(&["Cache-Control"])])],
    ),
    Endpoint::at(
        "/docs/{file}",
        &[Operation::get("getDocsFile", "Gets a file of the page", |to| to.to(get_file))
            .about(Tag::Reference)
            .constant()
            .path(&[PathPart { name: "file", meaning: "The name of the file.", example: "swagger-ui.css" }])
            .answers(&[Answer::text("The file.", "text/css")
                .or_as("text/javascript")
                .with(&["Cache-Control"])])
            .refuses(&["not_found"])],
    ),
];

/// Scripts and the document of its own origin alone. The styles are set by the scripts.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

async fn get_docs(_: Eng) -> HttpResponse {
    // Relative, so that it leads to the same place below a prefix.
    HttpResponse::PermanentRedirect()
        .insert_header((LOCATION, "docs/"))
        .insert_header((CACHE_CONTROL, CACHED))
        .finish()
}

async fn get_page(_: Eng) -> Result<HttpResponse, Rejection> {
    file("index.html")
}

async fn get_file(_: Eng, name: web::Path<String>) -> Result<HttpResponse, Rejection> {
    file(&name)
}

fn file(name: &str) -> Result<HttpResponse, Rejection> {
    let no_file = || Problem::new(404, "not_found", "The page has no such file.");
    let config = Config::new(["../openapi.json"])
        .validator_url("none")
        .supported_submit_methods(Vec::<String>::new())
        .display_operation_id(true);
    let found = Some(name).filter(|name| !name.starts_with("oauth2-redirect"));
    let found = found.and_then(|name| serve(name, Arc::new(config)).ok().flatten());
    let file = found.ok_or_else(no_file)?;
    let mut response = HttpResponse::Ok();
    response
        .insert_header((CONTENT_TYPE, file.content_type))
        .insert_header((CACHE_CONTROL, CACHED))
        .insert_header((CONTENT_SECURITY_POLICY, POLICY));
    Ok(response.body(file.bytes.into_owned()))
}

#[cfg(test)]
mod tests {
    use actix_web::body::to_bytes;

    use super::*;

    async fn text(name: &str) -> String {
        let body = to_bytes(file(name).unwrap().into_body()).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[actix_web::test]
    async fn the_page_needs_no_script_of_its_own_text_and_no_other_host() {
        let page = text("index.html").await;
        for script in page.split("<script").skip(1) {
            assert!(script.trim_start().starts_with("src=\"./"), "{script}");
        }
        assert!(!page.contains("://") && !page.contains("<style"), "{page}");
        let start = text("swagger-initializer.js").await;
        assert!(start.contains("../openapi.json"), "{start}");
        assert!(start.contains("\"supportedSubmitMethods\": []"), "{start}");
        assert!(start.contains("\"validatorUrl\": \"none\""), "{start}");
        assert!(!start.contains("oauth2RedirectUrl\": \"http"), "{start}");
    }

    #[test]
    fn the_page_for_answers_of_authorization_servers_is_not_served() {
        for name in ["oauth2-redirect.html", "oauth2-redirect.js", "nothing", "../Cargo.toml"] {
            assert!(file(name).is_err(), "{name}");
        }
    }
}
