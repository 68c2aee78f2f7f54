//! Accounts that the program makes and changes without HTTP.

use std::time::Duration;

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service};
use portcullis::testing::TestEngine;
use portcullis::{Fields, ImportOptions, MailKind, NewAccount, actix};
use serde_json::json;

use super::read;
use crate::support::{PASSWORD, wait_until};

#[tokio::test]
async fn a_user_who_was_made_without_http_logs_in_over_http() {
    let auth = TestEngine::start().await.unwrap();
    let new = NewAccount::new("Ada@Example.org").password(PASSWORD).role("editor").verified();
    let ada = auth.accounts().create(new).await.unwrap();
    assert_eq!(ada.email(), "ada@example.org");
    assert!(ada.is_active() && ada.has_password() && ada.is_email_verified());
    let app = init_service(App::new().configure(actix::mount("/auth", &auth))).await;
    let log_in = TestRequest::post()
        .uri("/auth/v1/login")
        .set_json(json!({"email": "ada@example.org", "password": PASSWORD}));
    let (status, _, body) = read(call_service(&app, log_in.to_request()).await).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["user"]["roles"], json!(["editor"]));
    assert_eq!(body["user"]["id"], json!(ada.id().to_string()));
}

#[tokio::test]
async fn accounts_are_found_changed_and_deleted() {
    let auth = TestEngine::start().await.unwrap();
    let ada = auth.account("ada@example.org").await.unwrap();
    let accounts = auth.accounts();
    for wanted in ["ada@example.org", &ada.id().to_string()] {
        assert_eq!(accounts.find(wanted).await.unwrap().unwrap().id(), ada.id());
    }
    assert!(accounts.find("bob@example.org").await.unwrap().is_none());
    assert!(accounts.find("no address").await.unwrap_err().is_refusal());
    let roles = accounts.set_roles(ada.id(), ["b", "a", "b"]).await.unwrap();
    assert_eq!(roles.roles().collect::<Vec<_>>(), ["a", "b"]);
    assert!(accounts.set_roles(ada.id(), ["No Role"]).await.unwrap_err().is_refusal());
    assert!(!accounts.set_active(ada.id(), false).await.unwrap().is_active());
    assert!(accounts.set_active(ada.id(), true).await.unwrap().is_active());
    let bob = auth.account("bob@example.org").await.unwrap();
    let listed: Vec<_> = accounts.list(None, 10).await.unwrap().iter().map(portcullis::Account::id).collect();
    assert!(listed.contains(&ada.id()) && listed.contains(&bob.id()));
    assert_eq!(accounts.list(None, 1).await.unwrap().len(), 1);
    accounts.delete(ada.id()).await.unwrap();
    assert!(accounts.get(ada.id()).await.unwrap().is_none());
    assert!(accounts.delete(ada.id()).await.unwrap_err().is_not_found());
    let taken = accounts.create(NewAccount::new("bob@example.org")).await.unwrap_err();
    assert!(taken.is_refusal() && !taken.is_not_found());
    assert_eq!(taken.code(), Some("email_taken"));
    let weak = accounts.create(NewAccount::new("eve@example.org").password("short")).await.unwrap_err();
    assert!(weak.is_refusal());
    assert_eq!(weak.code(), Some("weak_password"));
}

