//! Malformed requests, and requests that a proxy in front of the server reads differently from the server (request
//! smuggling).
//!
//! Bounds: every answer has all the headers that protect a browser; bytes after a refused request are never read as a
//! request; the server speaks HTTP/1.1 alone; and it keeps at most the size of one head of what a client has sent.

use std::io::Write;
use std::time::Duration;

use crate::support::TestServer;
use crate::support::raw::{connect, exchange, read_answer, read_to_end};

const NEXT: &str = "GET /v1/me HTTP/1.1\r\nhost: a\r\n\r\n";

/// Asserts that `bytes` are refused with `status` and that nothing behind them is served.
fn assert_refused(server: &TestServer, bytes: &[u8], status: u16, code: &str) {
    let what = String::from_utf8_lossy(&bytes[..bytes.len().min(120)]).into_owned();
    let answer = exchange(&server.url, &[bytes, NEXT.as_bytes()].concat());
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what:?}: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what:?}: {answer}");
    assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{what:?}: {answer}");
    assert_protected(&answer);
    let answer = answer.to_lowercase();
    assert!(answer.contains("content-type: application/problem+json\r\n"), "{what:?}: {answer}");
    assert!(answer.contains("connection: close\r\n"), "{what:?}: {answer}");
}

fn assert_protected(answer: &str) {
    for header in [
        "x-content-type-options: nosniff\r\n",
        "content-security-policy: default-src 'none'",
        "cache-control: no-store\r\n",
        "x-request-id: ",
        "date: ",
    ] {
        assert!(answer.contains(header), "no {header:?}: {answer}");
    }
    assert!(!answer.to_lowercase().contains("\r\nserver:"), "{answer}");
}

