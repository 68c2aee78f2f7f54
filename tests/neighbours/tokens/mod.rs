//! Libraries that check access tokens by the published keys: PyJWT, `jose` and `jsonwebtoken` from npm, and a decoder that
//! is as strict as those of large frameworks.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};

use super::install::{JOSE, JSONWEBTOKEN, Need, PYJWT, installed, node_folder, script};
use super::server::Server;

const ISSUER: &str = "https://login.house.test";
const NAME: &str = "ada@near.test";

/// A library, in a program that reads tokens line by line and answers with a line of JSON for each: the claims, or `null`
/// and the reason.
struct Library {
    need: Need,
    /// Its file in `tests/neighbours/tokens`.
    file: &'static str,
    /// The algorithms of `token.algorithm` that it knows.
    knows: &'static [&'static str],
}

const BOTH: &[&str] = &["ES256", "EdDSA"];
const LIBRARIES: [fn() -> Library; 4] = [
    || Library { need: PYJWT, file: "with_pyjwt.py", knows: BOTH },
    || Library { need: PYJWT, file: "strict.py", knows: BOTH },
    || Library { need: JOSE, file: "with_jose.mjs", knows: BOTH },
    || Library { need: JSONWEBTOKEN, file: "with_jsonwebtoken.mjs", knows: &["ES256"] },
];

/// Runs `check` with each library that is installed and knows `algorithm`.
fn with_each(algorithm: &str, check: impl Fn(&Library)) {
    for library in LIBRARIES.iter().map(|library| library()) {
        if installed(std::slice::from_ref(&library.need)) && library.knows.contains(&algorithm) {
            check(&library);
        }
    }
}

impl Library {
    /// Returns what the library makes of each of `tokens`: the claims, or `None` if it refuses the token. It accepts
    /// tokens of the issuer for `audience`.
    fn check(&self, server: &Server, audience: &str, tokens: &[&str]) -> Vec<Option<Value>> {
        let path = script("tokens").join(self.file);
        let folder = node_folder(&path);
        let copy = folder.path().join(self.file);
        let program = if self.has_python() { Path::new("python3") } else { Path::new("node") };
        let mut command = Command::new(program);
        command.arg(copy).arg(format!("{}/.well-known/jwks.json", server.url())).args([ISSUER, audience]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines: String = tokens.iter().map(|token| format!("{token}\n")).collect();
        child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", self.file);
        let answers = String::from_utf8(output.stdout).unwrap();
        let answers: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(answers.len(), tokens.len(), "{}: {answers:?}", self.file);
        answers
            .into_iter()
            .map(|answer| Some(answer["claims"].clone()).filter(|claims| !claims.is_null()))
            .collect()
    }

    fn has_python(&self) -> bool {
        Path::new(self.file).extension().is_some_and(|kind| kind == "py")
    }

    #[track_caller]
    fn accepts(&self, server: &Server, tokens: &[&str]) {
        for (token, claims) in tokens.iter().zip(self.check(server, ISSUER, tokens)) {
            let claims = claims.unwrap_or_else(|| panic!("{} refuses {token}", self.file));
            assert_eq!(claims, part(token, 1), "{}", self.file);
        }
    }

    #[track_caller]
    fn refuses(&self, server: &Server, audience: &str, tokens: &[&str]) {
        for (token, claims) in tokens.iter().zip(self.check(server, audience, tokens)) {
            assert_eq!(claims, None, "{} accepts {token}", self.file);
        }
    }
}

/// Returns a part of a token: 0 is the header, 1 the claims.
pub fn part(token: &str, number: usize) -> Value {
    let part = token.split('.').nth(number).unwrap();
    serde_json::from_slice(&Base64UrlUnpadded::decode_vec(part).unwrap()).unwrap()
}

fn issuer(algorithm: &str) -> Server {
    let settings = [
        ("http.public_origin", ISSUER),
        ("token.algorithm", algorithm),
        // A new key signs at once.
        ("token.publish_ahead_secs", "0"),
    ];
    let server = Server::with(&settings);
    server.sign_up(NAME).is(201);
    server
}

fn access(server: &Server) -> String {
    server.log_in(NAME).text("access_token")
}

fn are_accepted(algorithm: &str) {
    let server = issuer(algorithm);
    let token = access(&server);
    assert_eq!(part(&token, 0)["alg"], algorithm);
    with_each(algorithm, |library| library.accepts(&server, &[&token]));
}

#[test]
fn tokens_signed_by_es256_are_accepted() {
    are_accepted("ES256");
}

#[test]
fn tokens_signed_by_eddsa_are_accepted() {
    are_accepted("EdDSA");
}

#[test]
fn tokens_of_the_old_and_the_new_key_are_accepted_after_a_rotation() {
    let server = issuer("ES256");
    let old = access(&server);
    server.run(&["key", "rotate"]).exits(0);
    let new = access(&server);
    assert_ne!(part(&old, 0)["kid"], part(&new, 0)["kid"]);
    with_each("ES256", |library| library.accepts(&server, &[&old, &new]));
}

#[test]
fn tokens_of_both_algorithms_are_accepted_after_a_change_of_the_algorithm() {
    let server = issuer("ES256");
    let old = access(&server);
    let settings =
        [("http.public_origin", ISSUER), ("token.algorithm", "EdDSA"), ("token.publish_ahead_secs", "0")];
    let server = server.restart_with(&settings);
    let new = access(&server);
    assert_eq!(part(&new, 0)["alg"], "EdDSA");
    with_each("EdDSA", |library| library.accepts(&server, &[&old, &new]));
}

#[test]
fn tokens_of_a_retired_key_are_refused() {
    let server = issuer("ES256");
    let old = access(&server);
    server.run(&["key", "rotate"]).exits(0);
    server.run(&["key", "retire", part(&old, 0)["kid"].as_str().unwrap()]).exits(0);
    let new = access(&server);
    with_each("ES256", |library| {
        library.refuses(&server, ISSUER, &[&old]);
        library.accepts(&server, &[&new]);
    });
}

#[test]
fn what_this_server_has_not_signed_for_this_audience_is_refused() {
    let server = issuer("ES256");
    let token = access(&server);
    let other = access(&issuer("ES256"));
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{token}") };
    let encode = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    let mut richer = part(&token, 1);
    richer["roles"] = json!(["admin"]);
    let mut unsigned = part(&token, 0);
    unsigned["alg"] = json!("none");
    let forged = [
        format!("{header}.{}.{signature}", encode(&richer)),
        format!("{}.{claims}.", encode(&unsigned)),
        format!("{}.{claims}.{signature}", encode(&unsigned)),
        format!("{header}.{claims}.{}", other.rsplit('.').next().unwrap()),
        other.clone(),
    ];
    let forged: Vec<&str> = forged.iter().map(String::as_str).collect();
    with_each("ES256", |library| {
        library.refuses(&server, ISSUER, &forged);
        library.refuses(&server, "https://shop.house.test", &[&token]);
        library.accepts(&server, &[&token]);
    });
}
