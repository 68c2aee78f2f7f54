//! Postfix, as strict as it can be set: it takes mails only by STARTTLS and with a log-in, and nothing that the standards
//! do not allow.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{login, sasl, server};
use crate::authority::Authority;
use crate::install::{OPENSSL, POSTFIX, ROOT, installed};
use crate::program::{Program, free_port, output, wait_until};
use crate::server::Server;
use crate::support::links::token_in;

/// The services of Postfix that take a mail and put it into a mailbox.
const SERVICES: &str = "\
cleanup   unix  n - n -    0 cleanup
qmgr      unix  n - n 300  1 qmgr
tlsmgr    unix  - - n 1000 1 tlsmgr
rewrite   unix  - - n -    - trivial-rewrite
bounce    unix  - - n -    0 bounce
defer     unix  - - n -    0 bounce
trace     unix  - - n -    0 bounce
error     unix  - - n -    - error
retry     unix  - - n -    - error
virtual   unix  - n n -    - virtual
anvil     unix  - - n -    1 anvil
proxymap  unix  - - n -    - proxymap
postlog   unix-dgram n - n - 1 postlogd
";

/// A running Postfix with a mailbox for everybody at near.test but for `gone@near.test`.
struct Postfix {
    _program: Program,
    port: u16,
    dir: tempfile::TempDir,
    authority: Authority,
}

impl Postfix {
    /// Starts Postfix with `settings` on top.
    fn with(settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
        let authority = Authority::new(path);
        for folder in ["etc", "queue", "data", "box"] {
            std::fs::create_dir(path.join(folder)).unwrap();
        }
        output(Command::new("chown").arg("postfix").arg(path.join("data")));
        output(Command::new("chown").arg("nobody").arg(path.join("box")));
        let port = free_port();
        std::fs::write(
            path.join("etc/master.cf"),
            format!("127.0.0.1:{port} inet n - n - - smtpd\n{SERVICES}"),
        )
        .unwrap();
        // A folder, since the name ends with a slash; everybody but one shares it.
        std::fs::write(path.join("boxes"), "if !/^gone@/\n/@near\\.test$/ mails/\nendif\n").unwrap();
        std::fs::write(path.join("etc/main.cf"), main_cf(path, &authority) + settings).unwrap();
        let mut command = Command::new("postfix");
        command.arg("-c").arg(path.join("etc")).arg("start-fg");
        let program = Program::start(command, &path.join("log")).listens_at(port);
        Self { _program: program, port, dir, authority }
    }

    /// Starts a server that logs in with the right password, and trusts the authority, with `settings` on top.
    fn server(&self, settings: &[(&str, &str)]) -> Server {
        let login = login(self.dir.path());
        let login = login.each_ref().map(|(key, value)| (*key, value.as_str()));
        server(self.port, Some(&self.authority), &[&login[..], settings].concat())
    }

    /// Returns what Postfix has written.
    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("maillog")).unwrap()
    }

    /// Returns the mails in the mailbox.
    fn mails(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("box/mails/new")).into_iter().flatten();
        entries.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok()).collect()
    }

    /// Waits for a mail to `to`.
    #[track_caller]
    fn mail(&self, to: &str) -> String {
        let header = format!("\nX-Original-To: {to}\n");
        let find = || self.mails().into_iter().find(|mail| mail.contains(&header));
        wait_until(&format!("a mail to {to} is delivered"), || find().is_some());
        find().unwrap()
    }
}

fn main_cf(dir: &Path, authority: &Authority) -> String {
    let [certificate, key] = [&authority.certificate, &authority.key].map(|file| file.display());
    let asks = sasl::start();
    let dir = dir.display();
    format!(
        "compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
myhostname = mail.house.test
mydestination =
mynetworks = 192.0.2.1/32
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
virtual_mailbox_domains = near.test
virtual_mailbox_base = {dir}/box
virtual_mailbox_maps = regexp:{dir}/boxes
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
smtpd_tls_cert_file = {certificate}
smtpd_tls_key_file = {key}
smtpd_tls_security_level = encrypt
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{asks}
smtpd_tls_auth_only = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_delay_reject = yes
smtpd_helo_required = yes
smtpd_helo_restrictions = reject_invalid_helo_hostname, reject_non_fqdn_helo_hostname
smtpd_sender_restrictions = reject_non_fqdn_sender
smtpd_data_restrictions = reject_unauth_pipelining
smtpd_forbid_bare_newline = yes
strict_rfc821_envelopes = yes
strict_mime_encoding_domain = yes
strict_8bitmime = yes
"
    )
}

