//! `portcullis doctor`, `config check` and `init` before the first start: secrets, keys, limits, and what was read.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::process::{BINARY, Process, Ran, run, skipped};

/// Runs the binary with variables set.
fn with(variables: &[(&str, &str)], args: &[&str], data: &Path) -> Ran {
    let mut command = Command::new(BINARY);
    command.args(args).arg("--data-dir").arg(data).envs(variables.iter().copied());
    Ran::of(&mut command)
}

/// Returns the lines of the checklist that hold `part`.
fn lines(ran: &Ran, part: &str) -> Vec<String> {
    ran.text.lines().filter(|line| line.contains(part)).map(ToOwned::to_owned).collect()
}

fn file(dir: &Path, name: &str, mode: u32) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, "a secret of more than thirty-two bytes, 0123456789\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// Kind: a secret that others can read is not noticed since its setting is another one.
#[test]
fn a_secret_that_others_can_read_fails_whatever_it_is_for() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    for key in ["PORTCULLIS__KEYS__MASTER_FILE", "PORTCULLIS__PASSWORD__PEPPER_FILE"] {
        for (mode, state) in [(0o644, "fail"), (0o640, "fail"), (0o600, "pass")] {
            let path = file(root.path(), "secret", mode);
            let ran = with(&[(key, path.to_str().unwrap())], &["doctor"], &data);
            let line = lines(&ran, "secret in ");
            assert_eq!(line.len(), 1, "{}", ran.text);
            assert!(line[0].starts_with(state), "{key} {mode:o}: {line:?}");
        }
        let missing = root.path().join("missing");
        with(&[(key, missing.to_str().unwrap())], &["doctor"], &data).exits(1).says("it cannot be read");
        // A credential is there for the unit alone. That is no fault of the set-up, and no reason to say nothing.
        let ran = with(&[(key, "credential:portcullis")], &["doctor"], &data).exits(0);
        assert!(lines(&ran, "LoadCredential=portcullis:PATH")[0].starts_with("warn"), "{}", ran.text);
        let path = file(root.path(), "portcullis", 0o400);
        let directory = ("CREDENTIALS_DIRECTORY", root.path().to_str().unwrap());
        let credential = || with(&[(key, "credential:portcullis"), directory], &["doctor"], &data);
        assert!(lines(&credential(), "secret in credential:")[0].starts_with("pass"));
        if fs::metadata(&path).unwrap().uid() == 0 {
            // As systemd leaves it: of another user, and readable to the server by its group.
            chown(&path, Some(65_534), None).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o440)).unwrap();
            assert!(lines(&credential(), "secret in credential:")[0].starts_with("pass"));
            fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
            assert!(lines(&credential(), "secret in credential:")[0].starts_with("fail"));
        } else {
            skipped("a credential of another user", "only root can give a file to another user");
        }
        fs::remove_file(&path).unwrap();
    }
}

/// Kind: a check passes since there is nothing to check.
#[test]
fn a_used_directory_without_its_keys_fails_and_a_new_one_does_not() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    run(&["doctor"], &data).exits(0);
    assert_eq!(Process::start(&data).stop(), Some(0));
    let backup = root.path().join("backup");
    run(&["data", "backup", backup.to_str().unwrap()], &data).exits(0);
    // A backup holds none on purpose.
    run(&["data", "verify"], &backup).exits(0).says("not compared");
    let (keys, aside) = (data.join("keys"), root.path().join("aside"));
    fs::rename(&keys, &aside).unwrap();
    for is_empty in [false, true] {
        if is_empty {
            fs::create_dir(&keys).unwrap();
        }
        run(&["data", "verify"], &data).exits(1).says("there are no keys");
        run(&["doctor"], &data).exits(1).says("there are no keys");
    }
    fs::remove_dir(&keys).unwrap();
    fs::rename(&aside, &keys).unwrap();
    run(&["data", "verify"], &data).exits(0);
}

