//! `portcullis user import` and `user export`, on a running and on a stopped server.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::api::foreign_hashes::vectors;
use crate::support::TestServer;
use crate::support::process::{BINARY, Process, Ran, run, serve};

const BCRYPT: &str = "$2b$04$S9ilWY4dIWqV0CrXWNqO3OZatHQ/vPVHWbFsKubrrXIBorXpCkxM6";

fn written(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Imports, repeats and exports with commands that find the directory `dir`.
fn in_and_out(dir: &Path) {
    let files = tempfile::tempdir().unwrap();
    let lines: String = (0..500)
        .map(|n| {
            format!("{}\n", json!({"id": n, "email": format!("user{n}@test.org"), "password_hash": BCRYPT}))
        })
        .collect();
    let good = written(files.path(), "good.ndjson", &lines);
    run(&["user", "import", &good, "--dry-run"], dir).exits(0).says("500 accounts would be created");
    run(&["user", "show", "user1@test.org"], dir).exits(1);
    run(&["user", "import", &good], dir).exits(0).says("500 accounts created");
    let again = run(&["user", "import", &good], dir).exits(0);
    assert_eq!(again.text, "0 accounts created, 500 there from before\n");
    run(&["user", "show", "external:7"], dir)
        .exits(0)
        .says("user7@test.org")
        .says("a hash of another system (bcrypt");
    run(&["user", "list", "--limit", "1"], dir).exits(0).says("500 accounts have a hash of another system");
    let bad = format!("{lines}{{\"email\":\"x\"}}\n{{\"email\":\"new@test.org\"}}\n");
    let bad = written(files.path(), "bad.ndjson", &bad);
    let report = files.path().join("report.ndjson");
    let ran = run(&["user", "import", &bad, "--report", report.to_str().unwrap()], dir).exits(1);
    ran.says("1 account created, 500 there from before, 1 refused").says("1 user was refused");
    let report = std::fs::read_to_string(report).unwrap();
    assert_eq!(report.lines().count(), 501);
    let last: Value = serde_json::from_str(report.lines().last().unwrap()).unwrap();
    assert_eq!((&last["line"], &last["field"]), (&json!(501), &json!("/email")));
    // Out, and into another directory.
    let out = files.path().join("out.ndjson");
    run(&["user", "export", out.to_str().unwrap(), "--hashes"], dir).exits(0).says("exported 501 accounts");
    let there = format!("{} exists; choose another name", out.display());
    run(&["user", "export", out.to_str().unwrap()], dir).exits(1).says(&there);
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    let other = tempfile::tempdir().unwrap();
    let mut started = Process::start(other.path());
    assert_eq!(started.stop(), Some(0));
    run(&["user", "import", out.to_str().unwrap()], other.path()).exits(0).says("501 accounts created");
    let again = run(&["user", "export", "--hashes"], other.path()).exits(0).text;
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&again), sorted(&text));
}

#[test]
fn accounts_go_in_and_out_through_the_socket_of_a_running_server() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    in_and_out(dir.path());
}

#[test]
fn accounts_go_in_and_out_of_a_stopped_directory() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Process::start(dir.path());
    assert_eq!(process.stop(), Some(0));
    in_and_out(dir.path());
}

