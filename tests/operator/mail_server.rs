//! Mail servers that take mails, and mail servers that accept a connection and never answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use lettre::transport::smtp::client::Tls;
use portcullis::mail::smtp::{Smtp, tls_parameters};
use portcullis::mail::transport::Transport;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::process::{Process, serve, sign_up};
use crate::support::tls::{CERTIFICATE, OF_AUTHORITY, serve_tls, serve_tls_as};
use crate::support::{PASSWORD, TestServer, wait_until};

/// Listens as a mail server that accepts connections and never answers. Returns its port and the number of connections.
fn hung() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming() {
            held.push(stream.unwrap());
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port, calls)
}

#[tokio::test]
async fn a_mail_server_that_never_answers_holds_up_neither_mails_nor_a_stop() {
    let (port, calls) = hung();
    let silent = Smtp::new("127.0.0.1", port, Tls::None, "us.test").within(Duration::from_millis(500));
    let server = TestServer::mailing(Transport::Smtp(silent));
    let sign_up = async |name: usize| {
        let body = json!({"email": format!("user{name}@test.org"), "password": PASSWORD});
        assert_eq!(server.post("/v1/signup", body).await.status, StatusCode::ACCEPTED);
    };
    sign_up(0).await;
    wait_until("the mail server is called", async || calls.load(Ordering::Relaxed) >= 1).await;
    for name in 1..=6 {
        sign_up(name).await;
    }
    wait_until("the mail server is called", async || calls.load(Ordering::Relaxed) >= 2).await;
    let before = calls.load(Ordering::Relaxed);
    let (stopped, is_stopped) = mpsc::channel();
    std::thread::spawn(move || {
        drop(server);
        stopped.send(()).unwrap();
    });
    let is_stopped = tokio::task::spawn_blocking(move || is_stopped.recv_timeout(Duration::from_mins(1)));
    is_stopped.await.unwrap().expect("the stop waits for the mail server");
    // Other mails that were due wait for the next start: at most two more of that domain had begun.
    assert!(calls.load(Ordering::Relaxed) <= before + 2, "{before}, then {calls:?}");
}

/// The word of a mail server that has no end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Endless {
    Greeting,
    Hello,
    AfterStartTls,
    /// Each line has its end, but there is always another one.
    Lines,
}

/// The most that an endless mail server says. Buffers of the kernel take a few MiB that nobody has read.
const ENDLESS: usize = 64 << 20;
const BUFFERS: usize = 16 << 20;

/// Answers on `stream` until `endless` is due, and then speaks until nobody listens. Returns how many bytes were taken.
fn speak(mut stream: impl Read + Write, endless: Endless, tcp: &TcpStream) -> usize {
    let forever = |stream: &mut dyn Write| {
        let part = match endless {
            Endless::Lines => "250-mail.test\r\n".repeat(512),
            _ => "A".repeat(8192),
        };
        let start = if endless == Endless::Greeting { "220" } else { "250" };
        let mut taken = stream.write(start.as_bytes()).unwrap_or(0);
        while taken < ENDLESS && stream.write_all(part.as_bytes()).is_ok() {
            taken += part.len();
        }
        taken
    };
    if endless == Endless::Greeting {
        return forever(&mut stream);
    }
    stream.write_all(b"220 mail.test\r\n").unwrap();
    let mut line = String::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).unwrap_or(0) == 0 {
            return 0;
        }
        line.push(char::from(byte[0]));
        let said: &[u8] = match line.as_str() {
            hello if hello.starts_with("EHLO") && hello.ends_with('\n') => {
                if endless != Endless::AfterStartTls {
                    return forever(&mut stream);
                }
                b"250-mail.test\r\n250 STARTTLS\r\n"
            }
            "STARTTLS\r\n" => {
                stream.write_all(b"220 go on\r\n").unwrap();
                let mut tls = serve_tls(tcp.try_clone().unwrap());
                while tls.read(&mut byte).unwrap_or(0) == 1 && byte != *b"\n" {}
                return forever(&mut tls);
            }
            _ => continue,
        };
        line.clear();
        stream.write_all(said).unwrap();
    }
}

/// A mail server, or who sits on the way to it, says what has no end: no memory is filled with it, and the mail waits.
#[tokio::test]
async fn a_reply_without_an_end_is_cut_off() {
    let parameters = || tls_parameters("127.0.0.1", Some(CERTIFICATE)).unwrap();
    for (tls, endless) in [
        (Tls::None, Endless::Greeting),
        (Tls::None, Endless::Hello),
        (Tls::None, Endless::Lines),
        (Tls::Required(parameters()), Endless::Greeting),
        (Tls::Required(parameters()), Endless::Hello),
        (Tls::Required(parameters()), Endless::AfterStartTls),
        (Tls::Wrapper(parameters()), Endless::Greeting),
        (Tls::Wrapper(parameters()), Endless::Hello),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_wrapped = matches!(tls, Tls::Wrapper(_));
        let speaking = std::thread::spawn(move || {
            let tcp = listener.accept().unwrap().0;
            let stream = tcp.try_clone().unwrap();
            if is_wrapped { speak(serve_tls(stream), endless, &tcp) } else { speak(stream, endless, &tcp) }
        });
        let probed = Smtp::new("127.0.0.1", port, tls, "us.test").probe().await;
        let taken = tokio::task::spawn_blocking(move || speaking.join().unwrap()).await.unwrap();
        let case = format!("{endless:?}, wrapped {is_wrapped}: {taken} bytes, {probed:?}");
        assert!(!probed.unwrap_err().permanent, "{case}");
        assert!((1024..BUFFERS).contains(&taken), "{case}");
    }
}

