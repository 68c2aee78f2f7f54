//! What operators are told: alerts by a signed webhook, and the checklist of `portcullis doctor`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use portcullis::server::outbound::signature::signature as sign;
use serde_json::{Value, json};

use crate::support::TestServer;
use crate::support::process::{BINARY, Process};

/// A call of the webhook: the header that signs it, and its body.
pub(super) struct Call {
    pub(super) signature: String,
    pub(super) body: String,
}

/// Listens as a webhook that answers one call with each of `statuses` in turn. Returns its URL and the calls.
pub(super) fn receiver(statuses: &'static [&'static str]) -> (String, mpsc::Receiver<Call>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (calls, received) = mpsc::channel();
    std::thread::spawn(move || {
        for status in statuses {
            let (mut stream, _) = listener.accept().unwrap();
            let call = read_call(&stream);
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            calls.send(call).unwrap();
        }
    });
    (url, received)
}

/// Reads one request with a `content-length`.
fn read_call(stream: &TcpStream) -> Call {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut signature, mut former) = (String::new(), String::new());
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        // The request line has no colon and a blank.
        let Some((name, value)) = line.split_once(": ") else { continue };
        match name.to_lowercase().as_str() {
            "portcullis-signature" => value.clone_into(&mut signature),
            "x-portcullis-signature" => value.clone_into(&mut former),
            "content-length" => length = value.parse().unwrap(),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    // Receivers of before read the header by its former name.
    assert_eq!(former, signature);
    Call { signature, body: String::from_utf8(body).unwrap() }
}

#[tokio::test]
async fn an_alert_reaches_the_webhook_signed_and_is_tried_again() {
    let (url, calls) = receiver(&["500 Internal Server Error", "204 No Content"]);
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "a secret for the hook\n").unwrap();
    let server =
        TestServer::with(&[("alert.webhook", url.as_str()), ("alert.secret_file", secret.to_str().unwrap())]);
    let keys = server.operate(json!({"operation": "key_list"})).await;
    let kid = keys["ok"]["items"][0]["kid"].as_str().unwrap().to_owned();
    server.operate(json!({"operation": "key_retire", "kid": kid})).await;
    let clock = server.clock.clone();
    let received = tokio::task::spawn_blocking(move || {
        let first = calls.recv_timeout(Duration::from_secs(20)).unwrap();
        clock.advance(Duration::from_secs(2));
        let second = calls.recv_timeout(Duration::from_secs(20)).unwrap();
        [first, second]
    });
    let [first, second] = received.await.unwrap();
    assert_eq!(first.body, second.body);
    for Call { signature, body } in [first, second] {
        let (time, given) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let expected = sign(b"a secret for the hook", time.parse().unwrap(), body.as_bytes());
        assert_eq!(given, expected);
        let alert: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(alert["alert"], json!("key.retired"));
        assert_eq!(alert["count"], json!(1));
    }
}

/// Runs the binary and returns its exit code, its standard output and its standard error.
fn run(args: &[&str], data: &Path) -> (i32, String, String) {
    let mut command = Command::new(BINARY);
    command.args(args).arg("--data-dir").arg(data).env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0");
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_checklist_names_for_each_finding_its_reason_and_its_fix() {
    let dir = tempfile::tempdir().unwrap();
    let (code, checklist, _) = run(&["doctor", "--json"], &dir.path().join("data"));
    assert_eq!(code, 0, "on loopback nothing is more than a warning: {checklist}");
    let items = serde_json::from_str::<Value>(&checklist).unwrap()["items"].as_array().unwrap().clone();
    assert!(items.len() >= 25, "{}", items.len());
    for item in &items {
        let is_filled = |field: &str| !item[field].as_str().unwrap().is_empty();
        assert!(is_filled("what"), "{item}");
        if item["state"] != "pass" {
            assert!(is_filled("why"), "{item}");
            assert!(is_filled("fix"), "{item}");
        }
    }
}

/// A directory with files in it could not be restored into.
#[test]
fn commands_that_only_read_make_no_data_directory() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert_eq!(run(&["doctor", "--json"], &data).0, 0);
    let (code, _, error) = run(&["audit", "verify"], &data);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("keys"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn production_refuses_unsafe_settings_and_names_each() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, error) = run(&["serve", "--production"], &dir.path().join("data"));
    assert_eq!(code, 2);
    for key in ["http.public_origin", "mail.transport", "mail.console", "mail.from"] {
        assert!(error.contains(key), "no {key} in: {error}");
    }
}

