//! A log that nobody reads: the collector of the log stalls, because I flood it or because an operator pressed Ctrl-S,
//! and whoever writes into the full pipe waits for ever.
//!
//! Bound: no request and no stop waits for a reader of the log; what does not fit is counted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use crate::support::process::{BINARY, Process};

/// More requests than a pipe has room for lines, at the level of requests.
const REQUESTS: usize = 3000;

#[test]
fn requests_are_answered_and_a_stop_ends_while_nobody_reads_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(BINARY);
    command.args(["serve", "--data-dir"]).arg(dir.path()).stdout(Stdio::piped());
    for (name, value) in [
        ("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0"),
        ("PORTCULLIS__PASSWORD__MEMORY_KIB", "64"),
        ("PORTCULLIS__JOURNAL__SEGMENT_BYTES", "4194304"),
        ("RUST_LOG", "debug"),
    ] {
        command.env(name, value);
    }
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut address = None;
    while address.is_none() {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "the server did not start");
        address = line.trim().strip_prefix("ready on ").map(ToOwned::to_owned);
    }
    let address = address.unwrap();
    // From here on nobody reads, and the pipe stays open.
    let mut process = Process { child, url: format!("http://{address}") };
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for number in 0..REQUESTS {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let read = stream.read(&mut [0; 4096]);
        assert!(read.as_ref().is_ok_and(|read| *read > 0), "request {number} is not answered: {read:?}");
    }
    drop(stream);
    let asked = std::process::Command::new("kill").arg(process.child.id().to_string()).status().unwrap();
    assert!(asked.success());
    let ended = (0..300).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        process.child.try_wait().unwrap()
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "a stop waits for the reader of the log");
    drop(stdout);
}
