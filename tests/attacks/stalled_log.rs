//! A log that nobody reads: the collector of the log stalls, because I flood it or because an operator pressed Ctrl-S,
//! and whoever writes into the full pipe waits for ever.
//!
//! Bound: no request, no fault and no stop waits for a reader of the log; what does not fit is counted.

use std::io::{BufRead, BufReader, PipeReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use crate::support::process::{BINARY, Process, address_in};

/// More requests than a pipe and the queue before it have room for lines, at the level of requests.
const REQUESTS: usize = 7000;

/// A server whose output and errors go to one pipe that nobody reads any more.
struct Stalled {
    process: Process,
    address: String,
    /// Kept open: a closed pipe holds nobody up.
    _pipe: BufReader<PipeReader>,
    _dir: tempfile::TempDir,
}

impl Stalled {
    fn start(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new(BINARY);
        command.args(["serve", "--data-dir"]).arg(dir.path());
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
        for (name, value) in [
            ("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0"),
            ("PORTCULLIS__PASSWORD__MEMORY_KIB", "64"),
            ("PORTCULLIS__JOURNAL__SEGMENT_BYTES", "4194304"),
            ("RUST_LOG", "portcullis=debug"),
        ] {
            command.env(name, value);
        }
        let child = command.envs(settings.iter().copied()).spawn().unwrap();
        // The ends of this process are closed with the command.
        drop(command);
        let mut pipe = BufReader::new(reader);
        let mut address = None;
        while address.is_none() {
            let mut line = String::new();
            assert!(pipe.read_line(&mut line).unwrap() > 0, "the server did not start");
            address = address_in(&line);
        }
        let address = address.unwrap();
        let process = Process { child, url: format!("http://{address}") };
        Self { process, address, _pipe: pipe, _dir: dir }
    }

    /// Fills the pipe with the lines of `requests` requests, each of which must be answered.
    fn fill(&self, requests: usize) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for number in 0..requests {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
            let read = stream.read(&mut [0; 4096]);
            assert!(read.as_ref().is_ok_and(|read| *read > 0), "request {number} is not answered: {read:?}");
        }
    }
}

/// Waits until the process ends; `None` if it does not within half a minute.
fn ended(child: &mut Child) -> Option<ExitStatus> {
    (0..300).find_map(|_| {
        std::thread::sleep(Duration::from_millis(100));
        child.try_wait().unwrap()
    })
}

#[test]
fn requests_are_answered_and_a_stop_ends_while_nobody_reads_the_log() {
    // A port for operators, whose metrics need no role.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut server = Stalled::start(&[("PORTCULLIS__ADMIN__LISTEN", &port)]);
    server.fill(REQUESTS);

    // The lines that found no room are counted.
    let mut stream = TcpStream::connect(&port).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    let lost = metrics.lines().find_map(|line| line.strip_prefix("portcullis_log_lost_total "));
    assert!(lost.unwrap().parse::<usize>().unwrap() > REQUESTS / 10, "{lost:?}");

    let asked = Command::new("kill").arg(server.process.child.id().to_string()).status().unwrap();
    assert!(asked.success());
    let status = ended(&mut server.process.child).expect("a stop waits for the reader of the log");
    assert_eq!(status.code(), Some(0));
}

/// Only a debug build can be asked for a panic.
#[cfg(debug_assertions)]
#[test]
fn a_fault_ends_the_process_while_nobody_reads_the_log() {
    let mut server = Stalled::start(&[("PORTCULLIS_PANIC_IN", "stuffing")]);
    server.fill(1000);
    // The first step of that actor panics. It writes to the full pipe before it ends the process.
    let body = r#"{"email":"ada@test.org","password":"a wrong password"}"#;
    let mut stream = TcpStream::connect(&server.address).unwrap();
    let head = "POST /v1/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length";
    write!(stream, "{head}: {}\r\n\r\n{body}", body.len()).unwrap();
    let status = ended(&mut server.process.child).expect("a fault waits for the reader of the log");
    // The line of the fault goes to the full pipe as well, so the process aborts after a moment instead of exiting.
    assert!(!status.success());
}