/// The usual set-up: the server listens on loopback, and a proxy with TLS in front makes it public.
#[test]
fn a_public_origin_refuses_unsafe_settings_like_a_public_address() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let with_origin = |origin: &str, args: &[&str]| {
        let mut command = Command::new(BINARY);
        command.env("PORTCULLIS__HTTP__PUBLIC_ORIGIN", origin).env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0");
        command.args(args).arg("--data-dir").arg(&data);
        command
    };
    for origin in ["https://login.test", "https://localhost", "http://login.test"] {
        let done = with_origin(origin, &["serve"]).output().unwrap();
        let error = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(2), "{origin}: {error}");
        for key in ["mail.transport", "mail.from"] {
            assert!(error.contains(key), "{origin}: no {key} in: {error}");
        }
        // Links with tokens are printed for a developer on this machine, never into the log of a public site.
        assert!(!error.contains("mail.console"), "{origin}: {error}");
        let doctor = with_origin(origin, &["doctor"]).output().unwrap();
        assert_eq!(doctor.status.code(), Some(1), "{origin}");
    }
    let mut tried = Process::spawn(with_origin("https://login.test", &["serve", "--development"]));
    assert_eq!(tried.stop(), Some(0));
    let mut local = Process::spawn(with_origin("http://localhost:8080", &["serve"]));
    assert_eq!(local.stop(), Some(0));
}

/// Starts a server over `data` with `settings` on top, and stops it at once.
///
/// Returns whether the stop before this start was clean, or the error of a start that failed.
fn start_and_stop(data: &Path, settings: &[(&str, &str)]) -> Result<bool, String> {
    use portcullis::config::{Config, Reader};
    use portcullis::system::clock::Clock;
    use portcullis::system::fail_stop::FailStop;

    let mut reader = Reader::new();
    let data = data.to_string_lossy().into_owned();
    let defaults = [
        ("data_dir", data.as_str()),
        ("http.listen", "127.0.0.1:0"),
        ("password.memory_kib", "64"),
        ("password.passes", "1"),
        ("throttle.cells", "10000"),
        ("journal.segment_bytes", "4194304"),
    ];
    for (key, value) in defaults.iter().chain(settings) {
        reader.plain(key, value, "test");
    }
    let config = Config::from_reader(reader).unwrap();
    actix_web::rt::System::new().block_on(async move {
        let fail_stop = FailStop::new(|why| panic!("{why}"));
        match portcullis::server::build(config, Clock::system(), false, None, &fail_stop) {
            Ok(server) => {
                let clean = server.found().clean_stop;
                server.stop().await;
                Ok(clean)
            }
            Err(error) => Err(error.to_string()),
        }
    })
}

/// If two engines shared a directory, mails would leave twice and one engine would end the other.
#[test]
fn a_start_that_fails_late_leaves_nothing_running() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    assert_eq!(start_and_stop(&data, &[]), Ok(false));

    // The operators' address is taken.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let error = start_and_stop(&data, &[("admin.listen", &taken)]).unwrap_err();
    assert!(error.contains(&taken), "{error}");
    assert!(error.contains("for operators"), "{error}");

    // The directory of the audit log is a file.
    let file = dir.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(start_and_stop(&data, &[("audit.dir", file.to_str().unwrap())]).is_err());

    // A directory that is not empty is where the socket must be.
    let socket = data.join("admin.sock");
    std::fs::create_dir_all(socket.join("sub")).unwrap();
    assert!(start_and_stop(&data, &[]).is_err());
    std::fs::remove_dir_all(&socket).unwrap();

    // The last start that failed had opened the journal, and has closed it in order.
    assert_eq!(start_and_stop(&data, &[]), Ok(true));
}

/// Somebody else listens at the socket, and answers with a line that has no end.
#[test]
fn an_answer_at_the_operators_socket_without_an_end_is_cut_off() {
    const MANY: usize = 256 << 20;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let listener = std::os::unix::net::UnixListener::bind(data.join("admin.sock")).unwrap();
    let answering = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut taken = 0;
        while taken < MANY && stream.write_all(&[b'A'; 16_384]).is_ok() {
            taken += 16_384;
        }
        taken
    });
    let mut command = Command::new(BINARY);
    command.args(["user", "list"]).arg("--data-dir").arg(&data);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("longer than 64 MiB"), "{said}");
    assert!(answering.join().unwrap() < MANY / 2);
}