/// How a mail server begins.
#[derive(Clone, Copy)]
enum Opening {
    /// With TLS, and this certificate.
    Tls(&'static str),
    /// With SMTP, and it offers STARTTLS.
    StartTls,
    /// With SMTP, and it offers none.
    Plain,
    /// Not at all: it waits for TLS.
    Silent,
}

/// Kind: an error of TLS that does not say which setting is wrong, or how to put it right.
#[tokio::test]
async fn a_wrong_mode_of_tls_and_a_wrong_certificate_are_told_with_the_remedy() {
    let parameters = |authority| tls_parameters("127.0.0.1", Some(authority)).unwrap();
    let required = || Tls::Required(parameters(CERTIFICATE));
    let wrapped = |authority| Tls::Wrapper(parameters(authority));
    for (tls, start, said) in [
        (required(), Opening::Silent, "set mail.smtp.tls = \"tls\""),
        (required(), Opening::Plain, "the server does not offer STARTTLS; set mail.smtp.tls = \"tls\""),
        (wrapped(CERTIFICATE), Opening::StartTls, "set mail.smtp.tls = \"starttls\""),
        (wrapped(OF_AUTHORITY), Opening::Tls(OF_AUTHORITY), "basicConstraints=critical,CA:FALSE"),
        (wrapped(CERTIFICATE), Opening::Tls(OF_AUTHORITY), "mail.smtp.ca_file"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = std::thread::spawn(move || {
            let mut tcp = listener.accept().unwrap().0;
            let mut byte = [0];
            match start {
                Opening::Tls(certificate) => _ = serve_tls_as(certificate, tcp).read(&mut byte),
                Opening::Silent => _ = tcp.read(&mut byte),
                Opening::StartTls => _ = speak(&tcp, Endless::AfterStartTls, &tcp),
                Opening::Plain => {
                    tcp.write_all(b"220 mail.test\r\n").unwrap();
                    while tcp.read(&mut byte).unwrap_or(0) == 1 {
                        if byte == *b"\n" {
                            tcp.write_all(b"250 mail.test\r\n").unwrap();
                        }
                    }
                }
            }
        });
        let server = Smtp::new("127.0.0.1", port, tls, "us.test").within(Duration::from_secs(5));
        let error = server.probe().await.unwrap_err();
        assert!(!error.permanent, "{error}");
        let error = error.to_string();
        assert!(
            error.starts_with(&format!("no TLS with 127.0.0.1:{port}, where mail.smtp.tls is ")),
            "{error}"
        );
        assert!(error.contains(said), "{error}");
        tokio::task::spawn_blocking(move || serving.join().unwrap()).await.unwrap();
    }
}

/// Listens as a mail server that takes mails. Returns its port and the text of the mails.
fn sink() -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (mails, taken) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            let mut write = stream.try_clone().unwrap();
            let mut say = |line: &str| write.write_all(format!("{line}\r\n").as_bytes()).unwrap();
            say("220 mail.test");
            let mut mail: Option<String> = None;
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                match (&mut mail, line.as_str()) {
                    (Some(text), ".") => {
                        let _ = mails.send(std::mem::take(text));
                        mail = None;
                        say("250 taken");
                    }
                    (Some(text), line) => text.push_str(&format!("{line}\n")),
                    (None, "DATA") => {
                        mail = Some(String::new());
                        say("354 go on");
                    }
                    (None, "QUIT") => break,
                    (None, _) => say("250 yes"),
                }
            }
        }
    });
    (port, taken)
}

#[tokio::test]
async fn the_binary_sends_by_smtp_and_stops_in_order() {
    let (port, taken) = sink();
    let dir = tempfile::tempdir().unwrap();
    let mut command = serve(&dir.path().join("data"));
    command.envs([
        ("PORTCULLIS__SIGNUP__VERIFY_EMAIL", "required"),
        ("PORTCULLIS__MAIL__TRANSPORT", "smtp"),
        ("PORTCULLIS__MAIL__SMTP__HOST", "127.0.0.1"),
        ("PORTCULLIS__MAIL__SMTP__PORT", &port.to_string()),
        ("PORTCULLIS__MAIL__SMTP__TLS", "none"),
    ]);
    let mut process = Process::spawn(command);
    let (status, _) = sign_up(&reqwest::Client::new(), &process.url, "ada@test.org").await.unwrap();
    assert_eq!(status, 202);
    let mail = tokio::task::spawn_blocking(move || taken.recv_timeout(Duration::from_mins(1)));
    let mail = mail.await.unwrap().unwrap();
    assert!(mail.contains("To: ada@test.org"), "{mail}");
    assert!(mail.contains("#token=pcm_"), "{mail}");
    assert_eq!(process.stop(), Some(0));
}
