//! aiosmtpd: a server of few words, in Python, whose library reads each mail as a mail program does.

use std::io::Read;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{LOGIN, login, server};
use crate::authority::Authority;
use crate::install::{AIOSMTPD, OPENSSL, installed, script};
use crate::program::{Program, free_port, is_so_within, wait_until};

/// A running mail server.
struct MailServer {
    _program: Program,
    port: u16,
    dir: tempfile::TempDir,
    authority: Option<Authority>,
}

impl MailServer {
    /// Starts a mail server that offers everything and takes every mail at once, but for what `odd` says.
    fn with(odd: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let has_tls = odd.get("mechanisms").is_some();
        let authority = has_tls.then(|| Authority::new(dir.path()));
        let port = free_port();
        let certificate = authority.as_ref().map(|authority| authority.both.clone());
        let mut options = json!({
            "port": port, "dir": dir.path(), "certificate": certificate, "login": LOGIN, "mechanisms": [],
            "utf8": true, "withholds": [], "later": "", "silence_secs": 0,
        });
        options.as_object_mut().unwrap().extend(odd.as_object().unwrap().clone());
        let mut command = Command::new("python3");
        command.arg(script("mail/server.py")).arg(options.to_string());
        let program = Program::start(command, &dir.path().join("log")).listens_at(port);
        Self { _program: program, port, dir, authority }
    }

    /// Returns the lines of one of its files.
    fn lines(&self, file: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.path().join(file)).unwrap_or_default();
        // The last line may not be whole yet.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Waits for a mail to `to`.
    #[track_caller]
    fn mail(&self, to: &str) -> Value {
        let taken = || self.lines("taken").into_iter().find(|mail| mail["to"] == to);
        wait_until(&format!("a mail to {to} is taken"), || taken().is_some());
        taken().unwrap()
    }
}

/// Signs up over a server that logs in by the one mechanism that is offered, and checks that it did.
fn logs_in_by(mechanism: &str) {
    let mails = MailServer::with(json!({"mechanisms": [mechanism]}));
    let login = login(mails.dir.path());
    let login = login.each_ref().map(|(key, value)| (*key, value.as_str()));
    let server = server(mails.port, mails.authority.as_ref(), &login);
    server.sign_up("ada@near.test").is(202);
    assert_eq!(mails.mail("ada@near.test")["tls"], true);
    let log_ins = mails.lines("logins");
    assert_eq!(log_ins, [json!({"mechanism": mechanism, "right": true, "tls": true})]);
}

#[test]
fn a_server_that_knows_only_auth_plain_is_logged_in_to() {
    if installed(&[AIOSMTPD, OPENSSL]) {
        logs_in_by("PLAIN");
    }
}

#[test]
fn a_server_that_knows_only_auth_login_is_logged_in_to() {
    if installed(&[AIOSMTPD, OPENSSL]) {
        logs_in_by("LOGIN");
    }
}

#[test]
fn a_mail_program_reads_sender_subject_text_and_link() {
    if !installed(&[AIOSMTPD]) {
        return;
    }
    let mails = MailServer::with(json!({}));
    let from = "K\u{f6}nigs \"Log-in\", Ltd. <login@b\u{fc}cher.test>";
    let server = server(
        mails.port,
        None,
        &[("mail.from", from), ("service_name", "K\u{f6}nigs\u{a0}B\u{fc}cher & Co")],
    );
    server.sign_up("ada@near.test").is(202);
    let mail = mails.mail("ada@near.test");
    assert_eq!(mail["from"], json!(["K\u{f6}nigs \"Log-in\", Ltd.", "login@xn--bcher-kva.test"]));
    assert_eq!(mail["envelope_from"], "login@xn--bcher-kva.test");
    assert_eq!(mail["header_to"], "ada@near.test");
    assert_eq!(mail["hello"], "xn--bcher-kva.test");
    let header = |name: &str| mail["headers"][name].as_array().cloned().unwrap_or_default();
    assert_eq!(header("auto-submitted"), ["auto-generated"]);
    for name in ["from", "to", "subject", "date", "message-id", "mime-version", "content-type"] {
        assert_eq!(header(name).len(), 1, "{name} in {mail}");
    }
    let id = header("message-id")[0].as_str().unwrap().to_owned();
    assert!(id.starts_with('<') && id.ends_with("@xn--bcher-kva.test>"), "{id}");
    assert_eq!(mail["defects"], json!([]));
    assert_eq!(mail["bare_newlines"], 0);
    let text = mail["plain"].as_str().unwrap();
    assert!(text.contains("K\u{f6}nigs\u{a0}B\u{fc}cher & Co"), "{text}");
    let link =
        text.lines().find(|line| line.contains("/verify#token=pcm_")).unwrap_or_else(|| panic!("{text}"));
    let html = mail["html"].as_str().unwrap();
    assert!(html.contains(&format!("href=\"{link}\"")), "{html}");
}

