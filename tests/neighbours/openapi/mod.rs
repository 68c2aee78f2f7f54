//! Programs that read the description of the interface: schemathesis makes requests of `/openapi.json`, as many as it can
//! think of, and compares the answers; a shell runs the lines of `src/API.md`.

use std::io::Write;
use std::process::{Command, Stdio};

use super::install::{CURL, SCHEMATHESIS, installed, script};
use super::server::{Server, set};
use super::support::process::BINARY;

const NAME: &str = "root@near.test";
/// Another one than those of the examples, so that no example deletes the account.
const PASSWORD: &str = "a phrase for the fuzzer alone";

/// A server with cheap passwords and without limits that requests could meet.
fn server() -> Server {
    let classes =
        ["login", "signup", "refresh", "forgot", "reset", "verify", "unlock", "check", "rejected", "change"];
    let rates = classes.iter().flat_map(|class| {
        ["burst", "per_minute"].map(|what| (format!("throttle.{class}.{what}"), String::from("1000000")))
    });
    let mut settings: Vec<(String, String)> = rates.collect();
    for (name, value) in [
        // Loopback would be exempt, and answers would say nothing of limits.
        ("throttle.exempt_networks", "192.0.2.0/24"),
        ("signup.verify_email", "required"),
        ("mail.console", "false"),
        ("reset.mails_per_network", "1000000"),
    ] {
        settings.push((name.to_owned(), value.to_owned()));
    }
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
    Server::with(&settings)
}

/// Makes the administrator that schemathesis logs in as.
fn add_administrator(server: &Server) {
    let mut command = Command::new(BINARY);
    command
        .args(["user", "add", NAME, "--role", "admin", "--password-stdin", "--data-dir"])
        .arg(server.data());
    set(&mut command, &[("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0")]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{PASSWORD}").unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn schemathesis_finds_no_answer_that_the_document_does_not_foresee() {
    if !installed(&[SCHEMATHESIS]) {
        return;
    }
    let server = server();
    add_administrator(&server);
    let examples = std::env::var("PORTCULLIS_SCHEMATHESIS_EXAMPLES").unwrap_or_else(|_| String::from("30"));
    let mut command = Command::new("st");
    command.arg("--config-file").arg(script("openapi/schemathesis.toml"));
    command.arg("run").arg(format!("{}/openapi.json", server.url()));
    command.args(["--phases", "examples,coverage,fuzzing,stateful", "--workers", "1", "--seed", "1"]);
    command.args(["--continue-on-failure", "--no-color", "--max-examples", &examples]);
    command.env("SCHEMATHESIS_HOOKS", "hooks").env("PYTHONPATH", script("openapi")).current_dir(server.dir());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("BASE_URL", server.url());
    command.env("EMAIL", NAME).env("PASSWORD", PASSWORD);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("Tested: "), "{said}");
}

/// Returns the lines of the page for a shell, each with the status that it says.
fn lines() -> Vec<(&'static str, Option<&'static str>)> {
    let page = include_str!("../../../src/API.md");
    let block = page.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let lines = block.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(" # ").map_or((line, None), |(run, status)| (run, Some(status))))
        .collect()
}

#[test]
fn the_lines_of_the_reference_answer_as_it_says() {
    if !installed(&[CURL]) {
        return;
    }
    let port = super::program::free_port().to_string();
    let address = format!("127.0.0.1:{port}");
    let server = Server::with(&[("http.listen", &address), ("signup.verify_email", "required")]);
    let mut text = String::new();
    for (line, status) in lines() {
        text += line;
        text += if status.is_some() { " | tail -1\n" } else { "\n" };
    }
    let text = text.replace(":8080", &format!(":{port}"));
    let output = Command::new("sh").arg("-c").arg(&text).current_dir(server.dir()).output().unwrap();
    let answered = String::from_utf8(output.stdout).unwrap();
    let answered: Vec<_> = answered.lines().map(|line| &line[line.len().saturating_sub(3)..]).collect();
    let expected: Vec<_> = lines().into_iter().filter_map(|(_, status)| status).collect();
    assert!(expected.len() > 10, "{expected:?}");
    assert_eq!(answered, expected, "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}
