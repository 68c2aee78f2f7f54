//! Mails on their way: a domain that is slow, a server that says "later" until links are dead, senders with names, and
//! what an operator can try.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lettre::transport::smtp::client::Tls;
use parking_lot::Mutex;
use portcullis::mail::smtp::Smtp;
use portcullis::mail::transport::Transport;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::links::token_in;
use crate::support::process::{BINARY, Process, Ran, serve, sign_up};
use crate::support::{PASSWORD, TestServer, wait_until};

const NAME: &str = "ada@near.test";

/// A mail server that takes mails, or says "later", and that takes its time for mails to domains that end in `slow.test`.
#[derive(Clone, Default)]
struct Relay {
    port: u16,
    /// The text of each mail that was taken.
    taken: Arc<Mutex<Vec<String>>>,
    /// Every line that was not part of a mail.
    lines: Arc<Mutex<Vec<String>>>,
    says_later: Arc<AtomicBool>,
    /// How many mails were put off.
    put_off: Arc<AtomicUsize>,
    /// How many connections wait with a mail to such a domain.
    slow: Arc<AtomicUsize>,
    /// Ends the wait of those.
    is_over: Arc<AtomicBool>,
    /// How many connections have a mail right now, and the most at once.
    busy: Arc<Mutex<(usize, usize)>>,
}

impl Relay {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let relay = Self { port: listener.local_addr().unwrap().port(), ..Self::default() };
        let of_thread = relay.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let relay = of_thread.clone();
                std::thread::spawn(move || relay.serve(stream.unwrap()));
            }
        });
        relay
    }

    fn serve(&self, stream: TcpStream) {
        let mut write = stream.try_clone().unwrap();
        let mut say = |line: &str| write.write_all(format!("{line}\r\n").as_bytes()).is_ok();
        say("220 mail.test");
        let mut mail: Option<String> = None;
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if let Some(text) = &mut mail {
                if line != "." {
                    text.push_str(&format!("{line}\n"));
                    continue;
                }
                // Long enough for the next ones to begin.
                std::thread::sleep(Duration::from_millis(20));
                self.taken.lock().push(mail.take().unwrap());
                self.busy.lock().0 -= 1;
                say("250 taken");
                continue;
            }
            self.lines.lock().push(line.clone());
            let said = match line.split([' ', ':']).next().unwrap() {
                "RCPT" if self.says_later.load(Ordering::SeqCst) => {
                    self.put_off.fetch_add(1, Ordering::SeqCst);
                    say("451 later")
                }
                "RCPT" if line.contains("slow.test>") => {
                    self.slow.fetch_add(1, Ordering::SeqCst);
                    while !self.is_over.load(Ordering::SeqCst) {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    say("250 yes")
                }
                "DATA" => {
                    mail = Some(String::new());
                    let mut busy = self.busy.lock();
                    *busy = (busy.0 + 1, busy.1.max(busy.0 + 1));
                    drop(busy);
                    say("354 go on")
                }
                "QUIT" => return,
                _ => say("250 yes"),
            };
            if !said {
                return;
            }
        }
    }

    fn server(&self) -> TestServer {
        TestServer::mailing(Transport::Smtp(Smtp::new("127.0.0.1", self.port, Tls::None, "us.test")))
    }

    /// Returns how many mails to `name` were taken. Others, such as notices of a new device, may come at any time.
    fn taken_for(&self, name: &str) -> usize {
        let to = format!("To: {name}");
        self.taken.lock().iter().filter(|mail| mail.contains(&to)).count()
    }

    /// Waits for a mail that contains `part`, and returns its text.
    async fn mail(&self, part: &str) -> String {
        let found = || self.taken.lock().iter().find(|mail| mail.contains(part)).cloned();
        wait_until("the relay has the mail", async || found().is_some()).await;
        found().unwrap()
    }
}

#[tokio::test]
async fn a_domain_that_is_slow_delays_no_other_and_has_two_mails_on_their_way() {
    let relay = Relay::start();
    let server = relay.server();
    server.operator_account(NAME, &[]).await;
    for number in 0..6 {
        let body = json!({"email": format!("user{number}@slow.test"), "password": PASSWORD});
        assert_eq!(server.post("/v1/signup", body).await.status, StatusCode::ACCEPTED);
    }
    let slow = || relay.slow.load(Ordering::SeqCst);
    wait_until("two slow mails are on their way", async || slow() == 2).await;
    server.forgot(NAME).await;
    let mail = relay.mail("To: ada@near.test").await;
    assert_eq!(server.reset(&token_in(&mail), "an entirely different phrase").await.status.as_u16(), 204);
    assert_eq!(slow(), 2);
    relay.is_over.store(true, Ordering::SeqCst);
    let taken = || relay.taken.lock().iter().filter(|mail| mail.contains("@slow.test")).count();
    wait_until("the slow mails arrive", async || taken() == 6).await;
}

