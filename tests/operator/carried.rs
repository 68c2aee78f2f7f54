//! The operator's commands about what an account carries, on a running and on a stopped server.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::TestServer;
use crate::support::process::{BINARY, Process, Ran, run};

const ADA: &str = "ada@test.org";
const ID: &str = "auth0|5f7c";

/// Returns the account as `user show --json` shows it.
fn shown(user: &str, dir: &Path) -> Value {
    let text = run(&["user", "show", user, "--json"], dir).exits(0).text;
    serde_json::from_str(text.trim()).unwrap()
}

/// Runs a command with `input` at its standard input.
fn run_with(args: &[&str], dir: &Path, input: &str) -> Ran {
    let mut command = Command::new(BINARY);
    command.args(args).arg("--data-dir").arg(dir).env("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:0");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Ran { code: output.status.code().unwrap(), text: String::from_utf8_lossy(&text).into_owned() }
}

/// Sets every field in turn and reads it back, and names the account by each of its names.
fn set_and_show(dir: &Path) {
    let external = format!("external:{ID}");
    run(&["user", "set", ADA, "--name", "Ada", "--locale", "en-gb", "--external-id", ID], dir).exits(0);
    let set = run(&["user", "set", &external, "--user-metadata", "{\"theme\": \"dark\"}"], dir).exits(0);
    set.says("changed ada@test.org (")
        .says("user metadata  {\"theme\":\"dark\"}")
        .says("language       en-GB");
    run_with(&["user", "set", &external, "--app-metadata", "-"], dir, "{\n  \"plan\": \"pro\"\n}\n").exits(0);
    let account = shown(&external, dir);
    assert_eq!(account["email"], json!(ADA));
    assert_eq!([&account["name"], &account["locale"]], [&json!("Ada"), &json!("en-GB")]);
    assert_eq!(account["user_metadata"], json!({"theme": "dark"}));
    assert_eq!(account["app_metadata"], json!({"plan": "pro"}));
    assert_eq!(account["external_id"], json!(ID));
    let told = run(&["user", "show", ADA], dir).exits(0);
    told.says("app metadata   {\"plan\":\"pro\"}")
        .says("external id    auth0|5f7c")
        .says("name           Ada");
    // Commands that take an account take it by this name too, and nothing changes where a fault is.
    run(&["session", "list", &external], dir).exits(0);
    run(&["user", "disable", &external], dir).exits(0).says("disabled ada@test.org");
    run(&["user", "enable", &external], dir).exits(0);
    run(&["user", "show", "external:nobody"], dir).exits(1).says("\"external:nobody\" is no account");
    run(&["user", "set", ADA, "--external-id", "other"], dir).exits(0);
    run(&["user", "show", &external], dir).exits(1);
    for (args, why) in [
        (&["--locale", "en_GB"][..], "en-GB (BCP 47)"),
        (&["--user-metadata", "[1]"], "--user-metadata: this is no JSON object"),
        (&["--app-metadata", "{\"a\":1,\"a\":2}"], "--app-metadata: a name stands twice"),
        (&["--external-id", "a\nb"], "an external id has"),
    ] {
        run(&[&["user", "set", ADA], args].concat(), dir).exits(1).says(why);
    }
    run(&["user", "set", ADA], dir).exits(2);
    run(&["user", "set", ADA, "--user-metadata", "-", "--app-metadata", "-"], dir).exits(2);
    // Each is taken away by an empty text.
    let none =
        ["--name", "", "--locale", "", "--user-metadata", "", "--app-metadata", "{}", "--external-id", ""];
    run(&[&["user", "set", ADA][..], &none].concat(), dir).exits(0);
    let account = shown(ADA, dir);
    assert_eq!(account["name"], Value::Null);
    for field in ["locale", "user_metadata", "app_metadata", "external_id"] {
        assert_eq!(account.get(field), None, "{field}");
    }
}

#[test]
fn the_operator_sets_and_shows_what_an_account_carries_while_the_server_runs_and_while_it_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Process::start(dir.path());
    run(&["user", "add", ADA, "--no-password"], dir.path()).exits(0);
    set_and_show(dir.path());
    assert_eq!(server.stop(), Some(0));
    set_and_show(dir.path());
}

#[tokio::test]
async fn an_account_is_made_with_all_that_it_carries_and_no_two_have_one_external_id() {
    let server = TestServer::start();
    let dir = server.data_dir();
    let add = |email: &str| {
        let fields = [
            "--name",
            "Ada",
            "--locale",
            "en-gb",
            "--app-metadata",
            "{\"plan\":\"pro\"}",
            "--external-id",
            ID,
        ];
        run(&[&["user", "add", email, "--no-password"][..], &fields].concat(), dir)
    };
    add(ADA).exits(0);
    let account = shown(ADA, dir);
    assert_eq!([&account["name"], &account["locale"]], [&json!("Ada"), &json!("en-GB")]);
    assert_eq!(account["app_metadata"], json!({"plan": "pro"}));
    assert_eq!(account["external_id"], json!(ID));
    add("bob@test.org").exits(1).says("another account has the external id");
    run(&["user", "show", "bob@test.org"], dir).exits(1);
}