#[test]
fn a_strict_postfix_takes_mails_by_starttls_and_log_in() {
    if !installed(&[POSTFIX, ROOT, OPENSSL]) {
        return;
    }
    let postfix = Postfix::with("smtpd_tls_received_header = yes\nsmtpd_sasl_authenticated_header = yes\n");
    let server = postfix.server(&[
        ("mail.from", "K\u{f6}nigs Log-in, Ltd. <login@house.test>"),
        ("service_name", "."),
        ("mail.smtp.utf8", "true"),
    ]);
    server.sign_up("ada@near.test").is(202);
    let mail = postfix.mail("ada@near.test");
    assert!(mail.contains("\n\t(using TLSv1.3 with cipher "), "{mail}");
    assert!(mail.contains("(Authenticated sender: portcullis)"), "{mail}");
    let mail = format!("\n{mail}");
    let (head, body) = mail.split_once("\n\n").unwrap();
    let header = |name: &str| {
        let mark = format!("\n{name}: ");
        assert_eq!(head.matches(&mark).count(), 1, "{name} in {head}");
        head.split(&mark).nth(1).unwrap().split('\n').next().unwrap()
    };
    assert!(head.is_ascii(), "{head}");
    assert_eq!(header("Return-Path"), "<login@house.test>");
    assert_eq!(header("Auto-Submitted"), "auto-generated");
    assert!(
        header("From").starts_with("=?utf-8?") && header("From").ends_with("<login@house.test>"),
        "{head}"
    );
    // Postfix adds the identifier that is missing, with its own name.
    assert!(header("Message-ID").ends_with("@house.test>"), "{head}");
    assert!(body.lines().all(|line| line.len() <= 998), "{body}");
    assert!(body.lines().any(|line| line == "."), "{body}");
    assert!(body.contains("</html>"), "{body}");
    server.post("/v1/email/verify", &serde_json::json!({"token": token_in(&mail)})).is(200);
}

#[test]
fn the_authorities_of_ssl_cert_file_are_believed_as_well() {
    if !installed(&[POSTFIX, ROOT, OPENSSL]) {
        return;
    }
    let postfix = Postfix::with("");
    let root = postfix.authority.root.to_string_lossy().into_owned();
    let server = postfix.server(&[("mail.smtp.ca_file", ""), ("SSL_CERT_FILE", &root)]);
    server.run(&["mail", "test", "ada@near.test"]).exits(0).says("taken by 127.0.0.1");
    server.sign_up("eve@near.test").is(202);
    postfix.mail("ada@near.test");
    postfix.mail("eve@near.test");
}

#[test]
fn a_certificate_of_a_strange_authority_gets_neither_password_nor_mail() {
    if !installed(&[POSTFIX, ROOT, OPENSSL]) {
        return;
    }
    let postfix = Postfix::with("smtpd_tls_loglevel = 1\n");
    let strange = tempfile::tempdir().unwrap();
    let strange = Authority::new(strange.path()).root.to_string_lossy().into_owned();
    // The name in the certificate counts as well: "localhost" is not in it.
    for wrong in [("mail.smtp.ca_file", strange.as_str()), ("mail.smtp.host", "localhost")] {
        let server = postfix.server(&[wrong]);
        server
            .run(&["mail", "test", "ada@near.test"])
            .exits(1)
            .says("the mail was not sent")
            .says("certificate");
        server.sign_up("ada@near.test").is(202);
        wait_until("the log says why", || server.log().contains("cannot send a mail"));
        server.run(&["doctor"]).says("certificate");
    }
    let breaks = ["SSL_accept error", "after STARTTLS"];
    assert!(breaks.iter().any(|word| postfix.log().contains(word)), "{}", postfix.log());
    assert!(!postfix.log().contains("sasl_username"), "{}", postfix.log());
    assert_eq!(postfix.mails(), Vec::<String>::new());
}