#[test]
fn what_is_no_request_is_refused_in_full_and_nothing_behind_it_is_served() {
    let server = TestServer::start();
    let post = "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let cases = [
        String::from("NONSENSE\r\n\r\n"),
        String::from("\u{16}\u{3}\u{1}\u{2}\0 tls?\r\n\r\n"),
        String::from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        String::from("GET /healthz HTTP/3.0\r\nhost: a\r\n\r\n"),
        String::from("GET  /healthz HTTP/1.1\r\nhost: a\r\n\r\n"),
        String::from("GET /a b HTTP/1.1\r\nhost: a\r\n\r\n"),
        String::from("GET /healthz HTTP/1.1\r\n\r\n"),
        String::from("GET /healthz HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"),
        String::from("GET /healthz HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n folded\r\n\r\n"),
        String::from("GET /healthz HTTP/1.1\r\n host: a\r\n\r\n"),
        String::from("GET /healthz HTTP/1.1\r\nhost: a\r\nx-a: 1\rx-b: 2\r\n\r\n"),
        String::from("GET /healthz HTTP/1.1\r\nhost: a\r\nx-a: 1\0\r\n\r\n"),
        String::from("GET /healthz HTTP/1.1\r\nhost: a\r\nx a: 1\r\n\r\n"),
        String::from("GET /healthz HTTP/1.1\r\nhost: a\r\nnothing\r\n\r\n"),
        // Two lengths, or a length that is not the one that another reader sees.
        format!("{post}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{NEXT}"),
        format!("{post}transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n{NEXT}"),
        format!("{post}content-length: 2\r\ncontent-length: 40\r\n\r\n{{}}{NEXT}"),
        format!("{post}content-length: 2\r\ncontent-length: 2\r\n\r\n{{}}{NEXT}"),
        format!("{post}content-length: 2, 2\r\n\r\n{{}}{NEXT}"),
        format!("{post}content-length: +2\r\n\r\n{{}}{NEXT}"),
        format!("{post}content-length: -2\r\n\r\n{{}}{NEXT}"),
        format!("{post}content-length: 0x2\r\n\r\n{{}}{NEXT}"),
        format!("{post}content-length: 99999999999999999999\r\n\r\n{{}}{NEXT}"),
        format!("{post}content-length : 2\r\n\r\n{{}}{NEXT}"),
        format!("{post}transfer-encoding : chunked\r\n\r\n0\r\n\r\n{NEXT}"),
        format!("{post}transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n{NEXT}"),
        format!("{post}transfer-encoding: identity, chunked\r\n\r\n0\r\n\r\n{NEXT}"),
        format!("{post}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{NEXT}"),
        format!("{post}transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n{NEXT}"),
        format!("{post}transfer-encoding:\r\n chunked\r\n\r\n0\r\n\r\n{NEXT}"),
        String::from("POST /v1/login HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
    ];
    for bytes in cases {
        assert_refused(&server, bytes.as_bytes(), 400, "malformed_request");
    }
    // A host that a proxy in front reads otherwise: it cuts it off, repairs it, or joins it with another one.
    for host in
        ["", "a b", "a@b/c", "a/b", "a\\b", "a?b", "a#b", "a, b", "a:80:80", "a:x", "[::1", "b\u{fc}cher"]
    {
        let get = format!("GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert_refused(&server, get.as_bytes(), 400, "malformed_request");
        let old = format!("POST /v1/login HTTP/1.1\r\nHOST:{host}\r\ncontent-length: 2\r\n\r\n{{}}");
        assert_refused(&server, old.as_bytes(), 400, "malformed_request");
    }
    let target = "GET http://a@b/healthz HTTP/1.1\r\nhost: b\r\n\r\n";
    assert_refused(&server, target.as_bytes(), 400, "malformed_request");
    // A malformed chunk is found when the body is read, after the head was accepted.
    for chunks in ["zz\r\n", "-1\r\n", "ffffffffffffffffff\r\n", "2\r\n{}x\r\n", "2\n{}\n"] {
        let bytes = format!("{post}transfer-encoding: chunked\r\n\r\n{chunks}0\r\n\r\n{NEXT}");
        assert_refused(&server, bytes.as_bytes(), 400, "malformed_request");
    }
}

#[test]
fn a_head_is_bounded_in_bytes_and_in_headers() {
    let server = TestServer::start();
    let request =
        |headers: String| format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{headers}connection: close\r\n\r\n");
    let many = |count: usize| (0..count).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    let long = |bytes: usize| format!("x-a: {}\r\n", "a".repeat(bytes));
    for good in [request(many(94)), request(long(15_000))] {
        let answer = exchange(&server.url, good.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let code = "request_header_fields_too_large";
    for large in [
        // With `host` and `connection` one more than 96.
        request(many(95)),
        request(long(17_000)),
        request(long(100_000)),
        request(many(5000)),
        format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "a".repeat(17_000)),
        // It never ends.
        format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{}", long(2_000_000)),
        "G".repeat(20_000),
    ] {
        let answer = exchange(&server.url, large.as_bytes());
        let begin = &large[..40];
        let is_too_large = answer.starts_with("HTTP/1.1 431 ") && answer.contains(code);
        // A method of twenty thousand letters is no method.
        let is_malformed = answer.starts_with("HTTP/1.1 400 ") && answer.contains("malformed_request");
        assert!(is_too_large || (is_malformed && large.starts_with("GG")), "{begin}: {answer}");
        assert_protected(&answer);
    }
}

#[test]
fn a_bad_request_behind_a_good_one_does_not_spoil_its_answer() {
    let server = TestServer::start();
    for bad in ["nonsense\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n"] {
        for good in [1, 3, 20] {
            let bytes = format!("{}{bad}{NEXT}", "GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n".repeat(good));
            let answers = exchange(&server.url, bytes.as_bytes());
            assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), good, "{answers}");
            assert_eq!(answers.matches("HTTP/1.1 ").count(), good + 1, "{answers}");
            let last = &answers[answers.rfind("HTTP/1.1 ").unwrap()..];
            assert!(last.starts_with("HTTP/1.1 400 ") && last.contains("malformed_request"), "{last}");
            assert_protected(last);
        }
    }
}

