//! Mail servers: Postfix as strict as it can be set, and aiosmtpd, which can be told to be odd.

mod aiosmtpd;
mod postfix;
mod sasl;

use std::path::Path;

use super::authority::Authority;
use super::server::Server;

/// The name of the account by which the server logs in at the mail servers, and its password.
const LOGIN: (&str, &str) = ("portcullis", "p\u{e4}ss w0rd, \"quoted\" and = long enough");

/// Starts a server that sends its mails to 127.0.0.1, by STARTTLS if there is an authority for that, with `settings` on top.
fn server(port: u16, authority: Option<&Authority>, settings: &[(&str, &str)]) -> Server {
    let port = port.to_string();
    let mut all = vec![
        ("signup.verify_email", "required"),
        ("mail.transport", "smtp"),
        ("mail.from", "login@house.test"),
        ("mail.console", "false"),
        ("mail.smtp.host", "127.0.0.1"),
        ("mail.smtp.port", port.as_str()),
        ("RUST_LOG", "info"),
    ];
    let root = authority.map(|authority| authority.root.to_string_lossy().into_owned());
    match &root {
        Some(root) => all.push(("mail.smtp.ca_file", root)),
        None => all.push(("mail.smtp.tls", "none")),
    }
    // Later ones win.
    all.extend(settings);
    Server::with(&all)
}

/// Writes the password of [`LOGIN`] to a file in `dir`, and returns the settings that name it.
fn login(dir: &Path) -> [(&'static str, String); 2] {
    let file = dir.join("password");
    std::fs::write(&file, format!("{}\n", LOGIN.1)).unwrap();
    [
        ("mail.smtp.username", LOGIN.0.to_owned()),
        ("mail.smtp.password_file", file.to_string_lossy().into_owned()),
    ]
}
