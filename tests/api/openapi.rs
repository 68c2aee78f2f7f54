//! `/openapi.json`, and the pages of problems. That the answers are as the document says, every other test asserts by
//! `support::conformance`.

use std::collections::BTreeSet;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::conformance::{document, faults};
use crate::support::{ORIGIN, TestServer, send};

#[actix_web::test]
async fn the_document_is_the_reviewed_one() {
    let mut document = document().clone();
    document["info"]["version"] = json!("[version]");
    insta::assert_snapshot!("openapi", serde_json::to_string_pretty(&document).unwrap());
}

#[actix_web::test]
async fn the_document_is_served_to_everybody_and_is_not_sent_again_to_who_has_it() {
    let server = TestServer::start();
    let answer = server.get("/openapi.json").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(&answer.body, document());
    assert_eq!(answer.body["servers"], json!([{"url": ORIGIN}]));
    assert_eq!(answer.header("cache-control"), "public, max-age=300");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let tag = answer.header("etag").to_owned();
    for (names, status) in [
        (tag.clone(), 304),
        (format!("\"x\", W/{tag}"), 304),
        (String::from("*"), 304),
        (String::from("\"x\""), 200),
    ] {
        let again = send(server.request(Method::GET, "/openapi.json").header("if-none-match", &names)).await;
        assert_eq!(again.status.as_u16(), status, "{names}");
        assert_eq!(again.header("etag"), tag);
    }
}

/// Asserts that every reference of `value` leads somewhere.
fn check_references(value: &Value) {
    match value {
        Value::Object(members) => {
            if let Some(to) = value["$ref"].as_str() {
                assert!(document().pointer(to.trim_start_matches('#')).is_some(), "{to} leads nowhere");
            }
            members.values().for_each(check_references);
        }
        Value::Array(items) => items.iter().for_each(check_references),
        _ => {}
    }
}

#[test]
fn what_the_document_refers_to_is_in_it_and_what_is_in_it_is_referred_to() {
    check_references(document());
    let text = document().to_string();
    for part in ["schemas", "responses", "headers", "examples"] {
        for name in document()["components"][part].as_object().unwrap().keys() {
            let referred = format!("\"#/components/{part}/{name}\"");
            // No operation answers with these: the method has none, or the handler is not of this server.
            let is_of_none = ["Allow", "Vary", "method_not_allowed", "no_engine"].contains(&name.as_str());
            assert!(is_of_none || text.contains(&referred), "{name} is not used");
        }
    }
}

#[test]
fn bodies_that_requests_may_have_refuse_other_members_as_the_server_does() {
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            let Some(form) = schema["$ref"].as_str() else { continue };
            let form = document().pointer(form.trim_start_matches('#')).unwrap();
            assert_eq!(form["additionalProperties"], json!(false), "{method} {path}");
        }
    }
}

#[actix_web::test]
async fn every_method_that_the_document_does_not_name_is_refused_with_those_that_it_does() {
    let server = TestServer::start();
    for (path, item) in document()["paths"].as_object().unwrap() {
        let named: BTreeSet<String> =
            item.as_object().unwrap().keys().map(|name| name.to_uppercase()).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let path = path.replace(['{', '}'], "");
            let answer = send(server.request(method.parse().unwrap(), &path)).await;
            if named.contains(method) {
                assert_ne!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                continue;
            }
            assert_eq!(answer.problem(), (405, "method_not_allowed"), "{method} {path}");
            let allowed: BTreeSet<String> = answer
                .header("allow")
                .split(", ")
                .filter(|name| *name != "HEAD")
                .map(str::to_owned)
                .collect();
            assert_eq!(allowed, named, "{path}");
            assert_eq!(answer.header("allow").contains("HEAD"), named.contains("GET"), "{path}");
        }
    }
}

