//! Hooks: a program of the operator judges sign-ups and log-ins. I make it slow, answer in its place, give myself claims, and
//! look at its answers for whose addresses have accounts.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use portcullis::server::outbound::signature::{answer_header, header, signature};
use portcullis::system::clock::Timestamp;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::process::skipped;
use crate::support::{Browser, PASSWORD, START, TestServer, wait_until};

const SECRET: &str = "a secret for the hooks";
const ADA: &str = "ada@test.org";

/// What the hook does with a question.
#[derive(Clone)]
enum Act {
    /// Signs this body and answers with it.
    Say(Value),
    /// Signs this text and answers with it.
    Sign(String),
    /// Answers with this body, signed by this header.
    Forge(fn(&Asked) -> (String, Vec<u8>)),
    /// Answers with this text of HTTP.
    Raw(Vec<u8>),
    /// Keeps the connection and says nothing.
    Sleep,
}

/// A question that the hook has got.
#[derive(Clone)]
struct Asked {
    body: Value,
    signature: String,
    bytes: Vec<u8>,
}

impl Asked {
    fn at(&self) -> Timestamp {
        let (secs, _) = self.signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        Timestamp::from_secs(secs.parse().unwrap())
    }
}

/// A hook on this machine.
struct Hook {
    port: u16,
    acts: Arc<Mutex<VecDeque<Act>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Hook {
    /// Starts a hook that does what it is told, one act for each question, and says yes once it has done all.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let hook = Self { port, acts: Arc::default(), asked: Arc::default() };
        let (acts, asked) = (Arc::clone(&hook.acts), Arc::clone(&hook.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (acts, asked) = (Arc::clone(&acts), Arc::clone(&asked));
                std::thread::spawn(move || answer(stream.unwrap(), &acts, &asked));
            }
        });
        hook
    }

    fn will(&self, act: Act) {
        self.acts.lock().unwrap().push_back(act);
    }

    fn will_say(&self, body: Value) {
        self.will(Act::Say(body));
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Starts a server that asks this hook, with `more` settings.
    fn server(&self, more: &[(&str, &str)]) -> (TestServer, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let url = format!("http://127.0.0.1:{}/hook", self.port);
        let own = [
            ("hook.sign_up", &*url),
            ("hook.claims", &*url),
            ("hook.secret_file", secret.to_str().unwrap()),
            ("outbound.allow", "127.0.0.1"),
        ];
        (TestServer::with(&[&own[..], more].concat()), dir)
    }
}

