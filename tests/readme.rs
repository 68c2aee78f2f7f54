//! The README agrees with the code: its table has every endpoint, each with the members of its body,
//! and the settings that it shows are read without a mistake.

use std::collections::{BTreeMap, BTreeSet};

use portcullis::config::{Config, Reader};
use serde_json::Value;

use crate::support::conformance::document;

const PAGE: &str = include_str!("../README.md");
/// The head of the table of endpoints.
const HEAD: &str = "| request | body | credential | answer |\n|---|---|---|---|\n";
/// A method and the pattern of a path.
type Request = (String, String);
/// Names of members of a body.
type Members = BTreeSet<String>;

/// Returns the endpoints that the server has, each with the members of its body.
fn endpoints() -> BTreeMap<Request, Members> {
    let paths = document()["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, item)| {
        let operations = item.as_object().unwrap().iter();
        operations
            .map(move |(method, operation)| ((method.to_uppercase(), path.clone()), members_of(operation)))
    });
    operations.collect()
}

/// Returns the members of the body that `operation` takes.
fn members_of(operation: &Value) -> Members {
    let content = &operation["requestBody"]["content"];
    let form = ["application/json", "application/x-ndjson"]
        .iter()
        .find_map(|of| content[of]["schema"]["$ref"].as_str());
    let form = form.map(|form| document().pointer(form.trim_start_matches('#')).unwrap());
    let members = form.into_iter().flat_map(|form| form["properties"].as_object().unwrap().keys().cloned());
    members.collect()
}

/// Returns the paths that `path` stands for: one for each word of a list in braces.
fn spelt_out(path: &str) -> Vec<String> {
    let list = path.split_once('{').filter(|(_, rest)| rest.contains(','));
    let Some((before, rest)) = path.rsplit_once('{').filter(|_| list.is_some()) else {
        return vec![path.to_owned()];
    };
    let (words, after) = rest.split_once('}').unwrap();
    words.split(',').map(|word| format!("{before}{word}{after}")).collect()
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
            let mut words: Vec<_> = span.split(' ').map(str::to_owned).collect();
            let paths = spelt_out(words.pop().unwrap().split('?').next().unwrap());
            words
                .into_iter()
                .flat_map(move |method| paths.clone().into_iter().map(move |path| (method.clone(), path)))
        });
        (requests.collect(), members_named_in(cells.next().unwrap()))
    };
    table.lines().map(row).collect()
}

/// Returns what is wrong in the table of `page`.
fn wrong_rows(page: &str) -> Vec<String> {
    let served = endpoints();
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

/// Returns the paths that a block of a proxy sends to the server: each whole, or with `*` for whatever follows.
fn paths_of_nginx(page: &str) -> BTreeSet<String> {
    let (_, rest) = page.split_once("location ~ ^/(").unwrap();
    let (paths, _) = rest.split_once(") {").unwrap();
    let path = |pattern: &str| match pattern.strip_suffix('$') {
        Some(whole) => format!("/{}", whole.replace("\\.", ".")),
        None => format!("/{}*", pattern.replace("\\.", ".")),
    };
    paths.split('|').map(path).collect()
}

fn paths_of_caddy(page: &str) -> BTreeSet<String> {
    let (_, rest) = page.split_once("@portcullis path ").unwrap();
    rest.lines().next().unwrap().split(' ').map(str::to_owned).collect()
}

/// Returns the paths of the server that `paths` do not send to it, and the pages of the application that they do.
fn misled(paths: &BTreeSet<String>) -> Vec<String> {
    let is_sent = |asked: &str| {
        paths.iter().any(|path| match path.strip_suffix('*') {
            Some(begin) => asked.starts_with(begin),
            None => asked == path,
        })
    };
    let served = endpoints().into_keys().map(|(_, path)| path).filter(|path| !path.starts_with("/docs"));
    let pages = ["/verify", "/reset", "/unlock", "/invitation", "/email-change", "/email-undo"];
    assert!(pages.iter().all(|page| PAGE.contains(&format!("`{page}`"))));
    let pages = pages.into_iter().filter(|page| is_sent(page)).map(str::to_owned);
    served.filter(|path| !is_sent(path)).chain(pages).collect()
}

#[test]
fn the_lines_for_proxies_send_each_path_of_the_server_to_it_and_no_page_of_a_mailed_link() {
    assert_eq!(misled(&paths_of_nginx(PAGE)), Vec::<String>::new());
    assert_eq!(paths_of_nginx(PAGE), paths_of_caddy(PAGE));
    for (right, wrong) in [("|problems/|", "|"), ("|openapi\\.json$", ""), ("^/(v1/|", "^/(v1/|reset$|")] {
        assert!(PAGE.contains(right), "{right}");
        assert!(!misled(&paths_of_nginx(&PAGE.replace(right, wrong))).is_empty(), "{wrong} is not found");
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
