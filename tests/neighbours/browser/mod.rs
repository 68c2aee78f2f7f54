//! Chromium, with pages of an application on a sub-domain, of a sibling host and of another site.

use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::authority::Authority;
use super::install::{CHROMIUM, NGINX, OPENSSL, PLAYWRIGHT, installed, node_folder, script};
use super::program::{Program, free_port};
use super::server::Server;
use super::support::PASSWORD;

const NAME: &str = "ada@near.test";

/// Runs one fact of `browser/facts.mjs` in a new browser, before a server that lets pages of the application and of the
/// other site call it.
fn holds(fact: &str) {
    if !installed(&[CHROMIUM, PLAYWRIGHT, NGINX, OPENSSL]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let origin = |host: &str| format!("https://{host}:{port}");
    let allowed = format!("{},{}", origin("app.house.test"), origin("evil.test"));
    let login = origin("login.house.test");
    let server = Server::with(&[
        ("http.public_origin", &login),
        ("http.trusted_proxies", "127.0.0.1/32"),
        ("http.allowed_origins", &allowed),
    ]);
    server.sign_up(NAME).is(201);
    let authority = Authority::new(dir.path());
    let mut proxy = Command::new("nginx");
    proxy.args(["-e", "stderr", "-c"]).arg(sites(dir.path(), port, server.port(), &authority));
    let _proxy = Program::start(proxy, &dir.path().join("proxy")).listens_at(port);
    let folder = node_folder(&script("browser/facts.mjs"));
    let options = json!({
        "fact": fact, "login": login, "app": origin("app.house.test"), "sibling": origin("mail.house.test"),
        "evil": origin("evil.test"), "email": NAME, "password": PASSWORD,
    });
    let mut node = Command::new("node");
    node.arg(folder.path().join("facts.mjs")).arg(options.to_string()).env("HOME", dir.path());
    let mut node = Program::start(node, &dir.path().join("node"));
    assert!(node.ends().success(), "{fact}: {}", node.said());
}

/// Writes the configuration of nginx: the server at one name, empty pages at the others.
fn sites(dir: &Path, port: u16, backend: u16, authority: &Authority) -> std::path::PathBuf {
    let (certificate, key) = (authority.certificate.display(), authority.key.display());
    let file = dir.join("nginx.conf");
    let folder = dir.display();
    let tls = format!(
        "listen 127.0.0.1:{port} ssl http2; ssl_certificate {certificate}; ssl_certificate_key {key};"
    );
    let config = format!(
        "daemon off;
error_log stderr;
pid {folder}/pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/unused; uwsgi_temp_path {folder}/unused; scgi_temp_path {folder}/unused;
    server {{
        {tls}
        server_name login.house.test;
        location / {{
            proxy_pass http://127.0.0.1:{backend};
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        }}
    }}
    server {{
        {tls}
        server_name app.house.test mail.house.test evil.test;
        default_type text/html;
        location / {{ return 200 '<!doctype html><title>page</title>'; }}
    }}
}}
"
    );
    std::fs::write(&file, config).unwrap();
    file
}

#[test]
fn an_application_on_a_sub_domain_logs_in_by_cookie_and_stays_logged_in() {
    holds("stays_logged_in");
}

#[test]
fn a_page_of_another_site_gets_a_refusal_that_it_can_read() {
    holds("another_site_is_refused");
}

#[test]
fn a_form_of_another_origin_neither_changes_anything_nor_logs_in() {
    holds("forms_are_refused");
}

#[test]
fn without_javascript_every_answer_is_shown_as_json() {
    holds("no_javascript");
}
