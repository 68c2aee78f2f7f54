//! A private certificate authority, and a certificate of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::program::output;

/// Names in the certificate. `login.house.test` and `app.house.test` are one site, `evil.test` is another.
const NAMES: &str = "DNS:mail.house.test,DNS:login.house.test,DNS:app.house.test,DNS:evil.test,IP:127.0.0.1";

/// The files of an authority and of a server that it vouches for.
pub struct Authority {
    /// The certificate of the authority.
    pub root: PathBuf,
    /// The certificate of the server.
    pub certificate: PathBuf,
    /// The key of the server.
    pub key: PathBuf,
    /// Certificate and key in one file.
    pub both: PathBuf,
}

impl Authority {
    /// Makes a new authority in `dir`.
    pub fn new(dir: &Path) -> Self {
        let root = dir.join("root.pem");
        let root_key = dir.join("root.key");
        let authority = Self {
            root: root.clone(),
            certificate: dir.join("server.pem"),
            key: dir.join("server.key"),
            both: dir.join("both.pem"),
        };
        let request = |subject: &str, key: &Path, certificate: &Path| {
            let mut command = Command::new("openssl");
            command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
            command.args(["-days", "2", "-subj", subject, "-keyout"]).arg(key).arg("-out").arg(certificate);
            command
        };
        output(&mut request("/CN=House", &root_key, &root));
        let mut server = request("/CN=login.house.test", &authority.key, &authority.certificate);
        server.arg("-CA").arg(&root).arg("-CAkey").arg(&root_key);
        server.args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext"]);
        output(server.arg(format!("subjectAltName={NAMES}")));
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        std::fs::write(&authority.both, read(&authority.certificate) + &read(&authority.key)).unwrap();
        authority
    }
}
