//! What people type at the command line and into files for it, and output that nobody can read.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::process::{BINARY, Process, Ran, log_in, run, skipped};
use crate::support::{PASSWORD, TestServer};

/// Runs `config check` with `variables` and without any other.
fn check(variables: &[(&str, &str)], data: &Path, more: &[&str]) -> Ran {
    let mut command = Command::new(BINARY);
    command.args(["config", "check"]).args(more).arg("--data-dir").arg(data);
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    Ran { code: output.status.code().unwrap(), text }
}

/// Runs the binary with `args`, and gives it `input` on standard input.
fn given(args: &[&str], data: &Path, input: &Path) -> Ran {
    let mut command = Command::new(BINARY);
    command.args(args).arg("--data-dir").arg(data).stdin(fs::File::open(input).unwrap());
    Ran::of(&mut command)
}

/// A password file of an editor of Windows has a byte order mark and CRLF.
#[tokio::test]
async fn a_password_from_a_file_of_an_editor_is_the_one_that_its_owner_types() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let server = Process::start(&data);
    let input = root.path().join("password");
    let http = reqwest::Client::new();
    let add = |email: &str, bytes: &[u8]| {
        fs::write(&input, bytes).unwrap();
        given(&["user", "add", email, "--password-stdin"], &data, &input)
    };
    let bare = PASSWORD.to_owned();
    let texts = [bare.clone(), format!("{bare}\n"), format!("\u{feff}{bare}\r\n")];
    for (number, text) in texts.iter().enumerate() {
        let email = format!("p{number}@example.org");
        add(&email, text.as_bytes()).exits(0);
        assert_eq!(log_in(&http, &server.url, &email, PASSWORD).await, 200, "{text:?}");
    }
    for (bytes, why) in [
        (&b"\xEF\xBB\xBF\r\n"[..], "is empty"),
        (b"one line\nand another\n", "more than one line"),
        (b"\xFF\xFEo\0p\0", "is UTF-16"),
    ] {
        add("nobody@example.org", bytes).exits(1).says(why);
    }
}

#[test]
fn config_check_names_a_secret_that_is_empty_and_warns_of_blanks_around_one() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let file = root.path().join("file");
    let path = file.to_str().unwrap();
    let smtp = [
        ("PORTCULLIS__MAIL__TRANSPORT", "smtp"),
        ("PORTCULLIS__MAIL__SMTP__HOST", "127.0.0.1"),
        ("PORTCULLIS__MAIL__SMTP__USERNAME", "u"),
        ("PORTCULLIS__MAIL__SMTP__PASSWORD_FILE", path),
    ];
    let hook =
        [("PORTCULLIS__ALERT__WEBHOOK", "https://a.example.org"), ("PORTCULLIS__ALERT__SECRET_FILE", path)];
    let master = [("PORTCULLIS__KEYS__MASTER_FILE", path)];
    let pepper = [("PORTCULLIS__PASSWORD__PEPPER_FILE", path)];
    let list = [("PORTCULLIS__PASSWORD__LIST_FILE", path)];
    let long = "0123456789abcdef0123456789abcdef";
    for (variables, text, code, part) in [
        (&smtp[..], String::from("\u{feff}open sesame\r\n"), 0, "no mistakes"),
        (&smtp, String::from("open sesame \n"), 0, "warning: mail.smtp.password_file"),
        (&smtp, String::from("\u{feff}\r\n"), 2, "mail.smtp.password_file: "),
        (&hook, String::from(" a secret"), 0, "warning: alert.secret_file"),
        (&hook, String::new(), 2, "first line is empty"),
        (&master, format!("\u{feff}{long}\r\n"), 0, "no mistakes"),
        (&master, String::from("\u{feff}short\n"), 2, "less than 32 bytes"),
        (&pepper, format!("\u{feff}p1 {long}\r\n"), 0, "no mistakes"),
        (&pepper, String::from("\n"), 2, "line 1"),
        (&list, String::from("\u{feff}a password\r\n"), 0, "no mistakes"),
    ] {
        fs::write(&file, &text).unwrap();
        check(variables, &data, &[]).exits(code).says(part);
    }
    fs::write(&file, b"\xFF\xFEa\0").unwrap();
    check(&list, &data, &[]).exits(2).says("password.list_file").says("UTF-16");
    // A file that is not there is a mistake. A credential is for `doctor`: systemd gives it to the server alone.
    fs::remove_file(&file).unwrap();
    check(&smtp, &data, &[]).exits(2).says("mail.smtp.password_file: ");
    let mut credential = smtp;
    credential[3].1 = "credential:mail";
    check(&credential, &data, &[]).exits(0).says("no mistakes");
}

/// Docker and systemd keep what a shell would take away.
#[test]
fn quotes_that_an_env_file_has_kept_are_a_mistake_that_is_named() {
    let root = tempfile::tempdir().unwrap();
    for (variable, value) in [
        ("PORTCULLIS__DATA_DIR", "\"/var/lib/portcullis\""),
        ("PORTCULLIS__SERVICE_NAME", "'Example'"),
        ("PORTCULLIS__LOG__FILE", "\"/var/log/portcullis.log\""),
        ("PORTCULLIS__HTTP__TRUSTED_PROXIES", "\"10.0.0.1\",\"10.0.0.2\""),
        ("PORTCULLIS__HTTP__TRUSTED_PROXIES", "10.0.0.1, '10.0.0.2'"),
        ("PORTCULLIS__TOKEN__ACCESS_TTL_SECS", "\"600\""),
        ("PORTCULLIS__SIGNUP__ENABLED", "'true'"),
        ("PORTCULLIS__SERVICE_NAME", "Example\r"),
    ] {
        let said = check(&[(variable, value)], root.path(), &[]).exits(2).says("1 mistake:");
        said.says(&format!("{variable}: ")).says(if value.ends_with('\r') { "return" } else { "quotes" });
    }
    for (variable, value) in [
        ("PORTCULLIS__SERVICE_NAME", "The \"Example\""),
        ("PORTCULLIS__SERVICE_NAME", "\""),
        ("PORTCULLIS__MAIL__FROM", "\"Log-in, Example\" <login@example.org>"),
    ] {
        check(&[(variable, value)], root.path(), &[]).exits(0);
    }
}

