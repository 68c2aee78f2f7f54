//! Connections that I open and keep, so that nobody else gets one: silent ones, halves of a request, and ones on which I
//! send a request now and then, so that they are never idle for long.
//!
//! Bounds: one address holds a sixteenth of the connections. Others are served meanwhile, without a wait for mine to time
//! out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use portcullis::system::clock::Clock;

use crate::support::TestServer;
use crate::support::process::{BINARY, Process};
use crate::support::raw::{connect, connect_from, read_answer, read_to_end};

/// The hard limit of descriptors: the process then accepts some 150 connections on a machine with two cores.
const LIMIT: usize = 300;
const REQUEST: &str = "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";

fn is_open(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; 1024];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn one_address_does_not_keep_the_others_out() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    let limits = format!("ulimit -n {LIMIT} && exec \"$0\" \"$@\"");
    command.args(["-c", &limits, BINARY, "serve", "--data-dir"]).arg(dir.path().join("data"));
    let process = Process::spawn(command);
    for sent in ["", "GET /healthz HTTP/1.1\r\nx-a: ", REQUEST] {
        let mut held: Vec<TcpStream> = (0..400)
            .map(|_| {
                let mut stream = connect_from(&process.url, [127, 0, 9, 9]);
                let _ = stream.write_all(sent.as_bytes());
                stream
            })
            .collect();
        // A client at any other address is served at once, more than once.
        for other in 1..=20 {
            let begin = Clock::system().steady();
            let mut stream = connect_from(&process.url, [127, 0, other, 1]);
            stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
            stream.write_all(REQUEST.as_bytes()).unwrap();
            let answer = read_answer(&mut stream);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{sent:?}: {answer}");
            assert!(begin.elapsed() < Duration::from_secs(5), "{sent:?}: {:?}", begin.elapsed());
        }
        let open = held.iter_mut().filter_map(|stream| is_open(stream).then_some(())).count();
        assert!((1..=LIMIT / 16).contains(&open), "{sent:?}: I hold {open}");
    }
}

/// A balancer keeps a connection for a minute and uses it again; a half request must not be kept as long.
#[test]
fn an_idle_connection_is_kept_as_configured_and_half_a_request_is_not() {
    let server = TestServer::with(&[("http.keep_alive_secs", "13")]);
    let mut kept = connect(&server.url);
    let mut half = connect(&server.url);
    for stream in [&mut kept, &mut half] {
        stream.write_all(REQUEST.as_bytes()).unwrap();
        read_answer(stream);
    }
    half.write_all(&REQUEST.as_bytes()[..10]).unwrap();
    let begin = Clock::system().steady();
    let refusal = read_to_end(&mut half);
    let waited = begin.elapsed();
    assert!((9..30).contains(&waited.as_secs()), "{waited:?}");
    assert!(refusal.starts_with("HTTP/1.1 408 ") && refusal.contains("request_timeout"), "{refusal}");
    assert!(refusal.contains("x-content-type-options: nosniff"), "{refusal}");
    // The idle one is still good, and closes without a word when its time is over.
    kept.write_all(REQUEST.as_bytes()).unwrap();
    read_answer(&mut kept);
    let begin = Clock::system().steady();
    assert_eq!(read_to_end(&mut kept), "");
    let waited = begin.elapsed();
    assert!((12..30).contains(&waited.as_secs()), "{waited:?}");
}

/// I send thousands of small requests at once, on many connections, and read no answer: the server keeps the answers for me
/// until its memory is full.
#[test]
fn answers_that_nobody_reads_are_not_piled_up() {
    const CONNECTIONS: usize = 30;
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(&dir.path().join("data"));
    let mut honest = connect(&process.url);
    // The word lists that judge passwords are loaded once, by whoever needs them first, and are none of my doing.
    let body = "{\"password\": \"a long phrase of an honest client\"}";
    let judged = format!(
        "POST /v1/password/check HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    honest.write_all(judged.as_bytes()).unwrap();
    let answer = read_answer(&mut honest);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let before = process.resident_kib();
    let many = REQUEST.repeat(3000);
    let mut mine: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| {
            let mut stream = connect(&process.url);
            stream.write_all(many.as_bytes()).unwrap();
            stream
        })
        .collect();
    let mut most = before;
    let begin = Clock::system().steady();
    // Until the server has closed them all.
    while !mine.is_empty() {
        assert!(begin.elapsed() < Duration::from_mins(1), "{} are open", mine.len());
        most = most.max(process.resident_kib());
        std::thread::sleep(Duration::from_millis(100));
        mine.retain_mut(|stream| stream.write_all(b"\r\n").is_ok());
    }
    let each = (most - before) / CONNECTIONS as u64;
    assert!(each <= 64, "{each} KiB for each connection");
    honest.write_all(REQUEST.as_bytes()).unwrap();
    assert!(read_answer(&mut honest).starts_with("HTTP/1.1 200 "));
}

/// I ask for answers and do not read them.
#[test]
fn a_client_that_does_not_read_is_closed() {
    let server = TestServer::start();
    let mut stream = connect(&server.url);
    stream.set_write_timeout(Some(Duration::from_secs(40))).unwrap();
    let begin = Clock::system().steady();
    // The buffers of both sides fill, then the server stops to read; it must not wait for me for ever.
    let many = REQUEST.repeat(1000);
    let error = loop {
        if let Err(error) = stream.write_all(many.as_bytes()) {
            break error;
        }
    };
    let is_closed =
        matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe);
    assert!(is_closed, "after {:?}: {error}", begin.elapsed());
}
