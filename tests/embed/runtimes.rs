//! The server on every runtime that a program may have, with routes of its own beside the API, and its stop.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use portcullis::{Config, Engine, NewAccount, Server, SignedIn, StartError};
use serde_json::{Value, json};

use crate::support::PASSWORD;

fn config(dir: &std::path::Path) -> Config {
    let config = Config::builder().data_dir(dir).http(|http| http.listen("127.0.0.1:0"));
    config.password(|password| password.memory_kib(64).passes(1).threads(1)).build().unwrap()
}

/// Starts a server with a route of its own, logs in, and stops.
async fn story() {
    let dir = tempfile::tempdir().unwrap();
    let who = || web::get().to(async |who: SignedIn| who.email().to_owned());
    let server =
        Server::builder(config(dir.path())).prefix("/auth").route("/who", who).build().await.unwrap();
    let new = NewAccount::new("ada@example.org").password(PASSWORD).verified();
    server.accounts().create(new).await.unwrap();
    let url = format!("http://{}", server.address());
    let http = reqwest::Client::new();
    let log_in = json!({"email": "ada@example.org", "password": PASSWORD});
    let answer = http.post(format!("{url}/auth/v1/login")).json(&log_in).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let tokens: Value = answer.json().await.unwrap();
    let access = tokens["access_token"].as_str().unwrap();
    let answer = http.get(format!("{url}/who")).bearer_auth(access).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "ada@example.org");
    server.stop().await;
    // Everything is on disk, and the directory is free.
    let auth = Engine::start(config(dir.path())).await.unwrap();
    assert!(auth.accounts().find("ada@example.org").await.unwrap().is_some());
}

#[actix_web::test]
async fn under_a_test_of_actix() {
    story().await;
}

#[tokio::test]
async fn under_a_test_of_tokio() {
    story().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_test_of_tokio_with_threads() {
    story().await;
}

#[test]
fn under_the_main_functions_of_both() {
    #[actix_web::main]
    async fn of_actix() {
        story().await;
    }

    #[tokio::main]
    async fn of_tokio() {
        story().await;
    }

    of_actix();
    of_tokio();
}

#[tokio::test]
async fn a_second_start_over_the_same_directory_is_an_error_and_leaves_the_first_alone() {
    let dir = tempfile::tempdir().unwrap();
    let auth = Engine::start(config(dir.path())).await.unwrap();
    let second = Engine::start(config(dir.path())).await;
    assert!(matches!(second, Err(StartError::Refused(_) | StartError::Io(_))), "{second:?}");
    assert!(auth.accounts().find("ada@example.org").await.unwrap().is_none());
    // Dropped without a word, it stops in order as well.
    drop(auth);
    Engine::start(config(dir.path())).await.unwrap().stop().await;
}

#[tokio::test]
async fn a_mistake_of_the_configuration_ends_a_start_by_its_name() {
    let start = async || -> Result<(), StartError> {
        Engine::start(Config::builder().password(|password| password.passes(0)).build()?).await?;
        Ok(())
    };
    let error = start().await.unwrap_err().to_string();
    assert!(error.contains("`password.passes` must be a whole number from 1 to 10"), "{error}");
}

#[tokio::test]
async fn a_request_in_progress_is_finished_before_the_server_stops() {
    let dir = tempfile::tempdir().unwrap();
    let slow = || {
        web::get().to(async || {
            tokio::time::sleep(Duration::from_millis(800)).await;
            "done"
        })
    };
    let server = Server::builder(config(dir.path())).route("/slow", slow).build().await.unwrap();
    let url = format!("http://{}/slow", server.address());
    let request = tokio::spawn(async move { reqwest::get(url).await.unwrap().text().await.unwrap() });
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.stop().await;
    assert_eq!(request.await.unwrap(), "done");
}

/// Kind: the 404 of the API hides what the program has below the same prefix.
#[tokio::test]
async fn pages_that_mailed_links_lead_to_are_the_programs_wherever_they_stand() {
    const PAGES: [&str; 6] = ["verify", "reset", "unlock", "email-change", "email-undo", "invitation"];
    for prefix in ["/auth", ""] {
        let dir = tempfile::tempdir().unwrap();
        let own = move |config: &mut web::ServiceConfig| {
            config.route(&format!("{prefix}/verify"), web::get().to(async || "my page"));
        };
        let server = Server::builder(config(dir.path())).prefix(prefix).configure(own).build().await.unwrap();
        let url = format!("http://{}{prefix}", server.address());
        assert_eq!(reqwest::get(format!("{url}/verify")).await.unwrap().text().await.unwrap(), "my page");
        for page in PAGES.into_iter().skip(1).chain(["nowhere"]) {
            let answer = reqwest::get(format!("{url}/{page}")).await.unwrap();
            assert_eq!(answer.status(), 404, "{page}");
            assert!(answer.headers().contains_key("content-security-policy"), "{page}");
            assert!(answer.text().await.unwrap().contains("not_found"), "{page}");
        }
        server.stop().await;
    }
}

/// Kind: the guard of connections takes a route of the program for a client that stands still or sends a head without an end.
#[tokio::test]
async fn routes_beside_the_api_may_be_large_and_many_on_one_connection() {
    for prefix in ["/auth", ""] {
        let dir = tempfile::tempdir().unwrap();
        let upload = || web::post().to(async |body: web::Bytes| body.len().to_string());
        let large = || {
            web::get().to(async |request: HttpRequest| {
                HttpResponse::Ok().body(vec![b'x'; 2 * 1024 * 1024 + request.path().len()])
            })
        };
        let own = move |config: &mut web::ServiceConfig| {
            let limit = web::PayloadConfig::new(8 * 1024 * 1024);
            config.app_data(limit).route("/upload", upload()).route("/large", large());
        };
        let server = Server::builder(config(dir.path())).prefix(prefix).configure(own).build().await.unwrap();
        let url = format!("http://{}", server.address());
        let http = reqwest::Client::builder().pool_max_idle_per_host(1).build().unwrap();
        let padding = "x".repeat(1000);
        for _ in 0..40 {
            let request = http.get(format!("{url}/large")).header("x-padding", &padding);
            assert_eq!(request.send().await.unwrap().bytes().await.unwrap().len(), 2 * 1024 * 1024 + 6);
            let request = http.post(format!("{url}/upload")).body(vec![b'y'; 300_000]);
            assert_eq!(request.send().await.unwrap().text().await.unwrap(), "300000");
            let request = http.get(format!("{url}{prefix}/healthz")).header("x-padding", &padding);
            assert_eq!(request.send().await.unwrap().status(), 200);
        }
        // The headers of the API are not on them, and its limit of bodies is still on the API.
        let own = http.get(format!("{url}/large")).send().await.unwrap();
        assert!(!own.headers().contains_key("content-security-policy"));
        let body = format!("\"{}\"", "x".repeat(20_000));
        let request = http.post(format!("{url}{prefix}/v1/login")).header("content-type", "application/json");
        assert_eq!(request.body(body).send().await.unwrap().status(), 413);
        server.stop().await;
    }
}
