//! `portcullis health`, as a container asks it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;

use crate::support::process::{BINARY, Process, Ran};

fn health(args: &[&str]) -> Ran {
    Ran::of(Command::new(BINARY).arg("health").args(args))
}

/// Listens, answers one request with `answer` and returns the URL. With an empty answer it waits until the client leaves.
fn listener(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 4096]);
        if answer.is_empty() {
            let _ = stream.read(&mut [0; 1]);
        }
        let _ = stream.write_all(answer.as_bytes());
    });
    url
}

/// Kind of fault: a check of health that says yes when the server does not serve, or that hangs.
#[test]
fn health_is_told_by_the_exit_code_and_one_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path());
    let url = process.url.clone();
    assert_eq!(health(&["--url", &url]).exits(0).text, "ok\n");
    assert_eq!(health(&["--url", &url, "--ready"]).exits(0).text, "ready\n");
    health(&["--url", &url, "--json"]).exits(0).says("\"status\":\"ok\"");
    // Without a URL it asks at the configured listener, also if that is every address.
    let port = url.rsplit_once(':').unwrap().1;
    let mut command = Command::new(BINARY);
    let asked = command.arg("health").env("PORTCULLIS__HTTP__LISTEN", format!("0.0.0.0:{port}"));
    let output = asked.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(output.stdout, b"ok\n");

    assert_eq!(process.stop(), Some(0));
    health(&["--url", &url]).exits(3).says("no answer from");
    health(&["--url", &listener(""), "--timeout", "1"]).exits(3).says("timed out");
    health(&["--url", &listener("SSH-2.0-OpenSSH_9.9\r\n")]).exits(3).says("no answer of HTTP");
    let body = "{\"status\":\"not_ready\",\"reasons\":[\"storage_full\"]}";
    let not_ready =
        format!("HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let said = health(&["--url", &listener(not_ready.leak()), "--ready"]).exits(1);
    said.says("portcullis: not ready: storage_full");
    health(&["--url", &listener("HTTP/1.1 200 OK\r\n\r\nhello")]).exits(1).says("not as Portcullis does");
    health(&["--url", "https://localhost"]).exits(2).says("http://host:port");
    health(&[]).exits(2).says("--url");
}