/// An operator moves on once the command has ended with 0: then everybody has an account.
#[test]
fn an_import_ends_with_0_only_if_every_user_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let files = tempfile::tempdir().unwrap();
    let user = |pk: u32, email: &str| json!({"model": "auth.user", "pk": pk, "fields": {"password": "!", "username": "x", "email": email}});
    let dump = |name: &str, users: &[Value]| written(files.path(), name, &json!(users).to_string());
    let report = files.path().join("report.ndjson");
    let import = |file: &str, more: &[&str]| {
        let args = ["user", "import", file, "--format", "django", "--report", report.to_str().unwrap()];
        run(&[&args[..], more].concat(), dir.path())
    };
    let reports = || -> Vec<Value> {
        let text = std::fs::read_to_string(&report).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // Two people with the same address in other capitals, and one who is there twice.
    let two =
        dump("two.json", &[user(20, "Dup@Shop.test"), user(21, "dup@shop.test"), user(20, "dup@shop.test")]);
    let what = "duplicate: email: an earlier user, number 1, has the same email";
    for (more, created) in [(&["--dry-run"][..], "would be created"), (&[][..], "created")] {
        let ran = import(&two, more).exits(1);
        let ran = ran.says(&format!("user 2 (id 21): {what}")).says("user has no account");
        let ran = ran.says(&format!("1 account {created}, 1 there from before, 1 taken by other accounts"));
        assert!(!ran.text.contains("user 3"), "{}", ran.text);
        let told: Vec<_> =
            reports().iter().map(|line| (line["external_id"].clone(), line["same"].clone())).collect();
        assert_eq!(told, [(json!("21"), json!(false)), (json!("20"), json!(true))]);
    }
    // The same person twice is one account, and so is everybody there.
    let twice = dump("twice.json", &[user(30, "ada@shop.test"), user(30, "ada@shop.test")]);
    for more in [&["--dry-run"][..], &[][..], &[][..]] {
        import(&twice, more).exits(0).says("there from before");
    }
    // The address has changed there since: it is no other person.
    let moved = dump("moved.json", &[user(30, "ada2@shop.test")]);
    for more in [&["--dry-run"][..], &[][..]] {
        import(&moved, more)
            .exits(1)
            .says("user 1 (id 30): duplicate: external_id: its external_id is there with another address")
            .says(", 1 there with another address\n")
            .says("portcullis user set-email")
            .says("1 user has another address here");
        let line = &reports()[0];
        assert_eq!((&line["moved"], &line["same"]), (&json!(true), &json!(false)));
        assert!(!line.to_string().contains("@shop"), "{line}");
    }
    run(&["user", "show", "external:30"], dir.path()).exits(0).says("ada@shop.test");
    // Who would have to be looked at is not lost among those who are there.
    let many: Vec<Value> = (100..400).map(|pk| user(pk, &format!("user{pk}@shop.test"))).collect();
    import(&dump("many.json", &many), &[]).exits(0);
    let all = [&many[..], &[user(30, "ada2@shop.test")]].concat();
    let ran = import(&dump("all.json", &all), &[]).exits(1).says("user 301 (id 30): duplicate");
    assert_eq!(ran.text.lines().filter(|line| line.contains("duplicate")).count(), 1, "{}", ran.text);
    assert_eq!(reports().len(), 301);
    // A file of another kind.
    let rows = json!([{"id": 932, "password": "!", "username": "x", "email": "eve@shop.test"}]);
    let rows = written(files.path(), "rows.json", &rows.to_string());
    import(&rows, &[])
        .exits(1)
        .says("expected an export of `manage.py dumpdata auth.user`, found objects with email, id, password, username");
    let csv = written(files.path(), "rows.csv", &"id,email\n".repeat(300));
    let ran = import(&csv, &[]).exits(1).says("found CSV");
    assert_eq!(ran.text.lines().count(), 1, "{}", ran.text);
}

/// The fields that an import has put there go with a new object, and whoever wrote it did not know them.
#[test]
fn a_new_object_says_which_members_of_the_old_one_it_took_away() {
    let dir = tempfile::tempdir().unwrap();
    let _process = Process::start(dir.path());
    let files = tempfile::tempdir().unwrap();
    let line = json!({"email": "ada@test.org", "app_metadata": {"username": "ada", "is_staff": true, "plan": "free"}});
    let file = written(files.path(), "one.ndjson", &line.to_string());
    run(&["user", "import", &file], dir.path()).exits(0);
    let set = |text: &str| run(&["user", "set", "ada@test.org", "--app-metadata", text], dir.path()).exits(0);
    let ran = set("{\"plan\":\"pro\"}");
    assert!(ran.text.contains("removed from app metadata: is_staff, username"), "{}", ran.text);
    let ran = set("{\"plan\":\"free\",\"more\":1}");
    assert!(!ran.text.contains("removed"), "{}", ran.text);
}

