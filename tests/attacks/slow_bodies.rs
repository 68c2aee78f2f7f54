//! Connections that are opened and held: I send a head that announces a body and then no body, or only a part of a
//! head. I want every file descriptor of the process, so that no other client gets in and nothing can be written.
//!
//! Bounds: each such connection is answered and closed after the timeout for bodies, on every path; meanwhile the
//! journal can be written and the operator gets in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::PASSWORD;
use crate::support::process::{BINARY, Process};
use crate::support::raw::connect_from;

/// The hard limit of descriptors. The process starts with fewer, and may raise its own limit up to this one.
const LIMIT: usize = 300;
const TIMEOUT: Duration = Duration::from_mins(1);

const HEADS: [&str; 5] = [
    "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n",
    "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"ema",
    "POST /nowhere HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n",
    "DELETE /v1/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
];

/// Connects and sends `bytes`.
fn connect(process: &Process, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(process.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream
}

/// Connects to the operator's socket.
fn connect_as_operator(data: &Path) -> UnixStream {
    let stream = UnixStream::connect(data.join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// Asserts that the operator can make an account, which also writes to the journal.
fn assert_operator_gets_in(data: &Path) {
    let mut operator = connect_as_operator(data);
    let add = json!({"operation": "user_add", "email": "ada@test.org", "password": PASSWORD, "roles": []});
    writeln!(operator, "{add}").unwrap();
    let mut line = String::new();
    BufReader::new(operator).read_line(&mut line).expect("no way in for the operator");
    let answer: Value = serde_json::from_str(&line).unwrap();
    assert!(answer["ok"].is_object(), "{answer}");
}

/// Asserts that a connection gets status 408 and is closed.
fn assert_timed_out(head: &str, mut stream: TcpStream) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap_or_else(|error| panic!("{head} is held: {error}"));
    assert!(answer.starts_with("HTTP/1.1 408 "), "{head}: {answer}");
    assert!(answer.contains("request_timeout"), "{head}: {answer}");
    assert!(answer.to_lowercase().contains("\r\nconnection: close\r\n"), "{head}: {answer}");
}

#[test]
fn held_connections_are_closed_and_leave_descriptors_for_others() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut command = Command::new("sh");
    let limits = format!("ulimit -Sn 64 && ulimit -Hn {LIMIT} && exec \"$0\" \"$@\"");
    command.args(["-c", &limits, BINARY, "serve", "--data-dir"]).arg(&data);
    // The descriptors are counted in /proc.
    command.env("PORTCULLIS_TRACEABLE", "1");
    let process = Process::spawn(command);

    // A kept connection on which I send the first byte of a second request and no more.
    let mut kept = connect(&process, "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(kept.read(&mut [0; 4096]).unwrap() > 0);
    kept.write_all(b"G").unwrap();
    // Every kind of head without its body, and then more connections than there are descriptors.
    let mut held: Vec<_> = HEADS.iter().map(|head| connect(&process, head)).collect();
    // One network holds a few of them, so I use many.
    held.extend((0..LIMIT + 50).map(|number| {
        let mut stream = connect_from(&process.url, [127, 1, (number / 4) as u8, 1]);
        let _ = stream.write_all(HEADS[0].as_bytes());
        stream
    }));
    // Half a line on the operator's socket.
    let mut silent = connect_as_operator(&data);
    silent.write_all(b"{").unwrap();

    assert_operator_gets_in(&data);
    let used = std::fs::read_dir(format!("/proc/{}/fd", process.child.id())).unwrap().count();
    assert!((64..LIMIT - 50).contains(&used), "{used} descriptors of {LIMIT}");
    for (head, stream) in HEADS.iter().zip(held) {
        assert_timed_out(head, stream);
    }
    assert_eq!(silent.read(&mut [0; 64]).expect("half a line holds an operator's connection"), 0);
    while kept.read(&mut [0; 4096]).expect("the first byte of a request holds a connection") > 0 {}
}

/// An honest client that sends in time is answered, in however many pieces its body arrives.
#[test]
fn a_body_in_pieces_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(&dir.path().join("data"));
    let body = json!({"email": "ada@test.org", "password": PASSWORD}).to_string();
    let (one, two) = body.split_at(20);
    let head = "POST /v1/signup HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let first = format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n", one.len());
    let mut stream = connect(&process, &first);
    std::thread::sleep(Duration::from_millis(50));
    write!(stream, "{:x}\r\n{two}\r\n0\r\n\r\n", two.len()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 201 "), "{line}");
}