/// I own a few domains, whose mail servers take their time, with as many names below them as I like. I sign up with
/// addresses there, so that no other mail is sent for days.
#[tokio::test]
async fn slow_domains_of_a_stranger_do_not_hold_up_the_reset_of_an_owner_elsewhere() {
    const MAILS: usize = 60;
    let relay = Relay::start();
    let server = relay.server();
    server.operator_account(NAME, &[]).await;
    let arrived = || relay.taken_for(NAME);
    server.forgot(NAME).await;
    wait_until("a mail has arrived before", async || arrived() == 1).await;
    for number in 0..MAILS {
        let email = format!("user@name{number}.{}slow.test", number % 6);
        let body = json!({"email": email, "password": PASSWORD});
        assert_eq!(server.post("/v1/signup", body).await.status, StatusCode::ACCEPTED);
    }
    let slow = || relay.slow.load(Ordering::SeqCst);
    wait_until("half of the slots are taken", async || slow() == 4).await;
    server.forgot(NAME).await;
    wait_until("the owner has the mail", async || arrived() == 2).await;
    assert_eq!(slow(), 4);
    relay.is_over.store(true, Ordering::SeqCst);
    let taken = || relay.taken.lock().iter().filter(|mail| mail.contains("slow.test")).count();
    wait_until("the slow mails arrive", async || taken() == MAILS).await;
}

/// I sign up with addresses of as many domains as I like, so that the server opens as many connections.
#[tokio::test]
async fn eight_mails_are_on_their_way_at_most() {
    const MAILS: usize = 60;
    let relay = Relay::start();
    let server = relay.server();
    for number in 0..MAILS {
        let body = json!({"email": format!("user{number}@domain{}.test", number % 10), "password": PASSWORD});
        assert_eq!(server.post("/v1/signup", body).await.status, StatusCode::ACCEPTED);
    }
    wait_until("every mail has left", async || relay.taken.lock().len() == MAILS).await;
    let most = relay.busy.lock().1;
    assert!((2..=8).contains(&most), "{most}");
}

/// The mail server takes nothing until the link in the waiting mail is dead: the mail is dropped, and counted.
#[tokio::test]
async fn a_mail_whose_link_has_died_is_not_delivered() {
    let relay = Relay::start();
    let server = relay.server();
    server.operator_account("root@near.test", &["admin"]).await;
    server.operator_account(NAME, &[]).await;
    relay.says_later.store(true, Ordering::SeqCst);
    server.forgot(NAME).await;
    wait_until("a mail is put off", async || relay.put_off.load(Ordering::SeqCst) == 1).await;
    // The access token of the administrator lives for a quarter of an hour.
    server.clock.advance(Duration::from_mins(31));
    relay.says_later.store(false, Ordering::SeqCst);
    the_mail_is_dropped(&server).await;
    assert_eq!(relay.taken_for(NAME), 0);
    // The next request is mailed as usual.
    server.forgot(NAME).await;
    let token = token_in(&relay.mail("To: ada@near.test").await);
    assert_eq!(server.reset(&token, "an entirely different phrase").await.status.as_u16(), 204);
}

/// A mail that had to wait arrives with a link that lives as long as any other.
#[tokio::test]
async fn a_link_that_arrives_late_is_good_for_its_whole_life() {
    let relay = Relay::start();
    let server = relay.server();
    server.operator_account(NAME, &[]).await;
    relay.says_later.store(true, Ordering::SeqCst);
    server.forgot(NAME).await;
    wait_until("a mail is put off", async || relay.put_off.load(Ordering::SeqCst) == 1).await;
    relay.says_later.store(false, Ordering::SeqCst);
    server.clock.advance(Duration::from_mins(27));
    // The failure may have been noted after the clock was moved. The link is not to die meanwhile.
    let mut moved = Duration::ZERO;
    let is_tried_again = async || {
        if moved < Duration::from_mins(1) {
            moved += Duration::from_secs(1);
            server.clock.advance(Duration::from_secs(1));
        }
        !relay.taken.lock().is_empty()
    };
    wait_until("the mail is tried again", is_tried_again).await;
    let token = token_in(&relay.mail("To: ada@near.test").await);
    server.clock.advance(Duration::from_mins(28));
    assert_eq!(server.reset(&token, "an entirely different phrase").await.status.as_u16(), 204);
}

