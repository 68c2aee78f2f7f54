//! Pre-hijacking: I sign up with the address of somebody else before its owner does, or after, and wait for the owner
//! to follow a link in a mail. Then my password opens the owner's account.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, ORIGIN, PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";
const OWNERS: &str = PASSWORD;
const MINE: &str = "the attacker's own phrase";
const NEXT: &str = "an entirely different phrase";

/// A sign-up: the half of it that only its browser gets, and the half that only the mailbox gets.
struct SignUp {
    half: String,
    link: String,
}

/// Signs up with [`NAME`] and waits for the mail that this causes.
async fn sign_up(server: &TestServer, password: &str) -> SignUp {
    server.mails.lock().clear();
    let answer = server.post("/v1/signup", json!({"email": NAME, "password": password})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let half = answer.body["signup_token"].as_str().unwrap_or_default().to_owned();
    SignUp { half, link: server.mailed(NAME, "Confirm").await }
}

/// Follows a link, in the browser that holds `half`.
async fn follow(server: &TestServer, link: &str, half: Option<&str>) -> Answer {
    let body = match half {
        Some(half) => json!({"token": link, "signup_token": half}),
        None => json!({"token": link}),
    };
    server.post("/v1/email/verify", body).await
}

async fn opens(server: &TestServer, password: &str) -> bool {
    server.log_in(NAME, password).await.status == StatusCode::OK
}

/// The order of two sign-ups.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum First {
    Attacker,
    Owner,
}

/// The link that the owner follows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Link {
    OfAttacker,
    OfOwner,
    Resent,
}