#[test]
fn no_other_protocol_is_spoken() {
    let server = TestServer::start();
    for upgrade in [
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n",
        "upgrade: websocket\r\n",
        "upgrade: websocket\r\ncontent-length: 5\r\n",
    ] {
        let head = format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{upgrade}\r\n");
        let mut stream = connect(&server.url);
        stream.write_all(head.as_bytes()).unwrap();
        // I send what would be frames of the other protocol, or a request, and more than is read ahead.
        let _ = stream.write_all(NEXT.repeat(2000).as_bytes());
        // The server may have closed already.
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let answers = read_to_end(&mut stream);
        assert!(!answers.contains(" 101 "), "{upgrade}: {answers}");
        assert!(!answers.contains(" 431 "), "{upgrade}: {answers}");
    }
    // The kind: a client offers another protocol and wants an answer in this one. It gets that, and is told that no other
    // follows on this connection.
    let post = "content-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    for offer in [
        "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "connection: upgrade\r\n",
        "connection: Upgrade\r\nupgrade: TLS/1.0\r\n",
        "connection: keep-alive, upgrade\r\n",
        "connection: upgrade\r\nupgrade: websocket\r\n",
    ] {
        for (request, status) in [
            (format!("GET /healthz HTTP/1.1\r\nhost: a\r\n{offer}\r\n"), "200"),
            (format!("POST /v1/login HTTP/1.1\r\nhost: a\r\n{offer}{post}"), "422"),
        ] {
            let mut stream = connect(&server.url);
            stream.write_all(request.as_bytes()).unwrap();
            let answer = read_to_end(&mut stream);
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
            assert!(answer.contains("\r\nconnection: close\r\n"), "{request}: {answer}");
        }
    }
    let answer =
        exchange(&server.url, b"CONNECT evil.test:443 HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\n");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_protected(&answer);
}

#[test]
fn a_target_in_another_form_reaches_no_other_endpoint() {
    let server = TestServer::start();
    for (line, status) in [
        ("GET http://evil.test/healthz", 200),
        ("GET http://evil.test/v1/me", 401),
        ("OPTIONS *", 404),
        ("OPTIONS /v1/me", 405),
        ("TRACE /v1/me", 405),
        ("FOO /v1/me", 405),
        ("get /v1/me", 405),
        // The same path in other letters is the same path, so a rule for it in front must know it too.
        ("GET /v1/%6de", 401),
        ("GET /v1/%6d%65?x=%00", 401),
        ("GET /healthz/../v1/me", 404),
        ("GET /healthz/%2e%2e/v1/me", 404),
        ("GET /v1//me", 404),
        ("GET //v1/me", 404),
        ("GET /v1/me/", 404),
        ("GET /v1/me;x", 404),
        ("GET /v1%2fme", 404),
        ("GET /v1%5cme", 404),
        ("GET /v1/me%00", 404),
        ("GET /v1/me%20", 404),
        ("GET /v1/me%3f", 404),
        ("GET /V1/ME", 404),
        ("DELETE /v1/sessions/%ff%fe", 401),
        ("DELETE /v1/sessions/a%2fb", 401),
    ] {
        let bytes = format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = exchange(&server.url, bytes.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        assert_protected(&answer);
    }
    let old = exchange(&server.url, b"GET /healthz HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 200 "), "{old}");
}