#[test]
fn a_line_of_one_dot_does_not_end_the_mail() {
    if !installed(&[AIOSMTPD]) {
        return;
    }
    let mails = MailServer::with(json!({}));
    let server = server(mails.port, None, &[("service_name", ".")]);
    server.sign_up("ada@near.test").is(202);
    let mail = mails.mail("ada@near.test");
    let text = mail["plain"].as_str().unwrap();
    assert!(text.lines().any(|line| line == "."), "{text}");
    assert!(mail["html"].as_str().unwrap().contains("</html>"), "the mail was cut at the dot: {mail}");
    server.sign_up("eve@near.test").is(202);
    mails.mail("eve@near.test");
}

#[test]
fn no_line_is_longer_than_mail_servers_take() {
    if !installed(&[AIOSMTPD]) {
        return;
    }
    let mails = MailServer::with(json!({"withholds": ["8BITMIME"], "utf8": false}));
    let long = "A service with a long name. ".repeat(60);
    let server = server(mails.port, None, &[("service_name", long.trim())]);
    server.sign_up("ada@near.test").is(202);
    let mail = mails.mail("ada@near.test");
    // RFC 5322 §2.1.1: 998 characters without the end of the line.
    assert!(mail["longest"].as_u64().unwrap() <= 998, "{}", mail["longest"]);
    assert_eq!(mail["bare_newlines"], 0);
    assert_eq!(mail["defects"], json!([]));
    assert!(mail["plain"].as_str().unwrap().contains(long.trim()), "{mail}");
}

#[test]
fn a_server_without_8bitmime_gets_seven_bits() {
    if !installed(&[AIOSMTPD]) {
        return;
    }
    let mails = MailServer::with(json!({"withholds": ["8BITMIME"], "utf8": false}));
    let server = server(
        mails.port,
        None,
        &[
            ("mail.from", "\u{5b8}\u{738b} <login@house.test>"),
            ("service_name", "\u{738b}\u{56fd} \u{1f511}"),
        ],
    );
    server.sign_up("ada@near.test").is(202);
    let mail = mails.mail("ada@near.test");
    assert_eq!(mail["ascii"], true, "{mail}");
    assert_eq!(mail["options"], json!([]), "{mail}");
    assert!(mail["plain"].as_str().unwrap().contains("\u{738b}\u{56fd} \u{1f511}"), "{mail}");
}

#[test]
fn without_smtputf8_an_address_beyond_ascii_waits_and_others_get_their_mails() {
    if !installed(&[AIOSMTPD]) {
        return;
    }
    let mails = MailServer::with(json!({"utf8": false}));
    let server = server(mails.port, None, &[("mail.smtp.utf8", "true")]);
    server.sign_up("j\u{fc}rgen@near.test").is(202);
    wait_until("the log says why", || server.log().contains("does not offer SMTPUTF8"));
    server.sign_up("ada@near.test").is(202);
    mails.mail("ada@near.test");
    assert!(
        mails.lines("tries").iter().all(|tried| tried["to"] == "ada@near.test"),
        "{:?}",
        mails.lines("tries")
    );
}

#[test]
fn with_smtputf8_an_address_beyond_ascii_gets_its_mail() {
    if !installed(&[AIOSMTPD]) {
        return;
    }
    let mails = MailServer::with(json!({}));
    let server = server(mails.port, None, &[("mail.smtp.utf8", "true")]);
    server.sign_up("j\u{fc}rgen@near.test").is(202);
    let mail = mails.mail("j\u{fc}rgen@near.test");
    assert!(mail["options"].as_array().unwrap().contains(&json!("SMTPUTF8")), "{mail}");
    assert_eq!(mail["header_to"], "j\u{fc}rgen@near.test");
}