fn answer(stream: TcpStream, acts: &Mutex<VecDeque<Act>>, all: &Mutex<Vec<Asked>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut signature, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_lowercase().as_str() {
            "portcullis-signature" => value.clone_into(&mut signature),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).unwrap();
    let asked = Asked { body: serde_json::from_slice(&bytes).unwrap(), signature, bytes };
    all.lock().unwrap().push(asked.clone());
    let act = acts.lock().unwrap().pop_front().unwrap_or(Act::Say(json!({"allow": true})));
    let act = if let Act::Say(body) = act { Act::Sign(body.to_string()) } else { act };
    let (header, body) = match act {
        Act::Say(_) => unreachable!("it is signed as a text"),
        Act::Sign(body) => {
            let body = body.into_bytes();
            let id = asked.body["id"].as_str().unwrap();
            (answer_header(SECRET.as_bytes(), id, &body, asked.at()), body)
        }
        Act::Forge(forge) => forge(&asked),
        Act::Raw(bytes) => {
            let _ = (&stream).write_all(&bytes);
            return;
        }
        Act::Sleep => {
            // Until the other side hangs up.
            let _ = reader.read(&mut [0; 1]);
            return;
        }
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nPortcullis-Signature: {header}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let _ = (&stream).write_all(&[head.into_bytes(), body].concat());
}

fn claims(access: &str) -> Value {
    let part = access.split('.').nth(1).unwrap();
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_question_is_signed_and_says_who_asks_for_what() {
    let hook = Hook::start();
    let (server, _dir) = hook.server(&[]);
    let body = json!({"email": "Ada@TEST.org", "password": PASSWORD, "name": "Ada"});
    let signed_up = server.post("/v1/signup", body).await;
    assert_eq!(signed_up.status, StatusCode::ACCEPTED, "{}", signed_up.body);
    let asked = hook.asked().pop().unwrap();
    assert_eq!(asked.at(), START);
    let expected = signature(SECRET.as_bytes(), START.as_secs(), &asked.bytes);
    assert!(asked.signature.ends_with(&expected), "{}", asked.signature);
    assert_eq!(asked.body["type"], json!("sign_up"));
    assert_eq!(asked.body["email"], json!(ADA));
    assert_eq!(asked.body["name"], json!("Ada"));
    assert_eq!(asked.body["network"], json!("127.0.0.1/32"));
    assert!(!String::from_utf8_lossy(&asked.bytes).contains(PASSWORD));
    server.operator_account("root@test.org", &["admin", "editor"]).await;
    let log_in = server.log_in("root@test.org", PASSWORD).await;
    let asked = hook.asked().pop().unwrap().body;
    assert_eq!(asked["type"], json!("claims"));
    assert_eq!(asked["roles"], json!(["admin", "editor"]));
    assert_eq!((&asked["reason"], &asked["kind"]), (&json!("log_in"), &json!("tokens")));
    assert_eq!(asked["app_metadata"], Value::Null);
    assert_eq!(server.refresh(&log_in.text("refresh_token")).await.status, StatusCode::OK);
    let again = hook.asked().pop().unwrap().body;
    assert_eq!(again["reason"], json!("refresh"));
    assert_ne!(again["id"], asked["id"]);
    server.log_in_for_cookie("root@test.org").await;
    assert_eq!(hook.asked().pop().unwrap().body["kind"], json!("cookie"));
}

/// The no of a hook has the hook's own words, of which none breaks a line, for me as for whoever has an account.
#[tokio::test]
async fn a_refused_sign_up_is_alike_for_known_and_unknown_addresses() {
    let hook = Hook::start();
    let (server, _dir) = hook.server(&[]);
    server.operated(json!({"operation": "user_add", "email": ADA, "password": PASSWORD, "roles": []})).await;
    let engine = server.engine.upgrade().unwrap();
    let mut told = Vec::new();
    for email in [ADA, "bob@test.org"] {
        hook.will_say(json!({"allow": false, "reason": format!("not\r\n\u{7}you: {}", "x".repeat(500))}));
        let hashes = engine.work().hashes;
        let answer = server.post("/v1/signup", json!({"email": email, "password": PASSWORD})).await;
        assert_eq!(answer.problem(), (403, "signup_refused"));
        told.push((answer.text("detail"), engine.work().hashes - hashes));
    }
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].1, 0);
    assert_eq!(told[0].0.chars().count(), 200);
    assert!(told[0].0.starts_with("notyou: xxx"), "{}", told[0].0);
    hook.will_say(json!({"allow": false}));
    let silent = server.post("/v1/signup", json!({"email": ADA, "password": PASSWORD})).await;
    assert_eq!(silent.text("detail"), "The operator does not let this sign-up in.");
}

