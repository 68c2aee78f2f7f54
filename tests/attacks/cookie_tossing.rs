//! Cookie tossing: I own a sibling host of the site, so I can set cookies for their common parent domain. I plant one
//! whose name only looks like the server's to a reader that decodes or trims names, so that it takes the place of the
//! real one, which the prefix `__Host-` protects.
//!
//! Bounds: no planted cookie is taken for ours, none makes ours unreadable, and of two with our name none counts.

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::json;

use crate::support::{Answer, PASSWORD, TestServer, send};

const HTTPS: &str = "https://login.test";
const ADA: &str = "ada@test.org";
const EVE: &str = "eve@test.org";
const SESSION: &str = "__Host-portcullis_session";
const DEVICE: &str = "__Host-portcullis_device";

/// Names that are not the name of our cookie, each as it stands in a header before `=`.
fn names_like(name: &str) -> Vec<Vec<u8>> {
    let tail = name.strip_prefix("__Host-").unwrap();
    let mut names = vec![
        name.replace("__", "%5F%5F").into_bytes(),
        format!("__%48ost-{tail}").into_bytes(),
        name.replace("portcullis_", "portcullis%5f").into_bytes(),
        format!("{name}%20").into_bytes(),
        name.to_lowercase().into_bytes(),
        tail.as_bytes().to_vec(),
        format!("{name}\u{ad}").into_bytes(),
        format!("\"{name}\"").into_bytes(),
    ];
    for blank in ["\u{2000}", "\u{a0}", "\u{85}", "\u{3000}", "\u{feff}", "\u{2028}"] {
        names.push(format!("{blank}{name}").into_bytes());
        names.push(format!("{name}{blank}").into_bytes());
    }
    // The same blanks as Latin-1, which is no UTF-8.
    names.push([b"\xa0", name.as_bytes()].concat());
    names.push([b"\x85", name.as_bytes()].concat());
    names
}

fn header(parts: &[&[u8]]) -> HeaderValue {
    HeaderValue::from_bytes(&parts.concat()).unwrap()
}

async fn me(server: &TestServer, cookies: &[HeaderValue]) -> Answer {
    let mut request = server.request(Method::GET, "/v1/me");
    for cookie in cookies {
        request = request.header("cookie", cookie);
    }
    send(request).await
}

/// A log-in of a browser: its session cookie and its device cookie, without their names.
async fn browser(server: &TestServer, email: &str) -> (String, String) {
    let body = json!({"email": email, "password": PASSWORD, "mode": "cookie"});
    let answer = send(server.request(Method::POST, "/v1/login").header("origin", HTTPS).json(&body)).await;
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.body);
    let value = |name: &str| {
        let prefix = format!("{name}=");
        let cookies = answer.set_cookies();
        let cookie = cookies.iter().find_map(|cookie| cookie.strip_prefix(&prefix)).unwrap();
        cookie.split(';').next().unwrap().to_owned()
    };
    (value(SESSION), value(DEVICE))
}

async fn site() -> TestServer {
    let server = TestServer::with(&[("http.public_origin", HTTPS)]);
    server.account(ADA).await;
    server.account(EVE).await;
    server
}

#[tokio::test]
async fn a_cookie_of_almost_our_name_is_not_ours() {
    let server = site().await;
    let (ada, _) = browser(&server, ADA).await;
    let (eve, _) = browser(&server, EVE).await;
    for name in names_like(SESSION) {
        let shown = String::from_utf8_lossy(&name).escape_unicode().to_string();
        let planted = header(&[&name, b"=", eve.as_bytes()]);
        assert_eq!(me(&server, &[planted]).await.problem(), (401, "unauthenticated"), "{shown}");
        let before = header(&[&name, b"=", eve.as_bytes(), b"; ", SESSION.as_bytes(), b"=", ada.as_bytes()]);
        let behind = header(&[SESSION.as_bytes(), b"=", ada.as_bytes(), b"; ", &name, b"=", eve.as_bytes()]);
        for cookies in [before, behind] {
            assert_eq!(me(&server, &[cookies]).await.body["email"], json!(ADA), "{shown}");
        }
    }
}

#[tokio::test]
async fn a_planted_device_cookie_does_not_make_the_owner_a_stranger() {
    let server = site().await;
    let (_, device) = browser(&server, ADA).await;
    for guess in 0..6 {
        server.log_in(ADA, &format!("a wrong password {guess}")).await;
    }
    assert_eq!(server.log_in(ADA, PASSWORD).await.problem(), (429, "too_many_attempts"));
    for name in names_like(DEVICE) {
        let cookies = header(&[&name, b"=x; ", DEVICE.as_bytes(), b"=", device.as_bytes()]);
        let request = server.request(Method::POST, "/v1/login").header("cookie", cookies);
        let answer = send(request.json(&json!({"email": ADA, "password": PASSWORD}))).await;
        let shown = String::from_utf8_lossy(&name).escape_unicode().to_string();
        assert_eq!(answer.status.as_u16(), 200, "{shown}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_neighbour_of_any_bytes_does_not_log_the_user_out() {
    let server = site().await;
    let (ada, _) = browser(&server, ADA).await;
    let ours = [SESSION.as_bytes(), b"=", ada.as_bytes()].concat();
    let neighbours: [&[u8]; 9] = [
        b"theme=\xff",
        b"\xff\xfe=1",
        b"x=%zz%",
        b"=",
        b"",
        b"no value",
        b"quoted=\"a=b, c\"",
        b"$Version=1",
        b"\x80",
    ];
    for neighbour in neighbours {
        for cookies in [header(&[neighbour, b";", &ours]), header(&[&ours, b"\t ; \t", neighbour])] {
            assert_eq!(me(&server, &[cookies]).await.body["email"], json!(ADA), "{neighbour:?}");
        }
        // Some proxies split the header.
        let lines = [header(&[neighbour]), header(&[b" ", &ours, b"\t"])];
        assert_eq!(me(&server, &lines).await.body["email"], json!(ADA), "{neighbour:?}");
    }
}

#[tokio::test]
async fn of_two_cookies_with_our_name_none_counts() {
    let server = site().await;
    let (ada, device) = browser(&server, ADA).await;
    let (eve, _) = browser(&server, EVE).await;
    let (ours, planted) = (format!("{SESSION}={ada}"), format!("{SESSION}={eve}"));
    for (one, other) in [(&ours, &planted), (&planted, &ours), (&ours, &ours)] {
        let one_line = header(&[one.as_bytes(), b"; ", other.as_bytes()]);
        let (one, other) = (header(&[one.as_bytes()]), header(&[other.as_bytes()]));
        for cookies in [vec![one_line], vec![one, other]] {
            assert_eq!(me(&server, &cookies).await.problem(), (400, "ambiguous_credentials"));
        }
    }
    let log_in = |cookies: String, mode: &str| {
        let request = server.request(Method::POST, "/v1/login").header("origin", HTTPS);
        let body = json!({"email": ADA, "password": PASSWORD, "mode": mode});
        send(request.header("cookie", cookies).json(&body))
    };
    for mode in ["token", "cookie"] {
        let devices = format!("{DEVICE}=x; {DEVICE}={device}");
        assert_eq!(log_in(devices, mode).await.problem(), (400, "ambiguous_credentials"), "{mode}");
    }
    let sessions = format!("{ours}; {planted}");
    assert_eq!(log_in(sessions, "cookie").await.problem(), (400, "ambiguous_credentials"));
    // Nothing was ended by it.
    assert_eq!(me(&server, &[header(&[ours.as_bytes()])]).await.body["email"], json!(ADA));
}