#[actix_web::test]
async fn a_method_that_a_path_does_not_have_is_refused_for_that_whatever_its_body_says() {
    let server = TestServer::start();
    for (path, problem) in [
        ("/v1/login", (405, "method_not_allowed")),
        ("/v1/sessions/00", (405, "method_not_allowed")),
        ("/v1/nothing", (404, "not_found")),
        ("/v1/me", (400, "unexpected_body")),
        ("/healthz", (400, "unexpected_body")),
    ] {
        let answer = send(server.request(Method::GET, path).body("{\"x\":1}")).await;
        assert_eq!(answer.problem(), problem, "{path}");
    }
}

#[actix_web::test]
async fn an_api_key_is_taken_by_http_basic_where_the_document_says_so_alone() {
    let server = TestServer::start();
    let scopes = ["introspect", "revocations", "metrics", "admin:read", "admin:write"];
    let (key, _) = server.api_key(&scopes, None).await;
    let mut taken = Vec::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let security = operation["security"].as_array().unwrap();
            let has = |scheme: &str| security.iter().any(|one| one.get(scheme).is_some());
            if !has("apiKey") {
                assert!(!has("basic"), "{method} {path}");
                continue;
            }
            let method: Method = method.to_uppercase().parse().unwrap();
            let path = path.replace(['{', '}'], "");
            let request = server.request(method.clone(), &path).basic_auth("any", Some(&key));
            let body = json!({"token": "x"});
            let request = if method == Method::GET { request } else { request.json(&body) };
            let answer = send(request).await;
            assert_eq!(answer.status != StatusCode::UNAUTHORIZED, has("basic"), "{method} {path}");
            taken.extend(has("basic").then_some(path));
        }
    }
    assert_eq!(taken, ["/v1/introspect", "/v1/revocations"]);
}

#[actix_web::test]
async fn every_problem_has_a_page_for_programs_and_one_for_browsers() {
    let server = TestServer::start();
    for (code, example) in document()["components"]["examples"].as_object().unwrap() {
        let page = example["value"]["type"].as_str().unwrap().strip_prefix(ORIGIN).unwrap();
        let answer = server.get(page).await;
        assert_eq!(answer.status, StatusCode::OK, "{code}");
        assert_eq!(answer.body["code"], json!(code));
        assert_eq!(answer.body["status"], example["value"]["status"]);
        assert_eq!(answer.body["type"], example["value"]["type"]);

        let browser = send(server.request(Method::GET, page).header("accept", "text/html,*/*;q=0.8")).await;
        assert_eq!(browser.header("content-type"), "text/html; charset=utf-8");
        assert_eq!(browser.header("vary"), "accept");
        let policy = browser.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
        assert!(
            policy.ends_with("'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
            "{policy}"
        );
        let html = String::from_utf8(browser.bytes).unwrap();
        assert!(html.contains(&format!("<code>{code}</code>")), "{html}");
        assert!(!html.contains("<script"), "{html}");
    }
    // As in the member `code`, too: a client has that at hand.
    let (by_code, by_type) =
        (server.get("/problems/weak_password").await, server.get("/problems/weak-password").await);
    assert_eq!(by_code.status, StatusCode::OK);
    assert_eq!(by_code.body, by_type.body);
    for path in ["/problems/nothing", "/problems/%2e%2e", "/problems/WEAK-PASSWORD"] {
        assert_eq!(server.get(path).await.problem(), (404, "not_found"), "{path}");
    }
}

#[test]
fn a_body_with_a_fault_is_not_taken_for_one_of_the_document() {
    let schema = json!({"$ref": "#/components/schemas/User"});
    let user = json!({
        "id": "00", "email": "a@b.org", "email_verified": true, "name": null, "roles": [], "created_at": "x"
    });
    assert_eq!(faults(&schema, &user), Vec::<String>::new());
    for (member, value) in
        [("name", json!(1)), ("roles", json!([1])), ("other", json!(1)), ("email", Value::Null)]
    {
        let mut wrong = user.clone();
        wrong[member] = value;
        assert_eq!(faults(&schema, &wrong).len(), 1, "{wrong}");
    }
    let mut short = user;
    short.as_object_mut().unwrap().remove("name");
    assert_eq!(faults(&schema, &short), ["/name is missing"]);
}
