//! Quotas of mails turned on their owner: I use up what a mailbox may get, end the link that its owner is about to
//! follow, or have one server mail the whole world from one address of mine.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::links::token_in;
use crate::support::{Answer, PASSWORD, TestServer, send};

const NAME: &str = "ada@test.org";
const NEXT: &str = "an entirely different phrase";
const MINE: &str = "203.0.113.9";
const OWNERS: &str = "198.51.100.7";

/// Starts a server that believes the header in which the tests name their networks.
fn server() -> TestServer {
    TestServer::behind_proxy_with(&[("reset.mails_per_network", "10")])
}

async fn post_from(server: &TestServer, network: &str, path: &str, body: Value) -> Answer {
    let request = server.request(Method::POST, path).header("x-forwarded-for", network);
    send(request.json(&body)).await
}

async fn forgot_from(server: &TestServer, network: &str, email: &str) {
    let answer = post_from(server, network, "/v1/password/forgot", json!({"email": email})).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

/// Waits until no more mails leave, and returns the tokens of those to `to` with `subject`, oldest first.
async fn tokens(server: &TestServer, to: &str, subject: &str) -> Vec<String> {
    let mut before = usize::MAX;
    loop {
        let now = server.mails.lock().len();
        if now == before {
            break;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let mails = server.mails.lock();
    let wanted = mails.iter().filter(|mail| mail.to == to && mail.letter.subject.contains(subject));
    wanted.map(|mail| mail.letter.link.as_deref().map_or_else(String::new, token_in)).collect()
}

/// I ask for a reset of the owner's password until nothing more is mailed. The owner then asks from home.
#[tokio::test]
async fn a_stranger_does_not_use_up_the_mails_that_the_owner_asks_for() {
    let server = server();
    server.account(NAME).await;
    for _ in 0..6 {
        forgot_from(&server, MINE, NAME).await;
    }
    let strangers = tokens(&server, NAME, "new password").await.len();
    assert!((1..=2).contains(&strangers), "{strangers}");
    // Half an hour later every link is dead, and the quota is not over yet.
    server.clock.advance(Duration::from_mins(35));
    forgot_from(&server, OWNERS, NAME).await;
    let mailed = tokens(&server, NAME, "new password").await;
    assert_eq!(mailed.len(), strangers + 1, "the owner's own request sends nothing");
    let reset = server.reset(mailed.last().unwrap(), NEXT).await;
    assert_eq!(reset.status, StatusCode::NO_CONTENT);
}

/// I ask for a reset of the owner's password from as many networks as mails go to it in an hour. Once those links are dead
/// the owner asks from home, uses the link, forgets the new password as well, and asks again.
#[tokio::test]
async fn an_owner_without_a_live_link_gets_one_whatever_strangers_asked_for() {
    let server = server();
    server.account(NAME).await;
    for network in 1..=6 {
        forgot_from(&server, &format!("203.0.{network}.9"), NAME).await;
    }
    let strangers = tokens(&server, NAME, "new password").await.len();
    assert_eq!(strangers, 3, "the quota of an hour");
    server.clock.advance(Duration::from_mins(35));
    for number in 1..=2 {
        forgot_from(&server, OWNERS, NAME).await;
        let mailed = tokens(&server, NAME, "new password").await;
        assert_eq!(mailed.len(), strangers + number, "the owner's own request sends nothing");
        let reset = server.reset(mailed.last().unwrap(), &format!("{NEXT} {number}")).await;
        assert_eq!(reset.status, StatusCode::NO_CONTENT);
    }
    // I get no more out of it than one mail for each link that runs out.
    for minute in 0..60 {
        forgot_from(&server, &format!("203.0.{minute}.9"), NAME).await;
        server.clock.advance(Duration::from_mins(1));
    }
    let mailed = tokens(&server, NAME, "new password").await.len();
    assert!(mailed <= strangers + 2 + 5, "{mailed}");
}

/// The owner has asked for a reset. Before they follow the link I ask for another one, as often as I can.
#[tokio::test]
async fn a_strangers_request_does_not_end_the_link_that_the_owner_is_about_to_use() {
    let server = server();
    server.account(NAME).await;
    forgot_from(&server, OWNERS, NAME).await;
    let owners = server.mailed(NAME, "new password").await;
    for minute in 0..4 {
        server.clock.advance(Duration::from_mins(minute));
        forgot_from(&server, MINE, NAME).await;
    }
    let all = tokens(&server, NAME, "new password").await;
    assert!(all.len() <= 3, "{}", all.len());
    assert!(all.iter().all(|token| *token == owners), "another link was mailed");
    assert_eq!(server.reset(&owners, NEXT).await.status, StatusCode::NO_CONTENT);
    assert_eq!(server.reset(&owners, PASSWORD).await.status, StatusCode::BAD_REQUEST);
}

/// The link that was mailed again lives as long as a new one would, and is the same after a restart.
#[tokio::test]
async fn a_link_that_is_mailed_again_lives_on() {
    let server = server();
    server.account(NAME).await;
    forgot_from(&server, OWNERS, NAME).await;
    let first = server.mailed(NAME, "new password").await;
    server.clock.advance(Duration::from_mins(25));
    let server = server.restart();
    forgot_from(&server, OWNERS, NAME).await;
    assert_eq!(server.mailed(NAME, "new password").await, first);
    server.clock.advance(Duration::from_mins(25));
    assert_eq!(server.reset(&first, NEXT).await.status, StatusCode::NO_CONTENT);
}

/// I use up what strangers may have mailed. An administrator and the operator send their links all the same, and are
/// told when they have sent too many.
#[tokio::test]
async fn operators_have_a_quota_of_their_own_and_are_told_when_it_is_used_up() {
    let server = server();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    let id = server.get_as("/v1/me", &access).await.text("id");
    for network in [MINE, OWNERS, "192.0.2.1", "192.0.3.1", "192.0.4.1"] {
        forgot_from(&server, network, NAME).await;
        forgot_from(&server, network, NAME).await;
    }
    let strangers = tokens(&server, NAME, "new password").await.len();
    let path = format!("/v1/admin/users/{id}/send_reset");
    assert_eq!(server.post_as(&path, &root, json!({})).await.status, StatusCode::NO_CONTENT);
    assert_eq!(tokens(&server, NAME, "new password").await.len(), strangers + 1);
    let mut sent = 1;
    let refused = loop {
        let answer = server.post_as(&path, &root, json!({})).await;
        if answer.status != StatusCode::NO_CONTENT {
            break answer;
        }
        sent += 1;
        assert!(sent <= 20, "no bound");
    };
    assert_eq!(refused.problem(), (409, "mail_quota"));
    assert_eq!(tokens(&server, NAME, "new password").await.len(), strangers + sent);
    let operated = server.operate(json!({"operation": "user_reset_password", "user": NAME})).await;
    assert!(operated["error"].as_str().is_some_and(|error| error.contains("hour")), "{operated}");
}

/// I have mails sent to strangers from one network, by everything that mails: sign-up, resend, reset, taken addresses.
#[tokio::test]
async fn whatever_a_network_asks_for_it_causes_ten_mails_an_hour() {
    let server = server();
    server.account(NAME).await;
    server.mails.lock().clear();
    for number in 0..6 {
        let email = format!("victim+{number}@far.test");
        let body = json!({"email": email, "password": PASSWORD});
        assert_eq!(post_from(&server, MINE, "/v1/signup", body).await.status, StatusCode::ACCEPTED);
        post_from(&server, MINE, "/v1/email/verify/resend", json!({"email": email})).await;
        let taken = json!({"email": NAME, "password": PASSWORD});
        post_from(&server, MINE, "/v1/signup", taken).await;
        forgot_from(&server, MINE, NAME).await;
    }
    tokens(&server, NAME, "").await;
    let sent = server.mails.lock().len();
    assert!((1..=10).contains(&sent), "{sent} mails from one network");
    // Another network is not held back by it.
    forgot_from(&server, OWNERS, NAME).await;
    let body = json!({"email": "new@near.test", "password": PASSWORD});
    post_from(&server, OWNERS, "/v1/signup", body).await;
    server.mail("new@near.test", "Confirm").await;
}

/// I ask for the address that the owner is about to move to, on an account of mine, as often as I can. The owner asks for
/// it from home.
#[tokio::test]
async fn an_account_of_mine_does_not_use_up_the_mails_to_an_address_that_the_owner_asks_for() {
    const FREE: &str = "ada@new.test";
    let server = server();
    server.account("mallory@test.org").await;
    server.account(NAME).await;
    let (mine, _) = server.tokens("mallory@test.org").await;
    let (owners, _) = server.tokens(NAME).await;
    let ask = async |network: &str, access: &str| {
        let request = server.request(Method::POST, "/v1/email/change").header("x-forwarded-for", network);
        let body = json!({"email": FREE, "password": PASSWORD});
        assert_eq!(send(request.bearer_auth(access).json(&body)).await.status, StatusCode::ACCEPTED);
    };
    for _ in 0..6 {
        ask(MINE, &mine).await;
    }
    let strangers = tokens(&server, FREE, "Confirm").await;
    assert!((1..=2).contains(&strangers.len()), "{}", strangers.len());
    ask(OWNERS, &owners).await;
    let mailed = tokens(&server, FREE, "Confirm").await;
    assert_eq!(mailed.len(), strangers.len() + 1, "the owner's own request sends nothing");
    let link = (mailed.last().unwrap().clone(), FREE.to_owned());
    let moved = server.follow_as(&owners, "/v1/email/change/confirm", &link).await;
    assert_eq!(moved.status, StatusCode::OK, "{}", moved.body);
}

/// I use up the warnings of my network by wrong passwords for names that nobody has. Then I guess at the owner's.
#[tokio::test]
async fn a_network_that_has_used_up_its_warnings_does_not_guess_unnoticed() {
    let server = TestServer::behind_proxy_with(&[("reset.mails_per_network", "2")]);
    server.account(NAME).await;
    let lock = async |email: &str| {
        for number in 0..6 {
            server.log_in_from(MINE, email, &format!("a wrong guess {number}"), None).await;
        }
    };
    for number in 0..3 {
        lock(&format!("nobody+{number}@test.org")).await;
    }
    lock(NAME).await;
    let unlock = server.mailed(NAME, "locked").await;
    let unlocked = server.post("/v1/unlock", json!({"token": unlock})).await;
    assert_eq!(unlocked.status, StatusCode::NO_CONTENT);
}

/// An administrator has closed an account. I try to learn that by the mails, and to fill its mailbox.
#[tokio::test]
async fn a_disabled_account_gets_no_link_and_the_answer_is_the_same() {
    let server = server();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    server.account(NAME).await;
    let (access, _) = server.tokens(NAME).await;
    let user = format!("/v1/admin/users/{}", server.get_as("/v1/me", &access).await.text("id"));
    let closed = server.patch_as(&user, &root, json!({"status": "disabled"})).await;
    assert_eq!(closed.status, StatusCode::OK);
    let answer = server.forgot(NAME).await;
    let unknown = server.forgot("nobody@test.org").await;
    assert_eq!((answer.status, &answer.bytes), (unknown.status, &unknown.bytes));
    assert!(tokens(&server, NAME, "new password").await.is_empty());
}

/// I ask for the address that the owner is about to move to, on accounts of mine and from several networks, before the owner
/// does and each hour anew.
#[tokio::test]
async fn accounts_of_mine_do_not_keep_an_owner_from_ever_being_mailed_at_an_address() {
    const FREE: &str = "ada@new.test";
    let server = server();
    server.account(NAME).await;
    for number in 0..2 {
        server.account(&format!("mallory{number}@test.org")).await;
    }
    server.clock.advance(Duration::from_hours(48));
    let (owners, _) = server.tokens(NAME).await;
    let ask = async |network: &str, access: &str| {
        let request = server.request(Method::POST, "/v1/email/change").header("x-forwarded-for", network);
        let body = json!({"email": FREE, "password": PASSWORD});
        assert_eq!(send(request.bearer_auth(access).json(&body)).await.status, StatusCode::ACCEPTED);
    };
    for number in 0..2 {
        let (mine, _) = server.tokens(&format!("mallory{number}@test.org")).await;
        for network in ["203.0.113.9", "192.0.2.9"] {
            ask(network, &mine).await;
        }
        ask("100.64.7.9", &mine).await;
    }
    let strangers = tokens(&server, FREE, "Confirm").await.len();
    assert!((3..=5).contains(&strangers), "{strangers}");
    ask(OWNERS, &owners).await;
    let mailed = tokens(&server, FREE, "Confirm").await;
    assert_eq!(mailed.len(), strangers + 1, "the owner's own request sends nothing");
    let link = (mailed.last().unwrap().clone(), FREE.to_owned());
    let moved = server.follow_as(&owners, "/v1/email/change/confirm", &link).await;
    assert_eq!(moved.status, StatusCode::OK, "{}", moved.body);
}

/// I have mails held back from an owner. The operator can find out why nothing arrives.
#[tokio::test]
async fn a_mail_that_is_held_back_is_recorded() {
    let server = server();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    server.account(NAME).await;
    for _ in 0..6 {
        forgot_from(&server, MINE, NAME).await;
    }
    let mut withheld = 0;
    for _ in 0..40 {
        let events = server.get_as("/v1/admin/audit?type=mail.withheld", &root).await;
        withheld = events.array("items").len();
        if withheld > 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(withheld > 0);
}