/// Kind: two lines of the checklist say different things of one setting.
#[test]
fn each_setting_is_named_once_and_advised_once() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    for memory in ["64", "19456"] {
        let variables = [("PORTCULLIS__PASSWORD__MEMORY_KIB", memory)];
        let json = with(&variables, &["doctor", "--json"], &data);
        let items = serde_json::from_str::<Value>(&json.text).unwrap()["items"].as_array().unwrap().clone();
        let text = |item: &Value, field: &str| item[field].as_str().unwrap().to_owned();
        for item in &items {
            let of_key = items.iter().filter(|other| other["what"] == item["what"]);
            let states: Vec<String> = of_key.map(|other| text(other, "state")).collect();
            assert!(states.len() == 1 || !states.contains(&String::from("pass")), "{item}: {states:?}");
        }
        let advice: Vec<String> = items
            .iter()
            .filter(|item| item["state"] != "pass")
            .filter_map(|item| text(item, "fix").split("memory_kib = ").nth(1).map(ToOwned::to_owned))
            .collect();
        assert!(advice.len() <= 1, "{advice:?}");
        assert!(json.text.contains("in 5 tries"), "{}", json.text);
    }
}

#[test]
fn few_open_files_are_a_warning_and_a_mail_server_is_asked_or_the_reason_why_not() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 512; exec \"$0\" doctor --data-dir \"$1\"", BINARY]).arg(&data);
    let ran = Ran::of(&mut command);
    assert!(lines(&ran, "limit of open files, 512")[0].starts_with("warn"), "{}", ran.text);
    assert!(lines(&ran, "LimitNOFILE").len() == 1);
    ran.says("mail server, not asked");
    // Nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let server = [
        ("PORTCULLIS__MAIL__TRANSPORT", "smtp"),
        ("PORTCULLIS__MAIL__SMTP__HOST", "127.0.0.1"),
        ("PORTCULLIS__MAIL__SMTP__PORT", port.as_str()),
        ("PORTCULLIS__MAIL__SMTP__TLS", "none"),
    ];
    with(&server, &["doctor"], &data).exits(1).says(&format!("mail server 127.0.0.1:{port}, "));
}

#[test]
fn config_check_says_what_it_read_and_what_would_keep_the_server_from_starting() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let config = root.path().join("p.toml");
    fs::write(&config, "[lockout]\ncap = 100\n").unwrap();
    let check = |variables: &[(&str, &str)], more: &[&str]| {
        let mut command = Command::new(BINARY);
        command.args(["config", "check"]).args(more).arg("--data-dir").arg(&data);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        Ran { code: output.status.code().unwrap(), text }
    };
    check(&[], &[]).exits(0).says("read no file").says("no PORTCULLIS__ variable").says("no mistakes");
    let file = config.to_str().unwrap();
    check(&[("PORTCULLIS__SERVICE_NAME", "x")], &["--config", file])
        .exits(0)
        .says(&format!("read {file}, PORTCULLIS__SERVICE_NAME"));
    check(&[("PORTCULLIS_LOCKOUT_CAP", "9")], &[])
        .exits(2)
        .says("PORTCULLIS__LOCKOUT__CAP")
        .says("has 1 mistake:");
    check(&[("PORTCULLIS__TOKEN__ACCESS_TTL_SECS", "no")], &[]).exits(2).says("has 1 mistake:");
    // As `doctor` fails and `serve` refuses.
    let public = [("PORTCULLIS__HTTP__PUBLIC_ORIGIN", "https://login.example.org")];
    check(&public, &[]).exits(2).says("would not start").says("mail.transport").says("mail.from");
    let output = check(&public, &["--json"]);
    let said: Vec<Value> = output.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(said[0]["read"], serde_json::json!(["PORTCULLIS__HTTP__PUBLIC_ORIGIN"]));
    assert_eq!(said[0]["mistakes"], serde_json::json!([]));
    assert!(said[0]["unsafe"].as_array().unwrap().iter().any(|finding| finding["key"] == "mail.from"));
    assert_eq!(said[1]["code"], 2);
    // Kind: a green check of what the unit of the README does not start.
    let refused = run(&["serve", "--production"], &data).exits(2).text;
    let keys = |text: &str| -> Vec<String> {
        let line = |line: &str| Some(line.strip_prefix("  ")?.split_once(": ")?.0.to_owned());
        text.lines().filter_map(line).collect()
    };
    assert!(keys(&refused).len() > 2, "{refused}");
    let plain = check(&[], &[]).exits(0).says("with serve --production the server would not start: ");
    assert_eq!(keys(&plain.text), keys(&refused));
    let strict = check(&[], &["--production"]).exits(2).says("would not start with --production: ");
    assert_eq!(keys(&strict.text), keys(&refused));
    let listed = serde_json::from_str::<Value>(&check(&[], &["--json"]).exits(0).text).unwrap();
    assert_eq!(listed["unsafe"], serde_json::json!([]));
    assert_eq!(listed["unsafe_in_production"].as_array().unwrap().len(), keys(&refused).len());
    assert!(!data.exists(), "a check makes nothing");
}

