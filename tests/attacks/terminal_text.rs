//! Words for the operator's terminal: I call myself, my account and my browser by what a terminal obeys, so that the
//! operator reads something else than is there.

use reqwest::header::{HeaderValue, USER_AGENT};
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::process::run;
use crate::support::{PASSWORD, TestServer, send};

const NAME: &str = "mallory@test.org";
/// A reversal of the direction, the clearing of the screen by one character of C1, a line without a line end, a field
/// that is none of mine, and letters without a width.
const HOSTILE: &str = "me\u{202e}gro.tset@ada\u{202c}\u{2028}x\u{200b}  network=198.51.100.7/32";
const OBEYED: [char; 5] = ['\u{202e}', '\u{202c}', '\u{2028}', '\u{200b}', '\u{9b}'];

/// Asserts that `text` shows my words and holds nothing that a terminal obeys.
fn assert_plain(text: &str, what: &str) {
    assert!(text.contains("\\u202egro.tset@ada"), "{what}: {text}");
    assert!(!text.contains(OBEYED), "{what}: {text:?}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{what}: {text:?}");
}

#[tokio::test]
async fn a_terminal_obeys_no_name_and_no_browser_that_a_command_lists() {
    let server = TestServer::start();
    let body = json!({"email": NAME, "password": PASSWORD, "name": HOSTILE});
    let half = server.post("/v1/signup", body).await.text("signup_token");
    let link = server.mailed(NAME, "Confirm").await;
    assert_eq!(server.confirm(&link, &half).await.status, StatusCode::NO_CONTENT);
    let agent = HeaderValue::from_bytes(format!("{HOSTILE}\u{9b}2J").as_bytes()).unwrap();
    let log_in = server.request(Method::POST, "/v1/login").header(USER_AGENT, agent);
    let logged_in = send(log_in.json(&json!({"email": NAME, "password": PASSWORD}))).await;
    assert_eq!(logged_in.status, StatusCode::OK, "{}", logged_in.body);

    for command in [&["session", "list", NAME][..], &["user", "show", NAME], &["user", "list"]] {
        for json in [false, true] {
            let args = [command, if json { &["--json"] } else { &[] }].concat();
            let text = run(&args, server.data_dir()).exits(0).text;
            assert_plain(&text, &args.join(" "));
            // All on one line, with no field that I made up: mine stands in quotes.
            let mine: Vec<&str> = text.lines().filter(|line| line.contains("198.51.100.7")).collect();
            assert_eq!(mine.len(), 1, "{text}");
            assert!(mine[0].contains("\\u202egro.tset@ada\\u202c\\u2028x\\u200b  network="), "{text}");
            assert!(json || mine[0].contains("\"me\\u202e"), "{text}");
            assert!(!text.contains("198.51.100.7/32  "), "{text}");
        }
    }
    server.restart_after(|dir| assert_plain(&run(&["data", "dump"], dir).exits(0).text, "data dump"));
}