/// The same mail comes again after a refusal that passes, known by its Message-ID.
fn comes_again_after_451_at(command: &str) {
    let mails = MailServer::with(json!({"later": command}));
    let server = server(mails.port, None, &[]);
    server.sign_up("ada@near.test").is(202);
    let mail = mails.mail("ada@near.test");
    let taken = mails.lines("taken");
    assert_eq!(taken.len(), 1, "{taken:?}");
    for tried in mails.lines("tries") {
        assert_eq!(tried["id"], mail["headers"]["message-id"][0]);
    }
    assert!(server.log().contains("the mail server answered 451"), "{}", server.log());
    assert!(!server.log().contains("ada@near.test"), "{}", server.log());
}

#[test]
fn a_mail_that_was_greylisted_is_accepted_later() {
    if installed(&[AIOSMTPD]) {
        comes_again_after_451_at("RCPT");
    }
}

#[test]
fn a_mail_that_was_put_off_after_its_text_comes_again_as_the_same_mail() {
    if installed(&[AIOSMTPD]) {
        comes_again_after_451_at("DATA");
    }
}

#[test]
fn fifty_seconds_of_silence_hold_up_no_other_mail_and_end_with_one_mail() {
    if !installed(&[AIOSMTPD]) {
        return;
    }
    let mails = MailServer::with(json!({"silence_secs": 50}));
    let server = server(mails.port, None, &[]);
    server.sign_up("ada@slow.test").is(202);
    wait_until("the silence has begun", || !mails.lines("tries").is_empty());
    for number in 0..5 {
        server.sign_up(&format!("ada@near{number}.test")).is(202);
    }
    for number in 0..5 {
        mails.mail(&format!("ada@near{number}.test"));
    }
    assert!(mails.lines("taken").iter().all(|mail| mail["to"] != "ada@slow.test"), "there was no silence");
    mails.mail("ada@slow.test");
    let tries = mails.lines("tries").into_iter().filter(|tried| tried["to"] == "ada@slow.test").count();
    assert_eq!(tries, 1, "a mail that was taken late was sent twice");
}

#[test]
fn a_stop_during_a_silence_without_end_is_in_order_and_the_mail_leaves_after_the_next_start() {
    if !installed(&[AIOSMTPD]) {
        return;
    }
    let silent = MailServer::with(json!({"silence_secs": 3600}));
    let mut server = server(silent.port, None, &[]);
    server.sign_up("ada@slow.test").is(202);
    wait_until("the silence has begun", || !silent.lines("tries").is_empty());
    let (done, is_done) = std::sync::mpsc::channel();
    let stopping = std::thread::spawn(move || {
        server.stop();
        done.send(()).unwrap();
        server
    });
    // The silence would end after an hour, and the deadline of a mail after a minute.
    is_done.recv_timeout(Duration::from_secs(45)).expect("the stop waits for the mail server");
    let mails = MailServer::with(json!({}));
    let port = mails.port.to_string();
    let settings = [
        ("mail.transport", "smtp"),
        ("mail.from", "login@house.test"),
        ("mail.smtp.host", "127.0.0.1"),
        ("mail.smtp.tls", "none"),
        ("mail.smtp.port", port.as_str()),
    ];
    let _server = stopping.join().unwrap().restart_with(&settings);
    let mail = mails.mail("ada@slow.test");
    assert_eq!(mail["headers"]["message-id"][0], silent.lines("tries")[0]["id"]);
}

/// Accepts connections and never says a word. Returns its port, and how many connections there were.
fn says_nothing() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            count.fetch_add(1, Ordering::SeqCst);
            std::thread::spawn(move || stream.unwrap().read_to_end(&mut Vec::new()));
        }
    });
    (port, calls)
}

#[test]
fn a_mail_server_without_a_greeting_delays_no_answer_and_the_operator_is_told() {
    let (port, calls) = says_nothing();
    let mut server = server(port, None, &[]);
    for number in 0..4 {
        server.sign_up(&format!("ada@near{number}.test")).is(202);
    }
    wait_until("the mail server is called", || calls.load(Ordering::SeqCst) > 0);
    server.get("/readyz").is(200);
    let refused = server.run(&["mail", "test", "ada@near.test"]);
    refused.exits(1).says("the mail server took longer than");
    let is_said = || server.log().contains("the mail server took longer than");
    assert!(is_so_within(Duration::from_mins(2), is_said), "{}", server.log());
    server.stop();
}