/// Asks for the link again, an hour later: all sign-ups of an address share its mails of an hour.
async fn resend(server: &TestServer) -> String {
    server.mails.lock().clear();
    server.clock.advance(Duration::from_mins(61));
    let answer = server.post("/v1/email/verify/resend", json!({"email": NAME})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    server.mailed(NAME, "Confirm").await
}

#[tokio::test]
async fn my_password_never_opens_an_account_that_the_owner_of_the_mailbox_proves() {
    for first in [First::Attacker, First::Owner] {
        for link in [Link::OfAttacker, Link::OfOwner, Link::Resent] {
            for with_half in [true, false] {
                let what = format!("{first:?} first, {link:?}, with the owner's half: {with_half}");
                let server = TestServer::start();
                let (mine, owners) = if first == First::Attacker {
                    let mine = sign_up(&server, MINE).await;
                    (mine, sign_up(&server, OWNERS).await)
                } else {
                    let owners = sign_up(&server, OWNERS).await;
                    (sign_up(&server, MINE).await, owners)
                };
                let followed = match link {
                    Link::OfAttacker => mine.link.clone(),
                    Link::OfOwner => owners.link.clone(),
                    Link::Resent => resend(&server).await,
                };
                let answer = follow(&server, &followed, with_half.then_some(&*owners.half)).await;
                assert!(!opens(&server, MINE).await, "{what}");
                if answer.status == StatusCode::NO_CONTENT {
                    assert!(with_half, "{what}: a mailbox alone has opened an account");
                    assert!(opens(&server, OWNERS).await, "{what}");
                } else {
                    assert_eq!(answer.body["next"], "set_password", "{what}: {}", answer.body);
                    assert!(!opens(&server, OWNERS).await, "{what}");
                    let set = server.reset(&answer.text("token"), NEXT).await;
                    assert_eq!(set.status, StatusCode::NO_CONTENT, "{what}");
                    assert!(opens(&server, NEXT).await, "{what}");
                }
                // My half opens nothing with any link afterwards: all links of the address are spent.
                for link in [&mine.link, &owners.link, &followed] {
                    let late = follow(&server, link, Some(&mine.half)).await;
                    assert_eq!(late.problem(), (400, "invalid_or_expired_token"), "{what}");
                }
                assert!(!opens(&server, MINE).await, "{what}");
            }
        }
    }
}

/// I ask again and again whether my password is the right one: neither the owner's sign-up nor the resent link shows.
#[tokio::test]
async fn a_poll_of_the_log_in_shows_nothing_of_the_owners_sign_up() {
    let server = TestServer::start();
    let poll = async || {
        let mut answer = server.log_in(NAME, MINE).await;
        for field in ["request_id", "instance"] {
            answer.body.as_object_mut().unwrap().remove(field);
        }
        (answer.status, answer.body)
    };
    let stranger = poll().await;
    assert_eq!(stranger.0, StatusCode::UNAUTHORIZED);
    sign_up(&server, MINE).await;
    assert_eq!(poll().await, stranger);
    sign_up(&server, OWNERS).await;
    assert_eq!(poll().await, stranger);
    resend(&server).await;
    assert_eq!(poll().await, stranger);
    // The answer helps everybody who has forgotten to confirm, whoever it is.
    assert!(stranger.1["detail"].as_str().unwrap().contains("confirm"), "{}", stranger.1);
}

#[tokio::test]
async fn the_browser_that_signed_up_opens_its_account_and_may_ask_twice() {
    let server = TestServer::start();
    let owners = sign_up(&server, OWNERS).await;
    for link in ["", "pcm_garbage", &owners.half] {
        let wrong = follow(&server, link, Some(&owners.half)).await;
        assert_eq!(wrong.problem(), (400, "invalid_or_expired_token"), "{link}");
    }
    for _ in 0..3 {
        assert_eq!(follow(&server, &owners.link, Some(&owners.half)).await.status, StatusCode::NO_CONTENT);
    }
    // The link alone says no more: the account is open.
    assert_eq!(follow(&server, &owners.link, None).await.problem(), (400, "invalid_or_expired_token"));
    let server = server.restart();
    assert_eq!(follow(&server, &owners.link, Some(&owners.half)).await.status, StatusCode::NO_CONTENT);
    server.clock.advance(Duration::from_hours(1));
    let late = follow(&server, &owners.link, Some(&owners.half)).await;
    assert_eq!(late.problem(), (400, "invalid_or_expired_token"));
    assert!(opens(&server, OWNERS).await);
}

/// I have locked the name before its owner signed up. Nobody mails the owner of a lock then.
#[tokio::test]
async fn an_account_is_open_to_its_owner_though_strangers_locked_the_name_before() {
    let server = TestServer::start();
    for number in 0..6 {
        server.log_in(NAME, &format!("guess {number}")).await;
    }
    let owners = sign_up(&server, OWNERS).await;
    assert_eq!(server.log_in(NAME, OWNERS).await.problem(), (429, "too_many_attempts"));
    let opened = follow(&server, &owners.link, Some(&owners.half)).await;
    assert_eq!(opened.status, StatusCode::NO_CONTENT);
    assert!(opens(&server, OWNERS).await);
}

/// A page of mine has the browser of the owner follow a link that I know, with its cookie.
#[tokio::test]
async fn the_cookie_of_a_sign_up_counts_on_our_own_pages_alone() {
    let server = TestServer::start();
    let owners = sign_up(&server, OWNERS).await;
    let post = async |origin: &str| {
        let request = server.request(Method::POST, "/v1/email/verify").header("origin", origin);
        let request = request.header("cookie", format!("portcullis_signup={}", owners.half));
        send(request.json(&json!({"token": owners.link}))).await
    };
    assert_eq!(post("https://evil.example").await.problem(), (403, "csrf_rejected"));
    assert_eq!(post(ORIGIN).await.status, StatusCode::NO_CONTENT);
    assert!(opens(&server, OWNERS).await);
}

#[tokio::test]
async fn two_tabs_that_confirm_at_once_both_succeed() {
    let server = TestServer::start();
    let owners = sign_up(&server, OWNERS).await;
    let tab = || follow(&server, &owners.link, Some(&owners.half));
    let (one, two, three) = tokio::join!(tab(), tab(), tab());
    for answer in [one, two, three] {
        assert_eq!(answer.status, StatusCode::NO_CONTENT, "{}", answer.body);
    }
    assert!(opens(&server, OWNERS).await);

    let server = TestServer::start();
    let mine = sign_up(&server, MINE).await;
    let tab = || follow(&server, &mine.link, None);
    let (one, two, three) = tokio::join!(tab(), tab(), tab());
    for answer in [two, three] {
        assert_eq!(answer.bytes, one.bytes, "{}", answer.body);
    }
    assert_eq!(server.reset(&one.text("token"), NEXT).await.status, StatusCode::NO_CONTENT);
    assert!(opens(&server, NEXT).await);
}

#[tokio::test]
async fn the_mailbox_alone_leads_to_a_new_password_and_gives_the_same_answer_until_it_is_set() {
    let server = TestServer::start();
    let mine = sign_up(&server, MINE).await;
    let first = follow(&server, &mine.link, None).await;
    assert_eq!(first.status, StatusCode::OK);
    // A link that somebody asks for in the meantime does not end the token.
    server.forgot(NAME).await;
    // My half changes nothing about the answer.
    let second = follow(&server, &mine.link, Some(&mine.half)).await;
    assert_eq!(second.bytes, first.bytes);
    assert!(!opens(&server, MINE).await);
    let token = first.text("token");
    let set = server.reset(&token, NEXT).await;
    assert_eq!(set.status, StatusCode::NO_CONTENT, "{}", set.body);
    assert!(opens(&server, NEXT).await);
    // From here on the link is worth nothing.
    assert_eq!(follow(&server, &mine.link, None).await.problem(), (400, "invalid_or_expired_token"));
    assert_eq!(server.reset(&token, MINE).await.problem(), (400, "invalid_or_expired_token"));
    assert!(!opens(&server, MINE).await);
}

/// A browser keeps its half in a cookie that no script and no other host can read or set.
#[tokio::test]
async fn a_browser_keeps_its_half_in_a_cookie() {
    let server = TestServer::with(&[("http.public_origin", "https://login.test")]);
    let body = json!({"email": NAME, "password": OWNERS, "mode": "cookie"});
    // Another site cannot make my browser hold the half of its own sign-up.
    for origin in ["https://evil.test", "null"] {
        let planted = server.request(Method::POST, "/v1/signup").header("origin", origin).json(&body);
        assert_eq!(send(planted).await.problem(), (403, "csrf_rejected"));
    }
    let signed_up = server.request(Method::POST, "/v1/signup").header("origin", "https://login.test");
    let signed_up = send(signed_up.json(&body)).await;
    assert_eq!(signed_up.status, StatusCode::ACCEPTED);
    assert_eq!(signed_up.body, json!({"status": "verification_sent"}));
    let cookies = signed_up.set_cookies();
    let cookie = cookies.iter().find(|cookie| cookie.starts_with("__Host-portcullis_signup=")).unwrap();
    for attribute in ["HttpOnly", "Secure", "SameSite=Lax", "Path=/", "Max-Age=86400"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert!(!cookie.contains("Domain"), "{cookie}");
    let pair = cookie.split(';').next().unwrap().to_owned();
    let link = server.mailed(NAME, "Confirm").await;
    let verify = server.request(Method::POST, "/v1/email/verify").header("cookie", pair);
    let verify = verify.header("origin", "https://login.test");
    assert_eq!(send(verify.json(&json!({"token": link}))).await.status, StatusCode::NO_CONTENT);
    assert!(opens(&server, OWNERS).await);
}

/// I fill the places that an address has: the owner's sign-up is never pushed out, and the owner is never shut out.
#[tokio::test]
async fn sign_ups_of_mine_push_nobody_out() {
    let server = TestServer::start();
    let owners = sign_up(&server, OWNERS).await;
    let stranger = json!({"email": NAME, "password": MINE});
    let mut halves = Vec::new();
    for _ in 0..8 {
        server.clock.advance(Duration::from_secs(1));
        let answer = server.post("/v1/signup", stranger.clone()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        halves.push(answer.text("signup_token"));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    // Three sign-ups an address, and a few repeats of the last link.
    assert!(server.mail_count("Confirm") <= 6, "{} mails", server.mail_count("Confirm"));
    assert_eq!(follow(&server, &owners.link, Some(&owners.half)).await.status, StatusCode::NO_CONTENT);
    assert!(opens(&server, OWNERS).await);
    for half in halves {
        let late = follow(&server, &owners.link, Some(&half)).await;
        assert_eq!(late.problem(), (400, "invalid_or_expired_token"));
    }

    // The other way round: all places are mine before the owner comes.
    let server = TestServer::start();
    for _ in 0..8 {
        server.post("/v1/signup", stranger.clone()).await;
        server.clock.advance(Duration::from_secs(1));
    }
    let answer = server.post("/v1/signup", json!({"email": NAME, "password": OWNERS})).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let link = server.mailed(NAME, "Confirm").await;
    let led = follow(&server, &link, Some(&answer.text("signup_token"))).await;
    assert_eq!(led.body["next"], "set_password", "{}", led.body);
    assert_eq!(server.reset(&led.text("token"), NEXT).await.status, StatusCode::NO_CONTENT);
    assert!(opens(&server, NEXT).await);
    assert!(!opens(&server, MINE).await);
}

/// A sign-up that nobody confirms leaves nothing behind: no link, no half, no account.
#[tokio::test]
async fn a_sign_up_that_nobody_confirms_is_gone_after_its_time() {
    let server = TestServer::with(&[("signup.verify_ttl_secs", "3600")]);
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let old = sign_up(&server, MINE).await;
    let listed = server.get_as("/v1/admin/users?verified=false", &root).await;
    assert_eq!(listed.array("items").len(), 1, "{}", listed.body);
    assert_eq!(listed.body["items"][0]["status"], json!("pending"), "a sign-up is no account yet");
    assert_eq!(server.get_as("/v1/admin/users", &root).await.array("items").len(), 1, "nor listed as one");
    server.clock.advance(Duration::from_hours(1));
    for half in [None, Some(&*old.half)] {
        assert_eq!(follow(&server, &old.link, half).await.problem(), (400, "invalid_or_expired_token"));
    }
    let server = server.restart();
    let owners = sign_up(&server, OWNERS).await;
    assert_eq!(
        follow(&server, &old.link, Some(&old.half)).await.problem(),
        (400, "invalid_or_expired_token")
    );
    assert_eq!(follow(&server, &owners.link, Some(&owners.half)).await.status, StatusCode::NO_CONTENT);
}

/// Taken and free addresses, and addresses whose places are full, answer alike: the half has the same form.
#[tokio::test]
async fn the_answer_to_a_sign_up_says_nothing_of_the_address() {
    let server = TestServer::start();
    server.account("taken@test.org").await;
    let shape = |answer: &Answer| {
        let half = answer.text("signup_token");
        let prefix = half.split('_').next().unwrap().to_owned();
        let fields: Vec<String> = answer.body.as_object().unwrap().keys().cloned().collect();
        (answer.status, fields, prefix, half.len())
    };
    let sign_up = async |email: &str| {
        shape(&server.post("/v1/signup", json!({"email": email, "password": MINE})).await)
    };
    let free = sign_up("free@test.org").await;
    for email in ["taken@test.org", "free@test.org", "free@test.org", "free@test.org", "taken@test.org"] {
        assert_eq!(sign_up(email).await, free, "{email}");
    }
}

/// An administrator makes an account while a sign-up of a stranger waits: the stranger's halves open nothing.
#[tokio::test]
async fn an_account_that_an_administrator_makes_ends_the_sign_ups_that_wait() {
    for verified in [true, false] {
        let server = TestServer::start();
        let root = server.operator_account("root@test.org", &["admin"]).await;
        let mine = sign_up(&server, MINE).await;
        let new = json!({"email": NAME, "password": OWNERS, "roles": ["staff"], "verified": verified});
        let made = server.post_as("/v1/admin/users", &root, new).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        for half in [Some(&*mine.half), None] {
            let late = follow(&server, &mine.link, half).await;
            assert_eq!(late.problem(), (400, "invalid_or_expired_token"));
        }
        assert!(!opens(&server, MINE).await);
        assert_eq!(opens(&server, OWNERS).await, verified);
    }
}

/// An owner has just signed up, and an administrator mends the address or takes its proof away. What is remembered of the
/// sign-up for an hour neither makes the new link worthless nor answers for it, and the used link proves nothing more.
#[tokio::test]
async fn within_the_hour_of_a_sign_up_a_new_link_proves_the_address_and_the_used_one_does_not() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let half = server.sign_up(NAME, OWNERS).await;
    let used = server.mailed(NAME, "Confirm").await;
    assert_eq!(server.confirm(&used, &half).await.status, StatusCode::NO_CONTENT);
    let id = server.log_in(NAME, OWNERS).await.body["user"]["id"].as_str().unwrap().to_owned();
    let user = format!("/v1/admin/users/{id}");
    let mut last = used;
    for (change, address) in [
        (json!({"email": "ada@new.test"}), "ada@new.test"),
        (json!({"email_verified": false}), "ada@new.test"),
        (json!({"email": NAME}), NAME),
        (json!({"email_verified": false}), NAME),
    ] {
        server.mails.lock().clear();
        let is_mailed = change["email"].is_string();
        assert_eq!(server.patch_as(&user, &root, change.clone()).await.status, StatusCode::OK, "{change}");
        for half in [Some(&*half), None] {
            let late = follow(&server, &last, half).await;
            assert_eq!(late.problem(), (400, "invalid_or_expired_token"), "{change}");
        }
        assert_eq!(server.log_in(address, OWNERS).await.problem(), (403, "email_not_verified"), "{change}");
        if !is_mailed {
            server.post("/v1/email/verify/resend", json!({"email": address})).await;
        }
        last = server.mailed(address, "Confirm").await;
        for _ in 0..2 {
            let proved = server.confirm(&last, &half).await;
            assert_eq!(proved.status, StatusCode::NO_CONTENT, "{change}: {}", proved.body);
        }
        assert_eq!(server.log_in(address, OWNERS).await.status, StatusCode::OK, "{change}");
    }
}

/// An administrator, by mistake or led on by me, makes an account again that is there already and not proved yet.
#[tokio::test]
async fn making_an_account_again_changes_nothing_of_it() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    let new = |password: &str, verified: bool, roles: Value| json!({"email": NAME, "password": password, "verified": verified, "roles": roles});
    let made = server.post_as("/v1/admin/users", &root, new(OWNERS, false, json!([]))).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let user = format!("/v1/admin/users/{}", made.text("id"));
    let closed = server.patch_as(&user, &root, json!({"status": "disabled"})).await;
    let found = format!("/v1/admin/users?q={NAME}");
    for verified in [true, false] {
        let again = server.post_as("/v1/admin/users", &root, new(MINE, verified, json!(["admin"]))).await;
        assert_eq!(again.problem(), (409, "email_taken"));
        assert_eq!(server.get_as(&found, &root).await.body["items"], json!([closed.body]));
    }
    // A stranger who signs up neither opens it again nor takes its password away.
    server.post("/v1/signup", json!({"email": NAME, "password": MINE})).await;
    assert_eq!(server.get_as(&found, &root).await.body["items"], json!([closed.body]));
    let unproved = server.get_as("/v1/admin/users?verified=false", &root).await;
    assert_eq!(unproved.body["items"][0]["id"], made.body["id"]);
    assert_eq!(server.get_as("/v1/admin/users?verified=true", &root).await.array("items").len(), 1);
    let opened = server.patch_as(&user, &root, json!({"status": "active"})).await;
    assert_eq!(opened.status, StatusCode::OK);
    assert_eq!(server.log_in(NAME, OWNERS).await.problem(), (403, "email_not_verified"));
    assert!(!opens(&server, MINE).await);
}

/// Signing up in cookie mode where addresses need no proof opens a session by cookie.
#[tokio::test]
async fn where_addresses_need_no_proof_a_browser_gets_its_session_at_once() {
    let server = TestServer::with(&[("signup.verify_email", "off")]);
    let body = json!({"email": NAME, "password": OWNERS, "mode": "cookie"});
    let answer = send(server.request(Method::POST, "/v1/signup").header("origin", ORIGIN).json(&body)).await;
    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.body.get("access_token"), None);
    let cookie = answer.session_cookie();
    assert_eq!(server.get_with_cookie("/v1/me", &cookie).await.status, StatusCode::OK);
}

/// I have the server mail to itself and to the machines beside it, and have accounts whose address everybody has.
#[tokio::test]
async fn no_account_gets_an_address_of_this_machine_or_network() {
    let server = TestServer::start();
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    let mails = server.mails.lock().len();
    for domain in [
        "localhost",
        "localhost.localdomain",
        "www.localhost",
        "printer.local",
        "vault.internal",
        "nas.home.arpa",
        "x.invalid",
        "127.0.0.1",
    ] {
        let email = format!("root@{domain}");
        let signed_up = server.post("/v1/signup", json!({"email": email, "password": OWNERS})).await;
        for answer in [signed_up, server.change_email(&access, &email).await] {
            assert_eq!(answer.problem(), (422, "unprocessable"), "{domain}");
            assert_eq!(answer.body["errors"][0]["pointer"], json!("/email"), "{domain}");
            assert_eq!(answer.body["errors"][0]["code"], json!("invalid_email"), "{domain}");
        }
    }
    assert_eq!(server.mails.lock().len(), mails);
    let allowing = TestServer::with(&[("signup.allow_local_domains", "true")]);
    allowing.sign_up("root@vault.internal", OWNERS).await;
}
