//! Caddy.

use std::process::Command;

use super::front::{Forwards, Plan};
use super::{beside, readme};
use crate::install::CADDY;
use crate::program::{Program, output};

super::facts_behind!(CADDY, start);
super::facts_beside!(CADDY, start_from_readme);

fn start(plan: &Plan) -> Program {
    let backend = plan.backend;
    let forwards = match plan.forwards {
        // Caddy writes this one by itself.
        Forwards::XForwardedFor => "",
        Forwards::Forwarded => "header_up Forwarded \"{header.Forwarded}, for={remote_host};proto=https\"",
    };
    let basic = plan.login.map_or(String::new(), |(name, password)| {
        let hash = output(Command::new("caddy").args(["hash-password", "--plaintext", password]));
        format!("basicauth {{\n{name} {}\n}}", hash.trim())
    });
    let handle = plan.prefix.map_or(String::from("handle"), |prefix| format!("handle_path {prefix}*"));
    let site = format!(
        "https://login.house.test {{
    {basic}
    {handle} {{
        reverse_proxy 127.0.0.1:{backend} {{
            {forwards}
            transport http {{
                keepalive 60s
            }}
        }}
    }}
}}
"
    );
    run(plan, &site)
}

/// Starts Caddy with the lines of the README, and an application that says which path it was asked for.
fn start_from_readme(plan: &Plan) -> Program {
    let path = plan.public_path;
    let mut site = readme::block("caddy", plan).replace("login.example.org", "https://login.house.test");
    if !path.is_empty() {
        let strip = readme::code("uri strip_prefix").replace("/auth", path);
        let (before, rest) = site.split_once("@portcullis path").unwrap();
        let (paths, after) = rest.split_once('\n').unwrap();
        let paths = paths.replace(" /", &format!(" {path}/"));
        let after = after.replacen("reverse_proxy", &format!("{strip}\n        reverse_proxy"), 1);
        site = format!("{before}@portcullis path{paths}\n{after}");
    }
    let application = format!(
        "http://:{} {{\n    bind 127.0.0.1\n    respond \"{} {{uri}}\"\n}}\n",
        plan.application,
        beside::APPLICATION
    );
    run(plan, &(site + "\n" + &application))
}

/// Starts Caddy with `sites`, of which `https://login.house.test` is the one for browsers.
fn run(plan: &Plan, sites: &str) -> Program {
    let Plan { port, dir, .. } = plan;
    let (certificate, key) = (plan.authority.certificate.display(), plan.authority.key.display());
    let own = format!("https://login.house.test:{port} {{\n    bind 127.0.0.1\n    tls {certificate} {key}");
    let sites = sites.replacen("https://login.house.test {", &own, 1);
    let config = format!("{{\n    admin off\n    auto_https off\n}}\n{sites}");
    let file = dir.join("Caddyfile");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    command.env("HOME", dir).env("XDG_DATA_HOME", dir).env("XDG_CONFIG_HOME", dir);
    Program::start(command, &dir.join("log"))
}
