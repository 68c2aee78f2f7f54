//! Connections that are opened and held: a head that says a body comes, and no body, or a part of a head. The attacker wants every descriptor of
//! the process, so that nobody else gets in and nothing can be written down.
//!
//! Bounds: each such connection is answered and closed after the deadline of bodies, on every path; while they stand the
//! journal can be written and the operator gets in.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::PASSWORD;
use crate::support::process::Process;

/// Descriptors that the process may have. It begins with fewer and may raise that itself.
const LIMIT: usize = 300;

const HEADS: [&str; 5] = [
    "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n",
    "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"ema",
    "POST /nowhere HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
    "GET /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\n",
    "DELETE /v1/login HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n",
];

#[test]
fn bodies_that_never_come_hold_no_connection_for_good_and_leave_files_and_operators_their_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut command = Command::new("sh");
    let limits = format!("ulimit -Sn 64 && ulimit -Hn {LIMIT} && exec \"$0\" \"$@\"");
    command.args(["-c", &limits, env!("CARGO_BIN_EXE_portcullis"), "serve", "--data-dir"]).arg(&data);
    let process = Process::spawn(command);
    let address = process.url.strip_prefix("http://").unwrap().to_owned();
    let open = |head: &str| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    // A second request of which the first byte comes and no more.
    let mut second = open("GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut said = [0; 4096];
    assert!(second.read(&mut said).unwrap() > 0);
    second.write_all(b"G").unwrap();
    let mut held: Vec<_> = HEADS.iter().map(|head| open(head)).collect();
    // More than there are descriptors.
    held.extend((0..LIMIT + 50).map(|_| open(HEADS[0])));
    // Somebody at the operators' door who says half a line.
    let mut silent = UnixStream::connect(data.join("admin.sock")).unwrap();
    silent.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    silent.write_all(b"{").unwrap();
    let mut operator = UnixStream::connect(data.join("admin.sock")).unwrap();
    operator.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let add = json!({"operation": "user_add", "email": "ada@test.org", "password": PASSWORD, "roles": []});
    writeln!(operator, "{add}").unwrap();
    let mut line = String::new();
    BufReader::new(operator).read_line(&mut line).expect("no way in for the operator");
    let said: Value = serde_json::from_str(&line).unwrap();
    assert!(said["ok"].is_object(), "{said}");
    let used = std::fs::read_dir(format!("/proc/{}/fd", process.child.id())).unwrap().count();
    assert!((64..LIMIT - 50).contains(&used), "{used} descriptors of {LIMIT}");
    for (head, mut stream) in HEADS.iter().zip(held) {
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap_or_else(|error| panic!("{head} is held: {error}"));
        assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("request_timeout"), "{head}: {said}");
        assert!(said.to_lowercase().contains("\r\nconnection: close\r\n"), "{said}");
    }
    assert_eq!(silent.read(&mut [0; 64]).expect("an operator's connection is held by half a line"), 0);
    while second.read(&mut [0; 4096]).expect("a connection is held by the first byte of a request") > 0 {}
}

/// Those that send in time are answered as ever, in however many pieces.
#[test]
fn a_body_in_pieces_is_read_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(&dir.path().join("data"));
    let mut stream = TcpStream::connect(process.url.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let body = json!({"email": "ada@test.org", "password": PASSWORD}).to_string();
    let (one, two) = body.split_at(20);
    let head = "POST /v1/signup HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    write!(stream, "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{one}\r\n", one.len()).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    write!(stream, "{:x}\r\n{two}\r\n0\r\n\r\n", two.len()).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 201 "), "{line}");
}