/// Kind: an address without a credential that everybody reaches.
#[test]
fn metrics_are_not_open_to_other_machines_unless_somebody_says_so() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let check = |variables: &[(&str, &str)]| with(variables, &["config", "check", "--production"], &data);
    let listen = |address| ("PORTCULLIS__ADMIN__LISTEN", address);
    let remote = ("PORTCULLIS__ADMIN__ALLOW_REMOTE", "true");
    for address in ["0.0.0.0:9090", "[::]:9090", "192.0.2.7:9090"] {
        check(&[listen(address)]).exits(2).says("  admin.listen: every machine that reaches");
        check(&[listen(address), remote]).does_not_say("admin.listen");
        with(&[listen(address)], &["serve", "--production"], &data).exits(2).says("  admin.listen: ");
    }
    check(&[listen("127.0.0.1:9090")]).does_not_say("admin.listen");
    let same = [listen("0.0.0.0:8080"), ("PORTCULLIS__HTTP__LISTEN", "127.0.0.1:8080")];
    let mut command = Command::new(BINARY);
    let output = command.args(["config", "check"]).envs(same).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("must be another address than http.listen"), "{said}");
    assert!(!data.exists());
}

/// Kind: a check that passes what the next start refuses, or what nobody can have meant.
#[test]
fn config_check_finds_files_that_cannot_be_read_and_a_proxy_that_is_not_trusted() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let missing = root.path().join("missing/file").display().to_string();
    let check = |variables: &[(&str, &str)]| with(variables, &["config", "check"], &data);
    for (variable, key) in [
        ("PORTCULLIS__KEYS__MASTER_FILE", "keys.master_file"),
        ("PORTCULLIS__PASSWORD__PEPPER_FILE", "password.pepper_file"),
        ("PORTCULLIS__PASSWORD__LIST_FILE", "password.list_file"),
        ("PORTCULLIS__LOG__FILE", "log.file"),
    ] {
        check(&[(variable, &missing)]).exits(2).says(key).says(&missing).does_not_say("no mistakes");
    }
    let smtp = [
        ("PORTCULLIS__MAIL__TRANSPORT", "smtp"),
        ("PORTCULLIS__MAIL__SMTP__HOST", "127.0.0.1"),
        ("PORTCULLIS__MAIL__SMTP__USERNAME", "ada"),
        ("PORTCULLIS__MAIL__SMTP__PASSWORD_FILE", &missing),
    ];
    check(&smtp).exits(2).says("mail.smtp.password_file").says(&missing);
    // A credential is there for the unit of the server alone.
    check(&[("PORTCULLIS__KEYS__MASTER_FILE", "credential:master")]).exits(0);
    let https = ("PORTCULLIS__HTTP__PUBLIC_ORIGIN", "https://login.example.org");
    check(&[https]).says("warning: http.trusted_proxies: ");
    let trusted = ("PORTCULLIS__HTTP__TRUSTED_PROXIES", "127.0.0.1");
    check(&[https, trusted]).does_not_say("http.trusted_proxies");
    let config = root.path().join("p.toml");
    for (text, said) in [
        ("[htpp]\nlisten = \"127.0.0.1:1\"\n", "unknown section `[htpp]`; did you mean `[http]`?"),
        ("[mail.smpt]\nhost = \"h\"\n", "unknown section `[mail.smpt]`; did you mean `[mail.smtp]`?"),
        ("[http]\nlisten = 127.0.0.1:22280 # here\n", "needs quotes: listen = \"127.0.0.1:22280\""),
    ] {
        fs::write(&config, text).unwrap();
        let args = ["config", "check", "--config", config.to_str().unwrap()];
        with(&[], &args, &data).exits(2).says(said);
    }
}

