//! The README agrees with the code: its table has every endpoint, each with the members of the body that the handler reads,
//! and the settings that it shows are read without a mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use portcullis::config::{Config, Reader};

const PAGE: &str = include_str!("../README.md");
const SHARED: &str = include_str!("../src/http/api/shared_body.rs");
/// The head of the table of endpoints.
const HEAD: &str = "| request | body | credential | answer |\n|---|---|---|---|\n";
/// A path of the code that the page writes out: its last part names what is done.
const ACTS: (&str, &str) = ("{unlock,revoke_sessions,send_reset}", "{act}");

/// A method and the pattern of a path.
type Request = (String, String);
/// Names of members of a body.
type Members = BTreeSet<String>;

/// Returns the endpoints of the source below `path`, each with the members of the body that its handler reads.
fn endpoints(path: &Path, found: &mut BTreeMap<Request, Members>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            endpoints(&entry.unwrap().path(), found);
        }
        return;
    }
    let text = std::fs::read_to_string(path).unwrap();
    for declared in text.split("resource(\"").skip(1) {
        let (path, rest) = declared.split_once('"').unwrap();
        let Some(methods) = rest.split('"').nth(1).filter(|_| path.starts_with('/')) else { continue };
        for method in methods.split(", ") {
            let route = format!("web::{}().to(", method.to_lowercase());
            let handler = rest.split(&route).nth(1).unwrap().split(')').next().unwrap();
            found.insert((method.to_owned(), path.to_owned()), members_read_by(handler, &text));
        }
    }
}

/// Returns the members of the body that `handler` reads, a function of `text`.
fn members_read_by(handler: &str, text: &str) -> Members {
    let code =
        text.split(&format!("async fn {handler}(")).nth(1).unwrap().split("\nasync fn ").next().unwrap();
    let Some(body) = code.split("let read: ").nth(1) else { return Members::new() };
    let head = format!("struct {} {{\n", body.split(' ').next().unwrap());
    let declared = text.split(&head).nth(1).or_else(|| SHARED.split(&head).nth(1)).unwrap();
    let fields = declared.split("\n}").next().unwrap().lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("pub(super) ");
        line.split_once(": ").filter(|_| !line.starts_with('/')).map(|(name, _)| name.to_owned())
    });
    fields.collect()
}

/// Returns the members that a cell of the table names: its code, but for the values after a colon.
fn members_named_in(cell: &str) -> Members {
    let mut members = Members::new();
    let mut is_value = false;
    let mut parts = cell.split('`').skip(1);
    while let (Some(code), Some(after)) = (parts.next(), parts.next()) {
        if !is_value {
            members.insert(code.to_owned());
        }
        is_value = (is_value || after.starts_with(':')) && !after.contains(']');
    }
    members
}

/// Returns the rows of the table of `page`: the requests of each, and the members of their bodies.
fn rows(page: &str) -> Vec<(Vec<Request>, Members)> {
    let table = page.split(HEAD).nth(1).unwrap().split("\n\n").next().unwrap();
    let row = |line: &str| {
        let mut cells = line.split('|').skip(1);
        let spans = cells.next().unwrap().split('`').skip(1).step_by(2);
        let requests = spans.flat_map(|span| {
            let span = span.replace(ACTS.0, ACTS.1);
            let mut words: Vec<_> = span.split(' ').map(str::to_owned).collect();
            let path = words.pop().unwrap().split('?').next().unwrap().to_owned();
            words.into_iter().map(move |method| (method, path.clone()))
        });
        (requests.collect(), members_named_in(cells.next().unwrap()))
    };
    table.lines().map(row).collect()
}

/// Returns what is wrong in the table of `page`.
fn wrong_rows(page: &str) -> Vec<String> {
    let mut served = BTreeMap::new();
    endpoints(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/api"), &mut served);
    assert!(served.len() > 30, "only {} endpoints were found", served.len());
    assert!(served.values().flatten().count() > 40, "{served:?}");
    let (mut wrong, mut listed) = (Vec::new(), BTreeSet::new());
    for (requests, named) in rows(page) {
        let mut read = Members::new();
        for request in &requests {
            match served.get(request) {
                Some(members) => read.extend(members.clone()),
                None => wrong.push(format!("no endpoint {request:?}")),
            }
        }
        if named != read {
            wrong.push(format!("{requests:?} read {read:?}, not {named:?}"));
        }
        listed.extend(requests);
    }
    wrong.extend(
        served.keys().filter(|request| !listed.contains(*request)).map(|request| format!("no {request:?}")),
    );
    wrong
}

#[test]
fn the_table_of_endpoints_has_each_of_them_with_the_members_of_its_body() {
    assert_eq!(wrong_rows(PAGE), Vec::<String>::new());
    for (right, wrong) in [
        ("`token` of the mail, [`signup_token`]", "`token` of the mail"),
        ("`current_password`, `new_password`", "`old_password`, `new_password`"),
        ("[`audience`: `app`, `admin`; for tokens], ", ""),
        ("| `POST /v1/unlock` |", "| `POST /v1/lock` |"),
        ("`GET PATCH DELETE /v1/admin/users/{id}`", "`GET PATCH /v1/admin/users/{id}`"),
    ] {
        assert!(PAGE.contains(right), "{right}");
        assert!(!wrong_rows(&PAGE.replace(right, wrong)).is_empty(), "{wrong} is not found");
    }
}

/// Returns the mistakes in the settings of the page, of its variables or of its files.
fn mistakes(page: &str) -> Vec<String> {
    let export = |line: &str| {
        let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
        Some((name.to_owned(), value.split(" #").next()?.trim().to_owned()))
    };
    let variables: Vec<_> = page.lines().filter_map(export).collect();
    assert!(variables.len() > 4, "{variables:?}");
    let inline = page
        .split('`')
        .filter(|span| span.starts_with("PORTCULLIS__"))
        .filter_map(|span| span.split_once('='));
    let inline: Vec<_> = inline.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert!(!inline.is_empty());
    let mut found = Vec::new();
    for text in std::iter::once("")
        .chain(page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()))
    {
        let mut reader = Reader::new();
        reader.file("README.md", text);
        reader.environment(variables.iter().chain(&inline).cloned());
        found.extend(Config::from_reader(reader).err().into_iter().flatten().map(|fault| fault.to_string()));
    }
    found
}

#[test]
fn the_settings_of_the_page_are_read_without_a_mistake() {
    assert_eq!(mistakes(PAGE), Vec::<String>::new());
    for (right, wrong) in [
        ("PORTCULLIS__TOKEN__ACCESS_TTL_SECS=", "PORTCULLIS__TOKEN__ACCESS_TTL="),
        ("EXEMPT_NETWORKS=127.0.0.0/8,", "EXEMPT_NETWORKS=127.0.0.0/8;"),
        ("trusted_proxies = [\"127.0.0.1\"]", "trusted_proxies = [\"127.0.0\"]"),
    ] {
        assert!(PAGE.contains(right), "{right}");
        assert!(!mistakes(&PAGE.replace(right, wrong)).is_empty(), "{wrong} is not found");
    }
}