/// Runs the binary with `args`, and with a full device as its standard output.
fn into_full_device(args: &[&str], data: &Path) -> Ran {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = Command::new(BINARY);
    command.args(args).arg("--data-dir").arg(data).stdout(Stdio::from(full));
    Ran::of(&mut command)
}

#[test]
fn output_that_is_lost_is_an_internal_fault_and_no_api_key_is_left_that_nobody_has_seen() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let mut server = Process::start(&data);
    let create = ["api-key", "create", "shop", "--scopes", "introspect"];
    for args in [
        &["user", "list", "--json"][..],
        &["config", "show"],
        &["doctor"],
        &["completions", "bash"],
        &["--help"],
        &["user", "add", "x@example.org", "--no-password"],
    ] {
        into_full_device(args, &data).exits(70).says("cannot write to standard output");
    }
    let failed = into_full_device(&["user", "list", "--json"], &data);
    assert_eq!(serde_json::from_str::<Value>(&failed.text).unwrap()["code"], 70, "{failed:?}");
    into_full_device(&create, &data).exits(70).says("deleted again");
    run(&["api-key", "list"], &data).exits(0).says("there are no API keys");
    // Nor has anyone seen it who closed the pipe.
    let mut command = Command::new("sh");
    command.args(["-c", "\"$0\" \"$@\" | true", BINARY]).args(create).arg("--data-dir").arg(&data);
    let closed = (0..50).find_map(|_| {
        let ran = Ran::of(&mut command);
        ran.text.contains("deleted again").then_some(ran)
    });
    assert!(closed.is_some(), "no pipe was closed in time");
    assert_eq!(server.stop(), Some(0));
    into_full_device(&["data", "dump"], &data).exits(70);
    into_full_device(&create, &data).exits(70).says("deleted again");
    run(&create, &data).exits(0).says("the API key shop");
}

/// Plays the terminal of a command that asks for a password: does `act` at the prompt, waits for the end of the process, and
/// prints whether the echo was on at the prompt, whether it is on afterwards, and the signal that ended it.
const AT_PROMPT: &str = r#"
import os, pty, select, signal, sys, termios
signal.alarm(60)
act, command = sys.argv[1], sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(command[0], command)
echo = lambda: bool(termios.tcgetattr(terminal)[3] & termios.ECHO)
said = b""
def until(text):
    global said
    while text not in said:
        said += os.read(terminal, 1000)
    said = b""
until(b"password: ")
# Open, so that the terminal outlives the command.
held = os.open(os.readlink(f"/proc/{pid}/fd/0"), os.O_RDWR | os.O_NOCTTY)
at_prompt = echo()
if act.startswith("SIG"):
    os.kill(pid, getattr(signal, act))
else:
    keys = bytes.fromhex(act)
    os.write(terminal, keys)
    if keys.endswith(b"\n"):
        until(b"again: ")
        os.write(terminal, keys)
status = os.waitpid(pid, 0)[1]
print(at_prompt, echo(), signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
"#;

#[test]
fn a_password_prompt_gives_the_echo_back_however_it_ends() {
    let name = "a_password_prompt_gives_the_echo_back_however_it_ends";
    if !Command::new("python3").args(["-c", "import pty"]).output().is_ok_and(|ran| ran.status.success()) {
        return skipped(name, "there is no python3, which makes the terminal");
    }
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let server = Process::start(&data);
    let typed: String = format!("{PASSWORD}\n").bytes().map(|byte| format!("{byte:02x}")).collect();
    for (act, end) in [
        ("03", "SIGINT"),
        ("1c", "SIGQUIT"),
        ("SIGTERM", "SIGTERM"),
        ("SIGHUP", "SIGHUP"),
        ("04", "1"),
        ("0a", "1"),
        (typed.as_str(), "0"),
    ] {
        let mut command = Command::new("python3");
        command
            .args(["-c", AT_PROMPT, act, BINARY, "user", "add", "ada@example.org", "--data-dir"])
            .arg(&data);
        assert_eq!(Ran::of(&mut command).text.trim(), format!("False True {end}"), "{act}");
    }
    run(&["user", "list"], &data).exits(0).says("ada@example.org");
    drop(server);
}

#[tokio::test]
async fn a_page_of_accounts_that_is_too_long_is_refused() {
    let server = TestServer::start();
    let root = server.operator_account("root@test.org", &["admin"]).await;
    for limit in ["0", "1001", "1000000"] {
        let refused = server.get_as(&format!("/v1/admin/users?limit={limit}"), &root).await;
        assert_eq!(refused.status.as_u16(), 422, "{limit}");
        assert!(refused.text("detail").contains("1 to 1000"), "{refused:?}");
    }
    let page = server.get_as("/v1/admin/users?limit=1000", &root).await;
    assert_eq!((page.array("items").len(), &page.body["next_cursor"]), (1, &json!(null)));
}
