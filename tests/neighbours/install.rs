//! Which neighbours are installed on this machine, and how to install the others.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A neighbour that a test needs.
#[derive(Debug)]
pub struct Need {
    name: &'static str,
    /// A command that succeeds only where the neighbour is installed.
    probe: &'static [&'static str],
    /// How to install it.
    hint: &'static str,
    /// Whether no package can provide it, so that its absence never fails a test.
    is_of_machine: bool,
}

const fn program(name: &'static str, probe: &'static [&'static str], hint: &'static str) -> Need {
    Need { name, probe, hint, is_of_machine: false }
}

pub const CURL: Need = program("curl", &["curl", "--version"], "apt-get install curl");
pub const OPENSSL: Need = program("openssl", &["openssl", "version"], "apt-get install openssl");
pub const POSTFIX: Need = program("postfix", &["postconf", "-d", "mail_version"], "apt-get install postfix");
pub const AIOSMTPD: Need =
    program("aiosmtpd", &["python3", "-c", "import aiosmtpd"], "python3 -m pip install aiosmtpd");
pub const NGINX: Need = program("nginx", &["nginx", "-v"], "apt-get install nginx");
pub const CADDY: Need = program("caddy", &["caddy", "version"], "apt-get install caddy");
pub const HAPROXY: Need = program("haproxy", &["haproxy", "-v"], "apt-get install haproxy");
pub const PROMETHEUS: Need =
    program("prometheus", &["prometheus", "--version"], "apt-get install prometheus");
pub const PROMTOOL: Need = program("promtool", &["promtool", "--version"], "apt-get install prometheus");
pub const PYJWT: Need = program(
    "PyJWT",
    &["python3", "-c", "import jwt, requests, cryptography"],
    "python3 -m pip install 'pyjwt[crypto]' requests",
);
pub const SCHEMATHESIS: Need =
    program("schemathesis", &["st", "--version"], "python3 -m pip install schemathesis==4.32.5");
pub const CHROMIUM: Need = program("chromium", &["chromium", "--version"], "apt-get install chromium");
pub const NODE: Need = program("node", &["node", "--version"], "apt-get install nodejs");
pub const FAKETIME: Need = program("libfaketime", &["faketime", "--version"], "apt-get install faketime");

/// The folder into which npm installs what these tests use.
macro_rules! node_modules {
    ($($path:tt)*) => {
        concat!(env!("CARGO_TARGET_TMPDIR"), "/../neighbours/node_modules", $($path)*)
    };
}

/// Declares a package of npm.
macro_rules! npm {
    ($name:literal) => {
        program(
            concat!("the package ", $name, " of npm"),
            &["sh", "-c", concat!("node --version && test -f ", node_modules!("/", $name, "/package.json"))],
            concat!("npm install --prefix target/neighbours ", $name),
        )
    };
}

pub const JOSE: Need = npm!("jose");
pub const JSONWEBTOKEN: Need = npm!("jsonwebtoken");
pub const PLAYWRIGHT: Need = npm!("playwright-core");
pub const TYPESCRIPT: Need = npm!("typescript");
pub const REACT: Need = npm!("react");
pub const REACT_DOM: Need = npm!("react-dom");
pub const TYPES_OF_REACT: Need = npm!("@types/react-dom");
pub const VITE: Need = npm!("vite");
pub const PLUGIN_REACT: Need = npm!("@vitejs/plugin-react");

/// Copies `script` to a folder of its own in which node finds its packages.
pub fn node_folder(script: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(script, folder.path().join(script.file_name().unwrap())).unwrap();
    std::os::unix::fs::symlink(node_modules!(""), folder.path().join("node_modules")).unwrap();
    folder
}

/// A namespace of mounts or processes, which containers may not be allowed to make.
pub const NAMESPACES: Need = Need {
    name: "a namespace",
    probe: &["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "none", "/mnt"],
    hint: "run the tests as root, where unshare and mount are allowed",
    is_of_machine: true,
};
/// Root, which starts Postfix as the users of its package, and mounts file systems.
pub const ROOT: Need = Need {
    name: "root",
    probe: &["sh", "-c", "test \"$(id -u)\" = 0"],
    hint: "run the tests as root",
    is_of_machine: true,
};

/// Returns whether all of `needs` are installed. Otherwise says which one is missing, and fails the test if all neighbours
/// must be there. With `PORTCULLIS_NEIGHBOURS=none` nothing counts as installed.
pub fn installed(needs: &[Need]) -> bool {
    let wanted = std::env::var("PORTCULLIS_NEIGHBOURS").unwrap_or_default();
    if wanted == "none" {
        return false;
    }
    let Some(missing) = needs.iter().find(|need| !succeeds(need.probe)) else { return true };
    let Need { name, hint, .. } = missing;
    assert!(wanted != "all" || missing.is_of_machine, "{name} is not installed ({hint})");
    let test = std::thread::current();
    let test = test.name().unwrap_or_default();
    // The harness hides what a passing test prints.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {name} is not installed ({hint})");
    false
}

fn succeeds(command: &[&str]) -> bool {
    let mut probe = Command::new(command[0]);
    probe.args(&command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

/// Returns a file of the folder of these tests.
pub fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/neighbours").join(name)
}