/// Whoever sits between, or has the place of the hook, says yes without its secret, with an answer to another question, or with
/// something that is none.
#[tokio::test]
async fn an_answer_that_the_hook_has_not_signed_for_this_question_is_none() {
    let hook = Hook::start();
    let (server, _dir) = hook.server(&[]);
    server.operator_account(ADA, &[]).await;
    let metrics = server.operator_account("metrics@test.org", &["metrics"]).await;
    let long = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10485760\r\nconnection: close\r\n\r\n".to_vec(),
        vec![b' '; 10 << 20],
    ]
    .concat();
    let acts = [
        Act::Forge(|_| (String::new(), br#"{"allow":true}"#.to_vec())),
        Act::Forge(|asked| (asked.signature.clone(), br#"{"allow":true}"#.to_vec())),
        Act::Forge(|asked| {
            let body = br#"{"allow":true}"#.to_vec();
            (header(SECRET.as_bytes(), asked.at(), &body), body)
        }),
        Act::Forge(|asked| {
            let body = br#"{"allow":true}"#.to_vec();
            (answer_header(SECRET.as_bytes(), "00000000000000000000000000000000", &body, asked.at()), body)
        }),
        Act::Forge(|asked| {
            let (body, id) = (br#"{"allow":true}"#.to_vec(), asked.body["id"].as_str().unwrap());
            (answer_header(b"another secret", id, &body, asked.at()), body)
        }),
        Act::Forge(|asked| {
            let id = asked.body["id"].as_str().unwrap();
            let header = answer_header(SECRET.as_bytes(), id, br#"{"allow":false}"#, asked.at());
            (header, br#"{"allow":true}"#.to_vec())
        }),
        Act::Say(json!({"allowed": true})),
        Act::Say(json!("yes")),
        Act::Say(json!({"allow": true, "claims": {"a": "x".repeat(1024 - 6 + 1)}})),
        Act::Raw(b"HTTP/1.1 302 x\r\nlocation: /yes\r\ncontent-length: 0\r\n\r\n".to_vec()),
        Act::Raw(b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n".to_vec()),
        Act::Raw(b"yes".to_vec()),
        Act::Raw(Vec::new()),
        Act::Raw(long),
    ];
    let count = acts.len() as u64;
    let before = server.figure(&metrics, "hook_failed_total").await.unwrap();
    for (number, act) in acts.into_iter().enumerate() {
        hook.will(act);
        let refused = server.log_in(ADA, PASSWORD).await;
        assert_eq!(refused.problem(), (503, "hook_unavailable"), "{number}");
        assert!(refused.body.get("access_token").is_none());
    }
    assert_eq!(server.figure(&metrics, "hook_failed_total").await, Some(before + count));
    // The same with what is right.
    hook.will_say(json!({"allow": true, "claims": {"a": "x".repeat(1024 - 6)}}));
    let right = server.log_in(ADA, PASSWORD).await;
    assert_eq!(right.status, StatusCode::OK, "{}", right.body);
    assert_eq!(server.get_as("/v1/me", &right.text("access_token")).await.status, StatusCode::OK);
}

/// Whoever speaks for the hook makes nobody an administrator, and no token outlives its time.
#[tokio::test]
async fn a_hook_adds_claims_and_none_of_the_servers_own() {
    let hook = Hook::start();
    let (server, _dir) = hook.server(&[("token.claims", "app_metadata.plan,email")]);
    server.operator_account(ADA, &[]).await;
    let evil = json!({
        "tenant": {"id": 7}, "sub": "0", "roles": ["admin"], "exp": 9_999_999_999_u64, "iss": "x", "aud": "x",
        "scope": "all", "email": "root@test.org", "app_metadata": {"plan": "pro"}, "sid": "0", "jti": "0",
    });
    hook.will_say(json!({"allow": true, "claims": evil}));
    let log_in = server.log_in(ADA, PASSWORD).await;
    let access = log_in.text("access_token");
    let of_mine = claims(&access);
    assert_eq!(of_mine["tenant"], json!({"id": 7}));
    assert_eq!(of_mine["roles"], json!([]));
    assert_eq!(of_mine["email"], json!(ADA));
    assert_eq!(of_mine.get("app_metadata"), None);
    assert_eq!(of_mine.get("scope"), None);
    assert!(of_mine["exp"].as_u64().unwrap() < 1_900_000_000);
    assert_eq!(server.get_as("/v1/me", &access).await.status, StatusCode::OK);
    // Each token has those of its own answer.
    hook.will_say(json!({"allow": true, "claims": {"tenant": "other"}}));
    let next = server.refresh(&log_in.text("refresh_token")).await;
    assert_eq!(claims(&next.text("access_token"))["tenant"], json!("other"));
    let next = server.refresh(&next.text("refresh_token")).await;
    assert_eq!(claims(&next.text("access_token")).get("tenant"), None);
}

/// A hook that says no, or nothing, for a while costs nobody a session, and no refresh token is spent for nothing.
#[tokio::test]
async fn a_no_at_a_refresh_ends_the_refresh_and_not_the_session() {
    let hook = Hook::start();
    let (server, _dir) = hook.server(&[]);
    server.operator_account(ADA, &[]).await;
    let token = server.tokens(ADA).await.1;
    for _ in 0..3 {
        hook.will_say(json!({"allow": false, "reason": "not on Sundays"}));
        let refused = server.refresh(&token).await;
        assert_eq!(refused.problem(), (403, "login_refused"));
        assert_eq!(refused.text("detail"), "not on Sundays");
        // Beyond the grace, in which a spent token would come back unharmed.
        server.clock.advance(Duration::from_mins(1));
    }
    hook.will(Act::Raw(b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n".to_vec()));
    assert_eq!(server.refresh(&token).await.problem(), (503, "hook_unavailable"));
    server.clock.advance(Duration::from_mins(1));
    assert_eq!(server.refresh(&token).await.status, StatusCode::OK);
    // And a log-in that is refused leaves nothing open.
    let open = async || {
        let shown = server.operated(json!({"operation": "session_list", "user": ADA})).await;
        shown["items"].as_array().map(Vec::len)
    };
    let before = open().await;
    hook.will_say(json!({"allow": false}));
    assert_eq!(server.log_in(ADA, PASSWORD).await.problem(), (403, "login_refused"));
    assert_eq!(open().await, before);
    // A stranger with a wrong password learns nothing of the hook.
    hook.will_say(json!({"allow": false}));
    assert_eq!(server.log_in(ADA, "not the password at all").await.problem(), (401, "invalid_credentials"));
}

/// The hook lets me in no more, so I renew what I have by changing my password. The change counts, with its mail and its line in
/// the log, and I have nothing afterwards. The same where the hook says nothing that is understood.
#[tokio::test]
async fn a_new_password_opens_nothing_for_whom_the_hook_refuses() {
    let hook = Hook::start();
    let (server, _dir) = hook.server(&[]);
    server.operator_account(ADA, &[]).await;
    let second = "an entirely different phrase";
    for (said, old, new, expected) in [
        (json!({"allow": false}), PASSWORD, second, (403, "login_refused")),
        (json!(7), second, PASSWORD, (503, "hook_unavailable")),
    ] {
        let before = server.log_in(ADA, old).await;
        server.mails.lock().clear();
        hook.will_say(said);
        let changed = server.change_password(&before.text("access_token"), old, new).await;
        assert_eq!(changed.problem(), expected);
        assert_eq!(hook.asked().pop().unwrap().body["reason"], json!("replacement"));
        assert_eq!(open_sessions(&server).await, 0);
        assert_eq!(server.refresh(&before.text("refresh_token")).await.status.as_u16(), 401);
        server.mail(ADA, "password").await;
        assert_eq!(server.log_in(ADA, old).await.status.as_u16(), 401);
        assert_eq!(server.log_in(ADA, new).await.status.as_u16(), 200);
    }
    let tail = json!({"operation": "audit_tail", "limit": 9, "event": "password.changed"});
    let lines = server.operated(tail).await;
    assert_eq!(lines["items"].as_array().map(Vec::len), Some(2), "{lines}");
}

async fn open_sessions(server: &TestServer) -> usize {
    let shown = server.operated(json!({"operation": "session_list", "user": ADA})).await;
    shown["items"].as_array().unwrap().len()
}

/// The same with a new address, by tokens and by a cookie.
#[tokio::test]
async fn a_new_address_opens_nothing_for_whom_the_hook_refuses() {
    for is_cookie in [false, true] {
        let hook = Hook::start();
        let (server, _dir) = hook.server(&[]);
        let access = server.operator_account(ADA, &[]).await;
        let new = "ada@new.test";
        assert_eq!(server.change_email(&access, new).await.status, StatusCode::ACCEPTED);
        let link = server.mailed_link(new, "Confirm your new address").await;
        let browser = Browser::log_in(&server, ADA).await;
        hook.will_say(json!({"allow": false, "reason": "Not today."}));
        let path = "/v1/email/change/confirm";
        let body = json!({"token": link.0, "email": link.1});
        let confirmed = if is_cookie {
            browser.ask(&server, Method::POST, path, body).await
        } else {
            server.follow_as(&access, path, &link).await
        };
        assert_eq!(confirmed.problem(), (403, "login_refused"));
        assert_eq!(confirmed.body["detail"], json!("Not today."));
        let shown = server.operated(json!({"operation": "session_list", "user": new})).await;
        assert_eq!(shown["items"], json!([]));
        let tail = json!({"operation": "audit_tail", "limit": 9, "event": "email.changed"});
        assert_eq!(server.operated(tail).await["items"].as_array().map(Vec::len), Some(1));
        // The address before can undo it as ever, and the new one logs in.
        server.mail(ADA, "address").await;
        assert_eq!(server.log_in(new, PASSWORD).await.status.as_u16(), 200);
        // Again is no way round.
        let again = server.follow_as(&access, path, &link).await;
        assert_eq!(again.status.as_u16(), 401, "{}", again.body);
    }
}

/// A proof by the password gives a browser another cookie.
#[tokio::test]
async fn a_proof_by_the_password_renews_no_cookie_of_whom_the_hook_refuses() {
    let hook = Hook::start();
    let (server, _dir) = hook.server(&[]);
    server.operator_account(ADA, &[]).await;
    let browser = Browser::log_in(&server, ADA).await;
    hook.will_say(json!({"allow": false}));
    let proof = json!({"password": PASSWORD});
    let refused = browser.ask(&server, Method::POST, "/v1/reauthenticate", proof.clone()).await;
    assert_eq!(refused.problem(), (403, "login_refused"));
    assert_eq!(hook.asked().pop().unwrap().body["kind"], json!("cookie"));
    // Its session goes on as it was.
    let renewed = browser.ask(&server, Method::POST, "/v1/reauthenticate", proof).await;
    assert!(renewed.status.is_success(), "{}", renewed.body);
}

/// A name that stands twice means one thing to the hook and another to who reads the token; marks of the direction make a reason
/// read as another.
#[tokio::test]
async fn claims_that_stand_twice_are_no_answer_and_a_reason_reads_in_its_direction() {
    let hook = Hook::start();
    let (server, _dir) = hook.server(&[]);
    server.operator_account(ADA, &[]).await;
    for claims in [r#"{"tenant":"a","tenant":"b"}"#, r#"{"a":{"b":1,"\u0062":2}}"#, "[]"] {
        hook.will(Act::Sign(format!("{{\"allow\":true,\"claims\":{claims}}}")));
        assert_eq!(server.log_in(ADA, PASSWORD).await.problem(), (503, "hook_unavailable"), "{claims}");
    }
    hook.will(Act::Sign(String::from(r#"{"allow":true,"claims":{"a":[{"b":1},{"b":1}]}}"#)));
    assert_eq!(server.log_in(ADA, PASSWORD).await.status.as_u16(), 200);
    hook.will_say(json!({"allow": false, "reason": "no\u{202e}t\u{2066} \u{200f}you\u{2028}\u{1b}"}));
    assert_eq!(server.log_in(ADA, PASSWORD).await.body["detail"], json!("not you"));
}

/// A hook that sleeps is waited for two seconds; meanwhile everybody else is served, and so is whoever comes after.
#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_sleeps_holds_up_nobody_else() {
    let hook = Hook::start();
    let (server, _dir) = hook.server(&[("hook.on_error", "allow"), ("throttle.signup.burst", "100")]);
    server.operator_account(ADA, &[]).await;
    let server = Arc::new(server);
    for _ in 0..20 {
        hook.will(Act::Sleep);
    }
    let mut sign_ups = tokio::task::JoinSet::new();
    for number in 0..20 {
        let server = Arc::clone(&server);
        let body = json!({"email": format!("new{number}@test.org"), "password": PASSWORD});
        sign_ups.spawn(async move { server.post("/v1/signup", body).await.status });
    }
    wait_until("all sign-ups wait for the hook", async || hook.asked().len() >= 20).await;
    // None has been answered, and none holds a turn of the hash pool or the thread of the actors.
    let log_in = server.log_in(ADA, PASSWORD).await;
    assert_eq!(log_in.status, StatusCode::OK, "{}", log_in.body);
    assert_eq!(server.refresh(&log_in.text("refresh_token")).await.status, StatusCode::OK);
    assert!(sign_ups.try_join_next().is_none(), "a sign-up was answered before the hook");
    for status in sign_ups.join_all().await {
        assert_eq!(status, StatusCode::ACCEPTED);
    }
}

/// The page shows how a hook signs, and what it shows is right.
#[test]
fn the_page_shows_how_an_answer_is_signed() {
    let page = include_str!("../../README.md");
    let mut codes = page.split("```python\n").skip(1).filter_map(|rest| rest.split("```").next());
    let code = codes.find(|code| code.contains("def answer_header")).unwrap();
    let question = header(SECRET.as_bytes(), START, b"{}");
    let last =
        "import sys; print(answer_header(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4].encode()))";
    let body = r#"{"allow": true}"#;
    let args = ["-c", &format!("{code}\n{last}"), SECRET, &question, "7f", body];
    match Command::new("python3").args(args).output() {
        Ok(ran) => {
            let said = String::from_utf8_lossy(&ran.stdout).into_owned();
            let expected = answer_header(SECRET.as_bytes(), "7f", body.as_bytes(), START);
            assert_eq!(said.trim(), expected, "{}", String::from_utf8_lossy(&ran.stderr));
        }
        Err(error) => skipped("the signature of a hook's answer", &format!("no python3: {error}")),
    }
}