/// A link that was used, or whose account has moved on, does not go out either.
#[tokio::test]
async fn a_link_of_another_epoch_is_not_delivered() {
    let relay = Relay::start();
    let server = relay.server();
    server.operator_account(NAME, &[]).await;
    relay.says_later.store(true, Ordering::SeqCst);
    server.forgot(NAME).await;
    wait_until("a mail is put off", async || relay.put_off.load(Ordering::SeqCst) == 1).await;
    server.operated(json!({"operation": "session_revoke", "user": NAME})).await;
    relay.says_later.store(false, Ordering::SeqCst);
    server.clock.advance(Duration::from_secs(30));
    let root = server.operator_account("root@near.test", &["metrics"]).await;
    // The failure may have been noted after the clock was moved.
    let is_dropped = async || {
        server.clock.advance(Duration::from_millis(500));
        server.figure(&root, "mail_dropped_total").await == Some(1)
    };
    wait_until("the mail is dropped", is_dropped).await;
    assert_eq!(relay.taken_for(NAME), 0);
}

/// Two sign-ups wait for the proof of one address. When one is opened, the link of the other is dead: it does not go out.
#[tokio::test]
async fn the_link_of_a_displaced_sign_up_is_not_delivered() {
    let relay = Relay::start();
    let server = relay.server();
    let root = server.operator_account("root@near.test", &["metrics"]).await;
    let half = server.sign_up(NAME, PASSWORD).await;
    let link = token_in(&relay.mail("To: ada@near.test").await);
    relay.says_later.store(true, Ordering::SeqCst);
    server.sign_up(NAME, "somebody else's long phrase").await;
    wait_until("a mail is put off", async || relay.put_off.load(Ordering::SeqCst) == 1).await;
    assert_eq!(server.confirm(&link, &half).await.status.as_u16(), 204);
    relay.says_later.store(false, Ordering::SeqCst);
    server.clock.advance(Duration::from_secs(30));
    // The failure may have been noted after the clock was moved.
    let is_dropped = async || {
        server.clock.advance(Duration::from_millis(500));
        server.figure(&root, "mail_dropped_total").await == Some(1)
    };
    wait_until("the mail is dropped", is_dropped).await;
    assert_eq!(relay.taken_for(NAME), 1);
}

/// A link that was asked for again shortly before its sign-up ends, and whose mail has to wait, does not go out dead.
#[tokio::test]
async fn a_resent_link_is_not_delivered_after_its_sign_up() {
    let relay = Relay::start();
    let server = relay.server();
    server.operator_account("root@near.test", &["metrics"]).await;
    server.sign_up(NAME, PASSWORD).await;
    relay.mail("To: ada@near.test").await;
    server.clock.advance(Duration::from_hours(23));
    relay.says_later.store(true, Ordering::SeqCst);
    let again = server.post("/v1/email/verify/resend", json!({"email": NAME})).await;
    assert_eq!(again.status, StatusCode::ACCEPTED);
    wait_until("a mail is put off", async || relay.put_off.load(Ordering::SeqCst) == 1).await;
    server.clock.advance(Duration::from_hours(1));
    relay.says_later.store(false, Ordering::SeqCst);
    the_mail_is_dropped(&server).await;
    assert_eq!(relay.taken_for(NAME), 1);
}

/// Waits until one mail is dropped, in the figures that the account root@near.test may read.
async fn the_mail_is_dropped(server: &TestServer) {
    let (root, _) = server.tokens("root@near.test").await;
    // The failure may have been noted after the clock was moved.
    let is_dropped = async || {
        server.clock.advance(Duration::from_millis(500));
        server.figure(&root, "mail_dropped_total").await == Some(1)
    };
    wait_until("the mail is dropped", is_dropped).await;
}

/// Adds the settings by which the binary sends its mails to `relay`.
fn mailing<'c>(command: &'c mut Command, relay: &Relay, from: &str) -> &'c mut Command {
    command.envs([
        ("PORTCULLIS__MAIL__TRANSPORT", "smtp"),
        ("PORTCULLIS__MAIL__FROM", from),
        ("PORTCULLIS__MAIL__SMTP__HOST", "127.0.0.1"),
        ("PORTCULLIS__MAIL__SMTP__PORT", &relay.port.to_string()),
        ("PORTCULLIS__MAIL__SMTP__TLS", "none"),
    ])
}