#[test]
fn a_line_without_an_end_takes_no_memory() {
    let dir = tempfile::tempdir().unwrap();
    let process = Process::start(dir.path());
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("long.ndjson");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(b"{\"email\":\"ada@test.org\"}\n").unwrap();
    file.set_len(128 << 20).unwrap();
    file.seek(SeekFrom::End(0)).unwrap();
    file.write_all(b"\n{\"email\":\"bob@test.org\"}\n").unwrap();
    let before = process.resident_kib();
    let ran = run(&["user", "import", path.to_str().unwrap()], dir.path()).exits(1);
    ran.says("line 2: refused: the line has more than 65536 bytes").says("2 accounts created, 1 refused");
    let grown = process.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_another_system_is_imported_as_it_was_exported() {
    let server = TestServer::start();
    let dir = server.data_dir().to_owned();
    let files = tempfile::tempdir().unwrap();
    let dump = json!([
        {"model": "auth.group", "pk": 1, "fields": {"name": "x"}},
        {"model": "auth.user", "pk": 7, "fields": {"password": format!("bcrypt${BCRYPT}"), "username": "ada",
         "email": "ada@test.org", "is_superuser": true, "is_active": true}},
        {"model": "auth.user", "pk": 8, "fields": {"password": "!", "username": "bob", "email": ""}},
    ]);
    let dump = written(files.path(), "users.json", &dump.to_string());
    let ran = run(&["user", "import", &dump, "--format", "django", "--verified"], &dir).exits(1);
    ran.says("user 3 (id 8): refused: /email: the user has no e-mail address")
        .says("1 account created, 1 refused, 1 no users");
    assert_eq!(server.log_in("ada@test.org", "a password").await.status, 200);
    let ran = run(&["user", "import", &dump, "--format", "django", "--json"], &dir).exits(1);
    let answer: Value = serde_json::from_str(ran.text.lines().next().unwrap()).unwrap();
    assert_eq!((&answer["created"], &answer["same"], &answer["refused"]), (&json!(0), &json!(1), &json!(1)));
    for (args, why) in [
        (&["--format", "oracle"][..], "possible values"),
        (&["--format", "django", "--passwords", &dump], "goes with --format auth0"),
        (&["--hash-config", &dump], "goes with --format firebase"),
        (&["--format", "firebase", "--hash-config", &dump], "base64_signer_key"),
    ] {
        run(&[&["user", "import", &dump], args].concat(), &dir).exits(2).says(why);
    }
    run(&["user", "import", "/nonexistent"], &dir).exits(2).says("cannot read /nonexistent");
    let zipped = written(files.path(), "users.gz", "");
    std::fs::write(&zipped, b"\x1f\x8b\x08\0\0").unwrap();
    run(&["user", "import", &zipped, "--format", "django"], &dir).exits(1).says("decompress it first");
    run(&["user", "import", &zipped], &dir).exits(1).says("decompress it first");
}

/// Each system has hashed the password itself; all but the names of the fields of the other four are documented.
#[tokio::test(flavor = "multi_thread")]
async fn users_of_each_system_log_in_with_the_password_of_there() {
    let files = tempfile::tempdir().unwrap();
    let named = |part: &str| vectors().into_iter().find(|vector| vector.name.starts_with(part)).unwrap();
    let dump = |name: &str, value: &Value| written(files.path(), name, &value.to_string());
    let (keycloak, firebase, bcrypt) = (named("keycloak credential"), named("firebase"), named("bcrypt"));
    let mut credential = keycloak.hash["keycloak"].clone();
    credential["type"] = json!("password");
    let realm = json!({"realm": "x", "users": [
        {"id": "1", "email": "ada@test.org", "emailVerified": true, "enabled": true, "credentials": [credential]}
    ]});
    let fields = &firebase.hash["firebase"];
    let export = json!({"users": [{"localId": "1", "email": "ada@test.org", "emailVerified": true,
        "passwordHash": fields["hash"], "salt": fields["salt"], "createdAt": "1672628645678"}]});
    let config = json!({"base64_signer_key": fields["signer_key"], "base64_salt_separator": fields["salt_separator"],
        "rounds": fields["rounds"], "mem_cost": fields["mem_cost"]});
    let config = written(files.path(), "parameters.txt", &format!("hash_config {config}"));
    let auth0 = json!({"user_id": "auth0|1", "email": "ada@test.org", "email_verified": true});
    let hashes = json!({"_id": {"$oid": "1"}, "email": "ada@test.org", "passwordHash": bcrypt.hash});
    let hashes = dump("hashes.json", &hashes);
    let row = json!({"id": "9f1c6d2e-0f5b-4d43-8a63-0b1f5c2d3e4f", "email": "ada@test.org",
        "encrypted_password": bcrypt.hash, "email_confirmed_at": "2023-01-02T03:05:00+00:00"});
    let vector = |name: &str| format!("{}/tests/vectors/dumps/{name}", env!("CARGO_MANIFEST_DIR"));
    for (system, file, more, password) in [
        ("keycloak", dump("realm.json", &realm), vec![], keycloak.password.as_str()),
        ("firebase", dump("users.json", &export), vec!["--hash-config", &config], &firebase.password),
        ("auth0", dump("auth0.json", &auth0), vec!["--passwords", &hashes], &bcrypt.password),
        ("supabase", dump("rows.json", &row), vec![], &bcrypt.password),
        ("django", vector("django.json"), vec!["--verified"], "a password"),
        ("better-auth", vector("better_auth.json"), vec![], "a password"),
    ] {
        let server = TestServer::start();
        let args = [&["user", "import", &file, "--format", system], &more[..]].concat();
        run(&args, server.data_dir()).exits(0);
        let wrong = server.log_in("ada@test.org", &format!("x{password}")).await;
        assert_eq!(wrong.status.as_u16(), 401, "{system}");
        assert_eq!(server.log_in("ada@test.org", password).await.status.as_u16(), 200, "{system}");
    }
}

/// What each log-in takes once the hashes of other systems are stored: an import says it before and after, and the checklist as
/// long as they are there.
#[test]
fn a_dry_run_an_import_and_the_checklist_say_what_the_hashes_add_to_each_log_in() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let files = tempfile::tempdir().unwrap();
    let own = [("PORTCULLIS__PASSWORD__MEMORY_KIB", "1024"), ("PORTCULLIS__PASSWORD__PASSES", "1")];
    let mut command = serve(dir);
    command.envs(own);
    let _process = Process::spawn(command);
    // Dearer than a hash of here: bcrypt of cost 12.
    let dear = BCRYPT.replace("$04$", "$12$");
    let line = |name: &str, hash: &str| {
        format!("{}\n", json!({"email": format!("{name}@test.org"), "password_hash": hash}))
    };
    let file = written(files.path(), "dear.ndjson", &line("ada", &dear));
    let import = |more: &[&str]| run(&[&["user", "import", &file], more].concat(), dir).exits(0);
    let grown = |ran: &Ran| {
        let said: Value = serde_json::from_str(&ran.text).unwrap();
        let kib = |name: &str| said["log_in_kib"][name].as_u64().unwrap();
        (kib("before"), kib("after"))
    };
    let (before, after) = grown(&import(&["--dry-run", "--json"]));
    assert_eq!(before, 1024);
    assert!(after > before, "{after}");
    let times = format!("{}.{}", after / before, after * 10 / before % 10);
    let would = format!(
        "every log-in would take about {times} times as long as before, until log-ins have replaced the dearest hashes"
    );
    import(&["--dry-run"]).says("1 account would be created").says(&would);
    // Nothing has changed yet.
    let checked = || {
        let mut command = Command::new(BINARY);
        Ran::of(command.args(["doctor", "--data-dir"]).arg(dir).envs(own)).text
    };
    assert!(!checked().contains("hashes of other systems"));
    let ran = import(&[]);
    let ran = ran.says("1 account created").says(&would.replace("would take", "takes"));
    // In the time of this machine, and with what ends it.
    let time = ran
        .text
        .split_once("the dearest hashes, up to ")
        .and_then(|(_, rest)| rest.split_once(" ms on this machine"));
    assert!(time.is_some_and(|(ms, _)| ms.parse::<u64>().is_ok_and(|ms| ms > 0)), "{}", ran.text);
    let end =
        " log-ins per second; [password] drop_foreign_after_days = 180 ends those that are left by then";
    ran.says(end);
    let work = after as f64 / before as f64;
    let said = checked();
    let of_doctor = said
        .lines()
        .find(|line| line.contains("hashes of other systems"))
        .unwrap_or_else(|| panic!("{said}"));
    let expected = format!(
        "warn  hashes of other systems: 1 account has one that no log-in has replaced yet; each log-in takes the work of \
         {work:.1} hashes of our own, up to "
    );
    assert!(of_doctor.starts_with(&expected), "{of_doctor}\n{expected}");
    assert!(
        of_doctor.contains(" log-ins per second: each check of a password takes the work of theirs too"),
        "{of_doctor}"
    );
    assert!(of_doctor.ends_with("set [password] drop_foreign_after_days = 180"), "{of_doctor}");
    // A hash that is no dearer than those that are there adds nothing, so nothing is said.
    let file = written(files.path(), "same.ndjson", &line("bob", &dear));
    let same = run(&["user", "import", &file], dir).exits(0);
    assert!(!same.text.contains("times as long"), "{}", same.text);
}
