//! The programs that the server calls by itself: the checklist says of each whether it can be reached, and asks it nothing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;

use serde_json::Value;

use crate::support::process::{BINARY, Ran};
use crate::support::tls::{CERTIFICATE, OF_AUTHORITY, serve_tls, serve_tls_as};

/// Listens, and sends what each connection has said once it is over.
fn listening(
    serve: impl Fn(std::net::TcpStream) -> Vec<u8> + Send + 'static,
) -> (u16, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (said, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = said.send(serve(stream.unwrap()));
        }
    });
    (port, heard)
}

/// Returns all that a connection says.
fn all_of(mut stream: impl Read) -> Vec<u8> {
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    said
}

/// Runs a command with a configuration, on a machine that trusts [`CERTIFICATE`] alone.
fn with(text: &str, args: &[&str]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        path
    };
    let secret = write("secret", "a secret of more than thirty-two bytes, 0123456789\n");
    let text = text.replace("SECRET", secret.to_str().unwrap());
    let (config, authorities) = (write("portcullis.toml", &text), write("authorities.pem", CERTIFICATE));
    let mut command = Command::new(BINARY);
    command.args(args).arg("--data-dir").arg(dir.path().join("data")).arg("--config").arg(config);
    // The environment of the tests may name a directory of certificates, which would be read, too.
    command.env("SSL_CERT_FILE", authorities).env("SSL_CERT_DIR", Path::new("/nowhere"));
    Ran::of(&mut command)
}

/// Returns the only line of the checklist that holds `part`.
fn line(ran: &Ran, part: &str) -> String {
    let mut lines = ran.text.lines().filter(|line| line.contains(part));
    let line = lines.next().unwrap_or_else(|| panic!("no line with {part}: {}", ran.text));
    assert_eq!(lines.next(), None, "{part}");
    line.to_owned()
}

#[test]
fn each_program_that_is_called_is_reached_with_its_certificate_and_asked_nothing() {
    let (plain, of_plain) = listening(all_of);
    let (tls, of_tls) = listening(|stream| all_of(serve_tls(stream)));
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let text = format!(
        "[outbound]\nallow = [\"127.0.0.1\"]\n\
         [[webhook]]\nurl = \"http://127.0.0.1:{plain}/path-of-a-secret\"\nsecret_file = \"SECRET\"\n\
         [[webhook]]\nurl = \"https://127.0.0.1:{tls}/events\"\nsecret_file = \"SECRET\"\n\
         [hook]\nsign_up = \"http://127.0.0.1:{dead}/\"\nclaims = \"https://127.0.0.1:{tls}/claims\"\n\
         secret_file = \"SECRET\"\n"
    );
    let ran = with(&text, &["doctor"]).exits(1);
    assert_eq!(
        line(&ran, &format!("webhook at 127.0.0.1:{plain}")),
        format!("pass  webhook at 127.0.0.1:{plain}, connected")
    );
    assert!(line(&ran, &format!("webhook at 127.0.0.1:{tls}")).starts_with("pass"), "{}", ran.text);
    assert!(line(&ran, "hook of log-ins and refreshes at ").starts_with("pass"), "{}", ran.text);
    let refused = line(&ran, "hook of sign-ups at ");
    assert!(
        refused.starts_with(&format!("fail  hook of sign-ups at 127.0.0.1:{dead}, Connection refused")),
        "{refused}"
    );
    assert!(
        refused.contains(": every sign-up is refused, as hook.on_error says: start the program"),
        "{refused}"
    );
    assert!(refused.ends_with("([hook] sign_up)"), "{refused}");
    assert!(!ran.text.contains("path-of-a-secret"), "{}", ran.text);
    // The connection alone, then the one with TLS: nothing is said in either.
    assert_eq!(of_plain.recv().unwrap(), b"");
    for _ in 0..4 {
        assert_eq!(String::from_utf8_lossy(&of_tls.recv().unwrap()), "");
    }
}

/// Kind: an error that an operator can mend, and that names neither the cause nor the remedy.
#[test]
fn what_is_in_the_way_of_a_call_is_named_with_what_to_do() {
    let (tls, _) = listening(|stream| all_of(serve_tls_as(OF_AUTHORITY, stream)));
    let (no_tls, _) = listening(|mut stream| {
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        Vec::new()
    });
    let allowed = "[outbound]\nallow = [\"127.0.0.1\", \"::1\"]\n";
    for (rules, url, cause, remedy) in [
        (
            allowed,
            format!("https://127.0.0.1:{tls}/"),
            "CaUsedAsEndEntity",
            "not that of an authority (CA:FALSE)",
        ),
        (allowed, format!("https://127.0.0.1:{no_tls}/"), "corrupt message", "check the port of the URL"),
        (
            "",
            format!("https://localhost:{tls}/"),
            "which is not public",
            "list the address in outbound.allow",
        ),
        ("", "https://nowhere.invalid/".into(), "", "check the host of the URL"),
    ] {
        let text = format!("{rules}[[webhook]]\nurl = \"{url}\"\nsecret_file = \"SECRET\"\n");
        let ran = with(&text, &["doctor"]).exits(1);
        let said = line(&ran, "webhook at ");
        assert!(said.starts_with("fail"), "{said}");
        assert!(said.contains(cause) && said.contains(remedy), "{url}: {said}");
        assert!(said.contains(": its events wait, and after three days"), "{said}");
    }
}

/// Kind: a list of sections is in the text, and not in the JSON.
#[test]
fn the_configuration_is_as_complete_in_json_as_in_words() {
    let text = "[[webhook]]\nurl = \"https://a.example.org/\"\nsecret_file = \"SECRET\"\nevents = [\"account.*\"]\n\
                [[webhook]]\nurl = \"https://b.example.org/\"\nsecret_file = \"SECRET\"\n\
                [hook]\nclaims = \"https://c.example.org/\"\nsecret_file = \"SECRET\"\n";
    let words = with(text, &["config", "show"]).exits(0);
    let json = with(text, &["config", "show", "--json"]).exits(0);
    let items = serde_json::from_str::<Value>(&json.text).unwrap()["items"].as_array().unwrap().clone();
    let of = |key: &str| {
        let mut found = items.iter().filter(|item| item["key"] == key);
        let item = found.next().unwrap_or_else(|| panic!("no {key}"));
        assert!(found.next().is_none(), "{key} is there twice");
        item.clone()
    };
    assert_eq!(of("webhook[0].url")["value"], "https://a.example.org/");
    assert_eq!(of("webhook[0].events")["value"][0], "account.*");
    assert_eq!(of("webhook[1].url")["value"], "https://b.example.org/");
    assert!(of("webhook[1].url")["from"].as_str().unwrap().ends_with("portcullis.toml:6"), "{}", json.text);
    assert_eq!(of("webhook[1].events")["value"], Value::Array(Vec::new()));
    assert_eq!(of("hook.claims")["value"], "https://c.example.org/");
    assert_eq!(of("hook.sign_up")["value"], Value::Null);
    let lines = words.text.lines().filter(|line| !line.starts_with("[[")).count();
    assert_eq!(items.len(), lines, "{}\n{}", words.text, json.text);
    // The secret is in its file.
    assert!(!json.text.contains("a secret of more than"));
}
