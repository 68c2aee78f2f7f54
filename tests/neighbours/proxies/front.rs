//! A server behind a proxy, and clients in front of it.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::authority::Authority;
use crate::program::{Program, free_port, output};
use crate::reply::Reply;
use crate::server::Server;

/// The header by which a proxy names its client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Forwards {
    XForwardedFor,
    Forwarded,
}

/// What a proxy is to do.
pub struct Plan {
    pub port: u16,
    /// The port of the server.
    pub backend: u16,
    pub authority: Authority,
    pub forwards: Forwards,
    /// The prefix of the path that it strips, with a slash at both ends.
    pub prefix: Option<&'static str>,
    /// The path of the public origin, such as `/auth`, where an application beside the server has all other paths; or "".
    pub public_path: &'static str,
    /// The port of that application.
    pub application: u16,
    /// Name and password that it asks for itself.
    pub login: Option<(&'static str, &'static str)>,
    /// A folder for its files.
    pub dir: PathBuf,
}

/// Starts a proxy.
pub type Start = fn(&Plan) -> Program;

/// What a test wants other than the usual.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    pub forwards: Forwards,
    pub prefix: Option<&'static str>,
    pub public_path: &'static str,
    pub login: Option<(&'static str, &'static str)>,
    /// Settings of the server.
    pub settings: &'a [(&'a str, &'a str)],
}

/// Nothing other than the usual: `X-Forwarded-For` of a trusted proxy.
pub const USUAL: Wish<'static> =
    Wish { forwards: Forwards::XForwardedFor, prefix: None, public_path: "", login: None, settings: &[] };

/// A proxy with a server behind it.
pub struct Front {
    _program: Program,
    pub server: Server,
    /// The origin that clients see.
    pub origin: String,
    plan: Plan,
    clients: Cell<usize>,
    _dir: tempfile::TempDir,
}

impl Front {
    pub fn with(start: Start, wish: Wish<'_>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Proxies that root starts read their files as somebody else.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let port = free_port();
        let origin = format!("https://login.house.test:{port}");
        let public = format!("{origin}{}", wish.public_path);
        let usual = [("http.public_origin", public.as_str()), ("http.trusted_proxies", "127.0.0.1/32")];
        let server = Server::with(&[&usual, wish.settings].concat());
        let authority = Authority::new(dir.path());
        let plan = Plan {
            port,
            backend: server.port(),
            authority,
            forwards: wish.forwards,
            prefix: wish.prefix,
            public_path: wish.public_path,
            application: free_port(),
            login: wish.login,
            dir: dir.path().to_owned(),
        };
        let program = start(&plan).listens_at(port);
        Self { _program: program, server, origin, plan, clients: Cell::new(0), _dir: dir }
    }

    /// Returns a new client at the address 127.0.0.1, without cookies.
    pub fn client(&self) -> Client<'_> {
        self.clients.set(self.clients.get() + 1);
        Client { front: self, number: self.clients.get(), address: "127.0.0.1" }
    }

    /// Returns the ports from which connections to the server are open.
    pub fn connections(&self) -> BTreeSet<u16> {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().skip(1).map(|row| row.split_whitespace().collect::<Vec<_>>());
        let port = |address: &str| u16::from_str_radix(address.rsplit(':').next().unwrap(), 16).unwrap();
        // 01 is an established connection.
        rows.filter(|row| row[3] == "01" && port(row[2]) == self.plan.backend)
            .map(|row| port(row[1]))
            .collect()
    }
}

/// A client with cookies, which speaks HTTP/2.
pub struct Client<'a> {
    front: &'a Front,
    number: usize,
    address: &'a str,
}

impl<'a> Client<'a> {
    /// Moves the client to another address.
    pub fn at(self, address: &'a str) -> Self {
        Self { address, ..self }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], &Value::Null)
    }

    /// Posts `body` as a page of the public origin does.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let origin = [("origin", self.front.origin.as_str())];
        self.ask("POST", path, &[&origin, headers].concat(), body)
    }

    /// Sends a request; without a body if `body` is `Null`. Cookies of earlier answers go along.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Reply {
        let content = body.to_string();
        let json = [("content-type", "application/json")];
        if body.is_null() {
            self.send(method, path, headers, None)
        } else {
            self.send(method, path, &[&json, headers].concat(), Some(&content))
        }
    }

    /// Opens a stream, which the program writes down as it comes.
    pub fn stream(&self, path: &str, headers: &[&str]) -> Program {
        let mut curl = self.curl();
        curl.arg("--no-buffer");
        for header in headers {
            curl.args(["--header", header]);
        }
        curl.arg(format!("{}{path}", self.front.origin));
        Program::start(curl, &self.front.plan.dir.join(format!("stream-{}", self.number)))
    }

    fn curl(&self) -> Command {
        let Self { front, address, .. } = self;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--http2", "--path-as-is", "--interface", address]);
        curl.arg("--cacert").arg(&front.plan.authority.root);
        curl.args(["--resolve", &format!("login.house.test:{}:127.0.0.1", front.plan.port)]);
        curl
    }

    /// Sends a request with any body. Asserts that the answer came by HTTP/2.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&str>) -> Reply {
        let Self { front, number, .. } = self;
        let file = |name: &str| front.plan.dir.join(format!("{name}-{number}"));
        let mut curl = self.curl();
        curl.args(["--max-time", "90", "--request", method, "--write-out", "%{http_version}"]);
        curl.arg("--cookie").arg(file("cookies")).arg("--cookie-jar").arg(file("cookies"));
        curl.arg("--dump-header").arg(file("head")).arg("--output").arg(file("body"));
        for (name, value) in headers {
            curl.args(["--header", &format!("{name}: {value}")]);
        }
        if let Some(body) = body {
            std::fs::write(file("content"), body).unwrap();
            curl.arg("--data-binary").arg(format!("@{}", file("content").display()));
        }
        std::fs::write(file("body"), "").unwrap();
        let version = output(curl.arg(format!("{}{path}", front.origin)));
        assert_eq!(version, "2", "the answer to {method} {path} did not come by HTTP/2");
        let head = std::fs::read_to_string(file("head")).unwrap();
        // Interim answers come before.
        let head = head.trim_end().rsplit("\r\n\r\n").next().unwrap();
        Reply::of(head, &std::fs::read(file("body")).unwrap())
    }
}
