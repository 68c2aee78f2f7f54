//! An application beside the server: the proxy divides one origin between them, as the README shows.

use serde_json::{Value, json};

use super::front::{Client, Front, Start, USUAL, Wish};
use crate::program::wait_until;
use crate::support::PASSWORD;
use crate::support::conformance::document;
use crate::support::links::token_in;
use crate::tokens::part;

/// How an answer of the application begins. The path that it was asked for follows.
pub const APPLICATION: &str = "the application at";
const NAME: &str = "ada@near.test";

/// Says whether the application answers GET of `path`.
fn is_of_application(client: &Client<'_>, path: &str) -> bool {
    let reply = client.get(path);
    let body = String::from_utf8_lossy(&reply.body);
    match body.strip_prefix(APPLICATION) {
        Some(asked) => {
            assert_eq!(asked.trim(), path);
            true
        }
        None => {
            assert_eq!(reply.all("x-request-id").len(), 1, "{path} is answered by neither: {reply:?}");
            false
        }
    }
}

/// Waits for a mail with a link, and returns the link.
fn mailed_link(front: &Front) -> String {
    let find = || {
        let mails = std::fs::read_dir(front.server.data().join("outbox")).into_iter().flatten();
        let texts = mails.filter_map(|mail| std::fs::read_to_string(mail.unwrap().path()).ok());
        let mut texts = texts.map(|text| text.replace("=\r\n", "").replace("=3D", "="));
        texts.find_map(|text| {
            let link = text.find("https://").map(|at| text[at..].split(char::is_whitespace).next().unwrap());
            link.filter(|link| link.contains("#token=")).map(str::to_owned)
        })
    };
    wait_until("a mail with a link is there", || find().is_some());
    find().unwrap()
}

pub fn pages_and_interface_share_an_origin(start: Start, public_path: &'static str) {
    let settings = [("signup.verify_email", "required")];
    let front = Front::with(start, Wish { public_path, settings: &settings, ..USUAL });
    let public = format!("{}{public_path}", front.origin);
    let at = |path: &str| format!("{public_path}{path}");
    let browser = front.client();

    // Each path of the server is the server's, below the path of its origin, and no page is.
    for path in document()["paths"].as_object().unwrap().keys().filter(|path| !path.starts_with("/docs")) {
        let path = path.replace(['{', '}'], "");
        assert!(!is_of_application(&browser, &at(&path)), "{path}");
        assert!(public_path.is_empty() || is_of_application(&browser, &path), "{path}");
    }
    let pages = ["/verify", "/reset", "/unlock", "/invitation", "/email-change", "/email-undo", "/", "/v1x"];
    for page in pages {
        assert!(is_of_application(&browser, &at(page)), "{page}");
    }

    // From sign-up to log-out in a browser.
    let names = json!({"email": NAME, "password": PASSWORD, "mode": "cookie"});
    browser.post(&at("/v1/signup"), &[], &names).is(202);
    let link = mailed_link(&front);
    let page =
        link.strip_prefix(&front.origin).unwrap_or_else(|| panic!("{link}")).split('#').next().unwrap();
    assert_eq!(page, at("/verify"));
    assert!(is_of_application(&browser, page));
    browser.post(&at("/v1/email/verify"), &[], &json!({"token": token_in(&link)})).is(204);
    let csrf = browser.post(&at("/v1/login"), &[], &names).is(200).text("csrf_token");
    assert_eq!(browser.get(&at("/v1/session")).is(200).json()["user"]["email"], NAME);
    browser.post(&at("/v1/logout"), &[("x-csrf-token", &csrf)], &Value::Null).is(204);

    // What the server says of itself is right for those who come by the proxy.
    let refused = browser.get(&at("/v1/session")).refuses(401, "unauthenticated");
    let kind = refused.text("type");
    let kind = kind.strip_prefix(&front.origin).unwrap_or_else(|| panic!("{kind}"));
    assert_eq!(kind, at("/problems/unauthenticated"));
    assert_eq!(browser.get(kind).is(200).text("code"), "unauthenticated");
    let described = browser.get(&at("/openapi.json")).is(200).json();
    assert_eq!(described["servers"][0]["url"], public);
    let names = json!({"email": NAME, "password": PASSWORD});
    let token = front.client().ask("POST", &at("/v1/login"), &[], &names).is(200).text("access_token");
    assert_eq!(part(&token, 1)["iss"], public);
    let keys = browser.get(&at("/.well-known/jwks.json")).is(200).json();
    assert_eq!(keys["keys"][0]["kid"], part(&token, 0)["kid"]);
}