#[test]
fn a_wrong_password_loses_no_mail() {
    if !installed(&[POSTFIX, ROOT, OPENSSL]) {
        return;
    }
    let postfix = Postfix::with("");
    let server = postfix.server(&[]);
    let file = postfix.dir.path().join("password");
    let right = std::fs::read(&file).unwrap();
    std::fs::write(&file, "not the password\n").unwrap();
    let server = server.restart();
    server.sign_up("ada@near.test").is(202);
    wait_until("the log says why", || server.log().contains("the mail server answered 535"));
    server.run(&["mail", "test", "ada@near.test"]).exits(1).says("535");
    std::fs::write(&file, right).unwrap();
    let server = server.restart();
    postfix.mail("ada@near.test");
    assert!(!server.log().contains("not the password"));
}

#[test]
fn a_mailbox_that_is_unknown_ends_its_mail_and_no_other() {
    if !installed(&[POSTFIX, ROOT, OPENSSL]) {
        return;
    }
    let postfix = Postfix::with("");
    let server = postfix.server(&[]);
    server.sign_up("gone@near.test").is(202);
    wait_until("the log says why", || server.log().contains("the mail server answered 550 5.1.1"));
    server.sign_up("ada@near.test").is(202);
    postfix.mail("ada@near.test");
    assert!(!server.log().contains("gone@near.test"), "{}", server.log());
}

#[test]
fn without_smtputf8_and_8bitmime_postfix_gets_what_it_takes_and_no_more() {
    if !installed(&[POSTFIX, ROOT, OPENSSL]) {
        return;
    }
    let postfix = Postfix::with(
        "smtputf8_enable = no\nsmtpd_discard_ehlo_keywords = 8bitmime\nstrict_7bit_headers = yes\n",
    );
    let server = postfix.server(&[("mail.smtp.utf8", "true"), ("service_name", "K\u{f6}nigs B\u{fc}cher")]);
    server.sign_up("j\u{fc}rgen@near.test").is(202);
    wait_until("the log says why", || server.log().contains("does not offer SMTPUTF8"));
    server.sign_up("ada@near.test").is(202);
    let mail = postfix.mail("ada@near.test");
    assert!(mail.is_ascii(), "{mail}");
    assert!(!postfix.log().contains("rgen@near.test"), "{}", postfix.log());
    server.run(&["doctor"]).says("mail.smtp.utf8");
}

/// Answers Postfix about each recipient: the first time "come back", later "as you like". Returns the port and the names
/// that were asked about.
fn greylist() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || decide(stream.unwrap(), &seen));
        }
    });
    (port, asked)
}

fn decide(stream: TcpStream, seen: &Mutex<Vec<String>>) {
    let mut write = stream.try_clone().unwrap();
    let mut recipient = String::new();
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if let Some(name) = line.strip_prefix("recipient=") {
            name.clone_into(&mut recipient);
        }
        if line.is_empty() {
            let is_known = seen.lock().contains(&recipient);
            seen.lock().push(recipient.clone());
            let action = if is_known { "DUNNO" } else { "451 4.7.1 Greylisted, come back" };
            if write.write_all(format!("action={action}\n\n").as_bytes()).is_err() {
                return;
            }
        }
    }
}

#[test]
fn a_postfix_with_greylisting_gets_each_mail_by_its_second_try() {
    if !installed(&[POSTFIX, ROOT, OPENSSL]) {
        return;
    }
    let (port, asked) = greylist();
    let policy = format!("check_policy_service inet:127.0.0.1:{port}");
    let postfix = Postfix::with(&format!("smtpd_recipient_restrictions = {policy}\n"));
    let server = postfix.server(&[]);
    server.sign_up("ada@near.test").is(202);
    server.sign_up("eve@near.test").is(202);
    postfix.mail("ada@near.test");
    postfix.mail("eve@near.test");
    assert_eq!(asked.lock().len(), 4);
    assert!(server.log().contains("the mail server answered 451 4.7.1"), "{}", server.log());
}