#[tokio::test]
async fn senders_with_a_name_or_an_international_domain_speak_ascii_to_the_mail_server() {
    for (from, domain, header) in [
        ("Example Log-in <login@example.org>", "example.org", "From: \"Example Log-in\" <login@example.org>"),
        ("K\u{f6}nigs Log-in <login@example.org>", "example.org", "From: =?utf-8?"),
        ("login@b\u{fc}cher.example", "xn--bcher-kva.example", "From: login@xn--bcher-kva.example"),
    ] {
        let relay = Relay::start();
        let dir = tempfile::tempdir().unwrap();
        let mut command = serve(&dir.path().join("data"));
        mailing(&mut command, &relay, from).env("PORTCULLIS__SIGNUP__VERIFY_EMAIL", "required");
        let mut process = Process::spawn(command);
        sign_up(&reqwest::Client::new(), &process.url, "ada@near.test").await.unwrap();
        let mail = relay.mail("To: ada@near.test").await;
        assert_eq!(process.stop(), Some(0));
        let lines = relay.lines.lock().clone();
        assert!(lines.contains(&format!("EHLO {domain}")), "{lines:?}");
        let sender = lines.iter().find(|line| line.starts_with("MAIL FROM:")).unwrap();
        assert!(sender.contains(&format!("<login@{domain}>")), "{sender}");
        let heads = mail.split("\n\n").next().unwrap();
        assert!(heads.contains(header), "{heads}");
        assert!(heads.contains(&format!("@{domain}>\n")) && heads.contains("Message-ID: <"), "{heads}");
        assert!(heads.contains("Auto-Submitted: auto-generated"), "{heads}");
        assert!(heads.contains("X-Auto-Response-Suppress: All"), "{heads}");
    }
}

#[test]
fn an_operator_tries_the_mail_server_by_a_test_mail_and_by_the_checklist() {
    let relay = Relay::start();
    let dir = tempfile::tempdir().unwrap();
    let run = |relay: &Relay, args: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(args).arg("--data-dir").arg(dir.path().join("data"));
        Ran::of(mailing(&mut command, relay, "login@example.org"))
    };
    run(&relay, &["mail", "test", "you@near.test"])
        .exits(0)
        .says("mail to you@near.test: taken by 127.0.0.1");
    assert!(relay.taken.lock()[0].contains("To: you@near.test"));
    run(&relay, &["doctor"]).says(&format!("pass  mail server 127.0.0.1:{}, connected", relay.port));
    assert_eq!(relay.taken.lock().len(), 1, "the checklist sends nothing");
    run(&relay, &["mail", "test", "nobody"]).exits(2).says("not an e-mail address");

    let none = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = Relay { port: none.local_addr().unwrap().port(), ..Relay::default() };
    drop(none);
    run(&gone, &["mail", "test", "you@near.test"]).exits(1).says("the mail was not sent");
    run(&gone, &["doctor"]).says(&format!("fail  mail server 127.0.0.1:{}, ", gone.port)).says("[mail.smtp]");
}

/// The owner of an account that an administrator has made hears nothing of it, or gets a mail about a forgotten password.
#[tokio::test]
async fn the_owner_of_an_account_that_was_made_for_them_is_invited_for_a_week() {
    let server = TestServer::start();
    let root = server.operator_account("root@near.test", &["admin"]).await;
    let made = server.post_as("/v1/admin/users", &root, json!({"email": NAME, "roles": ["staff"]})).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let invitation = server.mail(NAME, "Your account at").await;
    assert!(invitation.letter.text.contains("was made for you"), "{}", invitation.letter.text);
    server.clock.advance(Duration::from_hours(24 * 6));
    // Asking again mails the same link, which lives for another week.
    let root = server.admin_token("root@near.test").await;
    let path = format!("/v1/admin/users/{}/send_reset", made.text("id"));
    server.mails.lock().clear();
    assert_eq!(server.post_as(&path, &root, json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.mail(NAME, "Your account at").await.letter.link, invitation.letter.link);
    server.clock.advance(Duration::from_hours(24 * 6));
    let token = token_in(&invitation.letter.link.unwrap());
    assert_eq!(server.reset(&token, PASSWORD).await.status, StatusCode::NO_CONTENT);
    let user = server.log_in(NAME, PASSWORD).await.body["user"].clone();
    assert_eq!((&user["email_verified"], &user["roles"]), (&json!(true), &json!(["staff"])));
    // From now on a link sets a new password.
    let root = server.admin_token("root@near.test").await;
    assert_eq!(server.post_as(&path, &root, json!({})).await.status, StatusCode::NO_CONTENT);
    server.mail(NAME, "Set a new password").await;
    assert_eq!(server.reset(&token, "another long phrase").await.status, StatusCode::BAD_REQUEST);

    let add = json!({"operation": "user_add", "email": "bob@near.test", "password": null, "roles": []});
    let added = server.operate(add).await;
    assert_eq!(added["ok"]["mail"], json!("sent"), "{added}");
    server.mail("bob@near.test", "Your account at").await;
}
