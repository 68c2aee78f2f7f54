//! HAProxy.

use std::process::Command;

use super::front::{Forwards, Plan};
use crate::install::HAPROXY;
use crate::program::Program;

super::facts_behind!(HAPROXY, start);

fn start(plan: &Plan) -> Program {
    let Plan { port, backend, dir, .. } = plan;
    let both = plan.authority.both.display();
    let forwards = match plan.forwards {
        Forwards::XForwardedFor => "option forwardfor",
        Forwards::Forwarded => "http-request add-header Forwarded for=%[src];proto=https",
    };
    let (users, basic) = plan.login.map_or_else(Default::default, |(name, password)| {
        let users = format!("userlist house\n    user {name} insecure-password {password}\n");
        (users, "http-request auth realm House unless { http_auth(house) }")
    });
    let prefix =
        plan.prefix.map_or(String::new(), |prefix| format!("http-request replace-path {prefix}(.*) /\\1"));
    let config = format!(
        "global
    maxconn 256
    tune.bufsize 65536
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 60s
{users}frontend house
    bind 127.0.0.1:{port} ssl crt {both} alpn h2,http/1.1
    {basic}
    {prefix}
    {forwards}
    default_backend portcullis
backend portcullis
    http-reuse always
    server one 127.0.0.1:{backend}
"
    );
    let file = dir.join("haproxy.cfg");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    Program::start(command, &dir.join("log"))
}