#[tokio::test]
async fn a_program_sets_what_an_account_carries_and_finds_it_by_its_own_id() {
    let auth = TestEngine::start().await.unwrap();
    let accounts = auth.accounts();
    let fields = Fields::new().external_id("shop-4711").locale("de-AT").name("Ada");
    let new = NewAccount::new("ada@example.org").fields(fields.app_metadata(r#"{ "plan": "pro" }"#));
    let ada = accounts.create(new).await.unwrap();
    assert_eq!(
        (ada.external_id(), ada.locale(), ada.name()),
        (Some("shop-4711"), Some("de-AT"), Some("Ada"))
    );
    assert_eq!((ada.app_metadata(), ada.user_metadata()), (Some(r#"{"plan":"pro"}"#), None));
    assert_eq!(accounts.find_external("shop-4711").await.unwrap().unwrap().id(), ada.id());
    assert!(accounts.find_external("shop-1").await.unwrap().is_none());

    let changed = Fields::new().user_metadata(r#"{"theme":"dark"}"#).app_metadata("").external_id("shop-1");
    let ada = accounts.set_fields(ada.id(), changed).await.unwrap();
    assert_eq!((ada.user_metadata(), ada.app_metadata()), (Some(r#"{"theme":"dark"}"#), None));
    assert_eq!((ada.external_id(), ada.locale()), (Some("shop-1"), Some("de-AT")));
    assert!(accounts.find_external("shop-4711").await.unwrap().is_none());

    let bob = auth.account("bob@example.org").await.unwrap();
    for wrong in [
        Fields::new().external_id("shop-1"),
        Fields::new().locale("no language"),
        Fields::new().user_metadata("[]"),
    ] {
        assert!(accounts.set_fields(bob.id(), wrong.clone()).await.unwrap_err().is_refusal());
        let new = NewAccount::new("eve@example.org").fields(wrong);
        assert!(accounts.create(new).await.unwrap_err().is_refusal());
    }
    assert!(!format!("{:?}", Fields::new().name("Ada")).contains("Ada"));
}

#[tokio::test]
async fn a_mail_says_the_language_of_the_account_that_it_is_for() {
    let auth = TestEngine::start().await.unwrap();
    let german = Fields::new().locale("de");
    let new = NewAccount::new("ada@example.org").password(PASSWORD).verified().fields(german);
    let ada = auth.accounts().create(new).await.unwrap();
    auth.accounts().send_reset(ada.id()).await.unwrap();
    let app = init_service(App::new().configure(actix::mount("/auth", &auth))).await;
    let reset = auth.mail("ada@example.org", MailKind::Reset).await.unwrap();
    assert_eq!(reset.locale.as_deref(), Some("de"));

    // A link that goes to an address that is not yet the account's, and one to the address of before.
    let log_in = auth.log_in_as(ada.id()).await.unwrap();
    let post =
        |path: &str, body| log_in.on(TestRequest::post().uri(&format!("/auth/v1/{path}")).set_json(body));
    let change = json!({"email": "lovelace@example.org", "password": PASSWORD});
    assert_eq!(call_service(&app, post("email/change", change).to_request()).await.status(), 202);
    let mail = auth.mail("lovelace@example.org", MailKind::EmailChange).await.unwrap();
    assert_eq!(mail.locale.as_deref(), Some("de"));
    let confirm = json!({"token": mail.token.unwrap(), "email": "lovelace@example.org"});
    assert_eq!(call_service(&app, post("email/change/confirm", confirm).to_request()).await.status(), 200);
    let undo = auth.mail("ada@example.org", MailKind::EmailUndo).await.unwrap();
    assert_eq!(undo.locale.as_deref(), Some("de"));

    // An account that has said no language.
    let bob = auth.account("bob@example.org").await.unwrap();
    auth.accounts().send_reset(bob.id()).await.unwrap();
    assert_eq!(auth.mail("bob@example.org", MailKind::Invitation).await.unwrap().locale, None);
}

#[tokio::test]
async fn a_mail_of_a_sign_up_says_its_language_and_one_to_a_taken_address_that_of_the_account() {
    let auth = TestEngine::start().await.unwrap();
    let app = init_service(App::new().configure(actix::mount("/auth", &auth))).await;
    let sign_up = async |email: &str, locale: Option<&str>, accepts: Option<&str>| {
        let body = json!({"email": email, "password": PASSWORD, "locale": locale});
        let mut request = TestRequest::post().uri("/auth/v1/signup").set_json(body);
        if let Some(accepts) = accepts {
            request = request.insert_header(("accept-language", accepts));
        }
        call_service(&app, request.to_request()).await.status().as_u16()
    };
    for (number, locale, accepts, expected) in [
        (0, None, None, None),
        (1, Some("de-at"), Some("fr"), Some("de-AT")),
        (2, None, Some("*, pt-br;q=0.8, en"), Some("pt-BR")),
        // Said not to have one.
        (3, Some(""), Some("fr"), None),
    ] {
        let email = format!("new{number}@example.org");
        assert_eq!(sign_up(&email, locale, accepts).await, 202);
        let mail = auth.mail(&email, MailKind::Verify).await.unwrap();
        assert_eq!(mail.locale.as_deref(), expected, "{number}");
    }
    // The link is mailed again in the same language, whatever the client of that request prefers.
    auth.advance(Duration::from_hours(1));
    let again = json!({"email": "new1@example.org"});
    let again = TestRequest::post().uri("/auth/v1/email/verify/resend").set_json(again);
    let again = again.insert_header(("accept-language", "fr")).to_request();
    assert_eq!(call_service(&app, again).await.status(), 202);
    let sent = || auth.mails().into_iter().filter(|mail| mail.recipient == "new1@example.org");
    wait_until("the mail again", async || sent().count() == 2).await;
    assert!(sent().all(|mail| mail.locale.as_deref() == Some("de-AT")));

    let german = Fields::new().locale("de");
    let new = NewAccount::new("ada@example.org").password(PASSWORD).verified().fields(german);
    auth.accounts().create(new).await.unwrap();
    assert_eq!(sign_up("ada@example.org", Some("fr"), None).await, 202);
    let mail = auth.mail("ada@example.org", MailKind::AlreadyRegistered).await.unwrap();
    assert_eq!(mail.locale.as_deref(), Some("de"));
}

#[tokio::test]
async fn an_invitation_has_a_language_until_its_owner_says_another() {
    let auth = TestEngine::start().await.unwrap();
    let app = init_service(App::new().configure(actix::mount("/auth", &auth))).await;
    let root = auth.account("root@example.org").await.unwrap();
    auth.accounts().set_roles(root.id(), ["admin"]).await.unwrap();
    let root = auth.log_in_with_cookie(root.id()).await.unwrap();
    for (number, invited, accepted, expected) in [
        (0, Some("de-at"), None, Some("de-AT")),
        (1, Some("de"), Some("fr-ch"), Some("fr-CH")),
        (2, None, Some("fr"), Some("fr")),
    ] {
        let email = format!("guest{number}@example.org");
        let invite = json!({"email": email, "locale": invited});
        let invite = root.on(TestRequest::post().uri("/auth/v1/admin/invitations").set_json(invite));
        assert_eq!(call_service(&app, invite.to_request()).await.status(), 201);
        let mail = auth.mail(&email, MailKind::AccountInvitation).await.unwrap();
        assert_eq!(mail.locale.as_deref().map(str::to_lowercase).as_deref(), invited);
        let accept = json!({"token": mail.token, "password": PASSWORD, "locale": accepted});
        let accept = TestRequest::post().uri("/auth/v1/invitations/accept").set_json(accept).to_request();
        assert_eq!(call_service(&app, accept).await.status(), 204);
        let account = auth.accounts().find(&email).await.unwrap().unwrap();
        assert_eq!(account.locale(), expected, "{number}");
    }
}

#[tokio::test]
async fn a_new_account_is_invited_and_an_old_one_gets_a_link() {
    let auth = TestEngine::start().await.unwrap();
    let ada = auth.account("ada@example.org").await.unwrap();
    auth.accounts().send_reset(ada.id()).await.unwrap();
    let mail = auth.mail("ada@example.org", MailKind::Invitation).await.unwrap();
    assert!(mail.link.unwrap().starts_with("http://localhost/reset#token="));
    let app = init_service(App::new().configure(actix::mount("/auth", &auth))).await;
    let body = json!({"token": mail.token.unwrap(), "new_password": PASSWORD});
    let reset = TestRequest::post().uri("/auth/v1/password/reset").set_json(body).to_request();
    assert_eq!(call_service(&app, reset).await.status(), 204);
    auth.accounts().send_reset(ada.id()).await.unwrap();
    assert!(auth.mail("ada@example.org", MailKind::Reset).await.is_some());
}

/// What the program does is on record like what an administrator does.
#[tokio::test]
async fn the_log_of_security_events_names_the_program() {
    let auth = TestEngine::start().await.unwrap();
    let ada = auth.account("ada@example.org").await.unwrap();
    auth.accounts().set_roles(ada.id(), ["editor"]).await.unwrap();
    let lines = super::sessions::audit_lines(&auth);
    for event in ["admin.account_created", "admin.account_changed"] {
        let line = lines.iter().find(|line| line["event"] == event).unwrap_or_else(|| panic!("no {event}"));
        assert!(line["reason"].as_str().unwrap().starts_with("by program"), "{line}");
    }
}

/// Futures of the facade may be spawned: they are `Send`.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_another_thread_makes_accounts() {
    let auth = TestEngine::start().await.unwrap();
    let engine = std::sync::Arc::clone(&auth);
    let made = tokio::spawn(async move {
        let made = engine.accounts().create(NewAccount::new("ada@example.org")).await.unwrap();
        engine.accounts().get(made.id()).await.unwrap().unwrap().id() == made.id()
    });
    assert!(made.await.unwrap());
}

#[tokio::test]
async fn an_import_tells_a_person_who_has_moved_from_two_with_one_address() {
    let auth = TestEngine::start().await.unwrap();
    let first = ["{\"id\":7,\"email\":\"ada@example.org\"}"];
    auth.accounts().import(first, ImportOptions::new()).await.unwrap();
    let lines = [
        "{\"id\":7,\"email\":\"ada@example.org\"}",
        "{\"id\":8,\"email\":\"bob@example.org\"}",
        "{\"id\":9,\"email\":\"BOB@example.org\"}",
        "{\"id\":8,\"email\":\"bob@example.org\"}",
    ];
    let moved = ["{\"id\":7,\"email\":\"ada2@example.org\"}"];
    let dry = ImportOptions::new().dry_run();
    let judged = auth.accounts().import(lines, dry).await.unwrap();
    let report = auth.accounts().import(lines, ImportOptions::new()).await.unwrap();
    for report in [&judged, &report] {
        assert_eq!((report.created, report.same, report.taken, report.moved), (1, 2, 1, 0), "{report:?}");
        let told: Vec<_> = report
            .lines
            .iter()
            .map(|line| (line.number, line.external_id.as_deref(), line.earlier, line.is_same))
            .collect();
        let expected =
            [(1, Some("7"), None, true), (3, Some("9"), Some(2), false), (4, Some("8"), Some(2), true)];
        assert_eq!(told, expected);
    }
    let report = auth.accounts().import(moved, ImportOptions::new()).await.unwrap();
    assert_eq!((report.created, report.same, report.taken, report.moved), (0, 0, 0, 1), "{report:?}");
    assert!(report.lines[0].why.contains("with another address"), "{report:?}");
    assert!(auth.accounts().find("ada@example.org").await.unwrap().is_some());
}

#[tokio::test]
async fn an_import_reports_each_line_that_gave_no_account_by_its_number() {
    let auth = TestEngine::start().await.unwrap();
    let there = auth.account("there@example.org").await.unwrap();
    let text = "{\"email\":\"ada@example.org\",\"locale\":\"de\"}\r\n\n{\"email\":\"no address\"}\n\
                {\"email\":\"there@example.org\"}\n{\"email\":\"bob@example.org\",\"roles\":[\"editor\"]}";
    // As a reader gives them, with their ends or without; and bytes that are no text.
    let lines = || text.split_inclusive('\n').map(str::as_bytes).chain([&b"\xff"[..]]);
    let judged = auth.accounts().import(lines(), ImportOptions::new().dry_run()).await.unwrap();
    assert!(auth.accounts().find("ada@example.org").await.unwrap().is_none());
    let report = auth.accounts().import(lines(), ImportOptions::new().verified()).await.unwrap();
    for report in [&judged, &report] {
        assert_eq!((report.created, report.same, report.taken, report.refused), (2, 1, 0, 2));
        let told: Vec<_> =
            report.lines.iter().map(|line| (line.number, &*line.field, line.code, line.account)).collect();
        let expected = [
            (3, "/email", Some("invalid_email"), None),
            (4, "email", None, Some(there.id())),
            (6, "", Some("not_utf8"), None),
        ];
        assert_eq!(told, expected);
        assert!(!format!("{report:?}").contains("example.org"), "{report:?}");
    }
    let ada = auth.accounts().find("ada@example.org").await.unwrap().unwrap();
    assert!(ada.is_email_verified());
    assert_eq!(ada.locale(), Some("de"));
    let many = (0..3_000).map(|_| "no account");
    let refused = auth.accounts().import(many, ImportOptions::new()).await.unwrap();
    assert_eq!((refused.refused, refused.lines.len(), refused.not_shown), (3_000, 1_000, 2_000));
}

/// A program drops an import in the middle, and begins another one while one is at work.
#[tokio::test]
async fn one_import_is_at_work_and_one_that_is_dropped_gives_its_place_back() {
    let auth = TestEngine::start().await.unwrap();
    let other = auth.accounts();
    let asked = std::cell::Cell::new(0);
    let endless = std::iter::repeat_with(|| {
        asked.set(asked.get() + 1);
        format!("{{\"email\":\"user{}@example.org\"}}", asked.get())
    });
    let accounts = auth.accounts();
    let cut = accounts.import(endless, ImportOptions::new());
    let second = async {
        while asked.get() == 0 {
            tokio::task::yield_now().await;
        }
        other.import(["{\"email\":\"ada@example.org\"}"], ImportOptions::new()).await
    };
    let second = tokio::select! {
        biased;
        _ = cut => panic!("it has no end"),
        second = second => second,
    };
    assert!(second.unwrap_err().is_refusal());
    let last = || other.import(["{\"email\":\"ada@example.org\"}"], ImportOptions::new());
    // What it was doing on the thread of the actors ends first.
    wait_until("the place", async || last().await.is_ok()).await;
    assert!(other.find("ada@example.org").await.unwrap().is_some());
}
