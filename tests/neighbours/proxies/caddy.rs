//! Caddy.

use std::process::Command;

use super::front::{Forwards, Plan};
use crate::install::CADDY;
use crate::program::{Program, output};

super::facts_behind!(CADDY, start);

fn start(plan: &Plan) -> Program {
    let Plan { port, backend, dir, .. } = plan;
    let (certificate, key) = (plan.authority.certificate.display(), plan.authority.key.display());
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
    let config = format!(
        "{{
    admin off
    auto_https off
}}
https://login.house.test:{port} {{
    bind 127.0.0.1
    tls {certificate} {key}
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
    let file = dir.join("Caddyfile");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("caddy");
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file);
    command.env("HOME", dir).env("XDG_DATA_HOME", dir).env("XDG_CONFIG_HOME", dir);
    Program::start(command, &dir.join("log"))
}
