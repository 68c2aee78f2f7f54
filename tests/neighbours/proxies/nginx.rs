//! nginx.

use std::process::Command;

use super::front::{Forwards, Plan};
use super::{beside, readme};
use crate::install::NGINX;
use crate::program::Program;

super::facts_behind!(NGINX, start);
super::facts_beside!(NGINX, start_from_readme);

fn start(plan: &Plan) -> Program {
    let Plan { backend, dir, .. } = plan;
    let dir = dir.display();
    let forwards = match plan.forwards {
        Forwards::XForwardedFor => "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        Forwards::Forwarded => {
            "proxy_set_header Forwarded \"$http_forwarded, for=$remote_addr;proto=https\";"
        }
    };
    let basic = plan.login.map_or(String::new(), |(name, password)| {
        std::fs::write(plan.dir.join("passwords"), format!("{name}:{{PLAIN}}{password}\n")).unwrap();
        format!("auth_basic House; auth_basic_user_file {dir}/passwords;")
    });
    // The slash at the end replaces the prefix of the path.
    let (location, slash) = plan.prefix.map_or(("/", ""), |prefix| (prefix, "/"));
    let upstream =
        format!("upstream portcullis {{ server 127.0.0.1:{backend}; keepalive 8; keepalive_timeout 60s; }}");
    let locations = format!(
        "{basic}
        location {location} {{
            proxy_pass http://portcullis{slash};
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host $host;
            {forwards}
        }}"
    );
    run(plan, &upstream, &locations)
}

/// Starts nginx with the lines of the README, and an application that says which path it was asked for.
fn start_from_readme(plan: &Plan) -> Program {
    let path = plan.public_path;
    let mut locations = readme::block("nginx", plan);
    if !path.is_empty() {
        let rewrite = readme::code("rewrite ^").replace("/auth", path);
        locations = locations.replacen("~ ^/(", &format!("~ ^{path}/("), 1);
        locations = locations.replacen("{\n", &format!("{{\n    {rewrite}\n"), 1);
    }
    let application = format!(
        "server {{ listen 127.0.0.1:{}; location / {{ return 200 \"{} $request_uri\"; }} }}",
        plan.application,
        beside::APPLICATION
    );
    run(plan, &application, &locations)
}

/// Starts nginx with `above` beside its server for browsers, and `inside` in that one.
fn run(plan: &Plan, above: &str, inside: &str) -> Program {
    let Plan { port, dir, .. } = plan;
    let dir = dir.display();
    let (certificate, key) = (plan.authority.certificate.display(), plan.authority.key.display());
    let config = format!(
        "daemon off;
error_log stderr;
pid {dir}/pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {dir}/bodies;
    proxy_temp_path {dir}/answers;
    fastcgi_temp_path {dir}/unused; uwsgi_temp_path {dir}/unused; scgi_temp_path {dir}/unused;
    {above}
    server {{
        listen 127.0.0.1:{port} ssl http2;
        server_name login.house.test;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        {inside}
    }}
}}
"
    );
    let file = plan.dir.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("nginx");
    command.arg("-e").arg("stderr").arg("-c").arg(file);
    Program::start(command, &plan.dir.join("log"))
}