/// Kind: a line that goes to a screen that nobody reads.
#[test]
fn a_log_file_has_the_summary_of_the_start() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    for format in ["text", "json"] {
        let file = root.path().join(format);
        let mut command = crate::support::process::serve(&data);
        command.env("PORTCULLIS__LOG__FILE", &file).env("PORTCULLIS__LOG__FORMAT", format);
        let mut server = Process::spawn(command);
        assert_eq!(server.stop(), Some(0));
        let text = fs::read_to_string(&file).unwrap();
        let line = text.lines().find(|line| line.contains("ready on ")).unwrap_or_else(|| panic!("{text}"));
        for part in [env!("CARGO_PKG_VERSION"), server.url.trim_start_matches("http://"), "record"] {
            assert!(line.contains(part), "no {part} in {line}");
        }
    }
}

#[test]
fn a_relative_data_directory_is_shown_whole_and_every_key_has_its_source() {
    let root = tempfile::tempdir().unwrap();
    let show = |args: &[&str]| {
        let mut command = Command::new(BINARY);
        Ran::of(command.args(["config", "show"]).args(args).current_dir(root.path()))
    };
    let dir = root.path().canonicalize().unwrap().join("data");
    show(&[]).exits(0).says(&format!("data_dir = \"data\"  # default, {}", dir.display()));
    show(&["--data-dir", "x"]).says("# --data-dir, ").says("# keys.dir is not set");
    let items = serde_json::from_str::<Value>(&show(&["--json"]).text).unwrap()["items"].clone();
    let listen = items.as_array().unwrap().iter().find(|item| item["key"] == "http.listen").unwrap();
    assert_eq!(listen["from"], "PORTCULLIS__HTTP__LISTEN");
    assert_eq!(items.as_array().unwrap().len(), portcullis::config::keys::all().count());
}

#[test]
fn the_file_of_init_belongs_to_the_user_of_the_server() {
    let root = tempfile::tempdir().unwrap();
    let init = |name: &str, more: &[&str]| {
        let mut command = Command::new(BINARY);
        Ran::of(command.arg("init").arg(name).args(more).current_dir(root.path()))
    };
    init("a.toml", &["--user", "no-such-user-here"]).exits(2).says("there is no user");
    assert!(!root.path().join("a.toml").exists());
    if fs::metadata(root.path()).unwrap().uid() != 0 {
        return skipped("init --user", "only root can give a file to another user");
    }
    let data = root.path().join("var/data");
    init("b.toml", &["--user", "65534", "--data-dir", data.to_str().unwrap()])
        .exits(0)
        .says("for 65534")
        .says("then run: runuser -u nobody -- portcullis --config b.toml serve");
    for (path, mode) in [(root.path().join("b.toml"), 0o600), (data.clone(), 0o700)] {
        let found = fs::metadata(&path).unwrap();
        assert_eq!(found.uid(), 65_534, "{}", path.display());
        assert_eq!(found.permissions().mode() & 0o777, mode, "{}", path.display());
    }
    // Kind: a printed command that spoils the directory it was printed for.
    run(&["--config", root.path().join("b.toml").to_str().unwrap(), "serve"], &data)
        .exits(1)
        .says("belongs to user 65534");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 0);
    let text = fs::read_to_string(root.path().join("b.toml")).unwrap();
    assert!(text.contains(&format!("\ndata_dir = \"{}\"\n", data.display())), "{text}");
    init("b.toml", &[]).exits(1).says("exists");
    // Help names the program, whatever the binary is called.
    let other = root.path().join("another-name");
    std::os::unix::fs::symlink(BINARY, &other).unwrap();
    Ran::of(Command::new(other).arg("--help"))
        .exits(0)
        .says("Usage: portcullis ")
        .does_not_say("another-name");
}