/// A large body is refused by what it announces, before any of it is sent.
#[test]
fn an_announced_body_is_refused_at_once() {
    let server = TestServer::start();
    for (path, more) in [
        ("POST /v1/login", "content-length: 9999999999\r\n"),
        ("POST /v1/login", "content-length: 16385\r\n"),
        ("POST /v1/login", "content-length: 18446744073709551615\r\nexpect: 100-continue\r\n"),
        ("POST /v1/login", "content-length: 16385\r\nexpect: 100-continue\r\n"),
        ("GET /healthz", "content-length: 17000\r\n"),
        ("POST /nowhere", "content-length: 17000\r\n"),
    ] {
        let mut stream = connect(&server.url);
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "{path} HTTP/1.1\r\nhost: a\r\n{more}\r\n").unwrap();
        // The refusal comes first: a client that asks whether to send its body is never told to.
        let answer = read_to_end(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 413 "), "{path} {more}: {answer}");
        assert!(answer.contains("payload_too_large"), "{answer}");
        assert_protected(&answer);
    }
    // A body that is small enough is asked for, and read.
    let mut stream = connect(&server.url);
    let body = r#"{"password":"x"}"#;
    let head = "POST /v1/password/check HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    write!(stream, "{head}content-length: {}\r\nexpect: 100-continue\r\n\r\n", body.len()).unwrap();
    assert_eq!(read_answer(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).unwrap();
    let answer = read_answer(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

/// An honest client may send many requests without waiting, and in any pieces. None is lost, and none waits for ever.
#[test]
fn pipelined_requests_are_answered_in_their_order() {
    const COUNT: usize = 3000;
    let server = TestServer::start();
    let mut stream = connect(&server.url);
    let mut sender = stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        for number in 0..COUNT {
            let padding = "p".repeat(number * 7 % 900);
            let body = format!("{{\"email\":\"{padding}\"}}");
            let request = if number % 3 == 0 {
                format!(
                    "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: \
                         {}\r\n\r\n{body}",
                    body.len()
                )
            } else if number % 3 == 1 {
                format!("GET /nowhere HTTP/1.1\r\nhost: a\r\nx-padding: {padding}\r\n\r\n")
            } else {
                String::from("GET /v1/me HTTP/1.1\r\nhost: a\r\n\r\n")
            };
            sender.write_all(request.as_bytes()).unwrap();
        }
    });
    for number in 0..COUNT {
        let answer = read_answer(&mut stream);
        let status = [422, 404, 401][number % 3];
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{number}: {answer}");
    }
    sending.join().unwrap();
}

/// A head and a body that arrive byte by byte, and a chunked body in chunks of one byte.
#[test]
fn requests_in_the_smallest_pieces_are_read() {
    let server = TestServer::start();
    let body = format!("{{\"email\":\"{}\",\"password\":\"x\"}}", "a".repeat(9000));
    let head = "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n";
    let chunked: String = body.chars().map(|letter| format!("1\r\n{letter}\r\n")).collect();
    let whole = format!("{head}transfer-encoding: chunked\r\n\r\n{chunked}0\r\n\r\n");
    let mut stream = connect(&server.url);
    stream.set_nodelay(true).unwrap();
    for byte in whole.as_bytes().chunks(1).take(300) {
        stream.write_all(byte).unwrap();
    }
    stream.write_all(&whole.as_bytes()[300..]).unwrap();
    let answer = read_to_end(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains("connection: close"), "{answer}");
}

/// What the server takes for trailers of a chunked body, a proxy in front may take for the next request, or the other way
/// about. So I hide a request in there that the proxy does not let through.
#[test]
fn nothing_behind_a_chunked_body_is_served() {
    let server = TestServer::start();
    let head = "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n\
                transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n";
    for trailers in [
        "\r\n",
        "\n",
        "no colon\r\n\r\n",
        "a b: x\r\n\r\n",
        "a: b\n\n",
        "GET /healthz HTTP/1.1\r\n\r\n",
        "\0\r\n\r\n",
    ] {
        let mut stream = connect(&server.url);
        let hidden = "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-length: 36\r\n\r\nGET /healthz HTTP/1.1\r\nhost: a\r\n\r\n";
        stream.write_all(format!("{head}{trailers}{hidden}{hidden}").as_bytes()).unwrap();
        let answers = read_to_end(&mut stream);
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{trailers:?}: {answers}");
        assert!(!answers.contains("HTTP/1.1 200 "), "{trailers:?}: {answers}");
    }
}
