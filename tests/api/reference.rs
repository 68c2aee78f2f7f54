//! `src/API.md` says what the document says: its tables are made of it here, and compared.
//!
//! After a change of the interface `PORTCULLIS_WRITE_REFERENCE=1 cargo test --test main api::reference` writes them anew.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::Value;

use crate::support::conformance::document;

const PAGE: &str = include_str!("../../src/API.md");

/// Refusals that many operations have in common, with when they have them.
const GROUPS: [(&str, &str, &[&str]); 9] = [
    (
        "any",
        "every request",
        &[
            "internal_error",
            "malformed_request",
            "payload_too_large",
            "request_header_fields_too_large",
            "request_timeout",
        ],
    ),
    ("get", "every GET", &["unexpected_body"]),
    (
        "body",
        "every other method, with a body or without",
        &["malformed_json", "unprocessable", "unsupported_media_type"],
    ),
    ("state", "what asks the state of the server", &["server_busy", "storage_full"]),
    ("limit", "what is charged to a limit", &["too_many_requests"]),
    (
        "credential",
        "what takes a credential",
        &["ambiguous_credentials", "insufficient_scope", "too_many_requests", "unauthenticated"],
    ),
    ("csrf", "what takes a cookie and may change something", &["cookie_needs_same_site", "csrf_rejected"]),
    ("admin", "what administrators alone may", &["insufficient_role", "wrong_audience"]),
    ("record", "what must be recorded", &["audit_unavailable", "not_recorded"]),
];

fn resolve(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(to) => document().pointer(to.trim_start_matches('#')).unwrap(),
        None => value,
    }
}

/// Returns text as it is in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Returns the name of a form: of one with a name of its own, or in words.
fn form(schema: &Value) -> String {
    if let Some(to) = schema["$ref"].as_str() {
        let name = to.rsplit('/').next().unwrap();
        return if resolve(schema).get("enum").is_some() {
            form(resolve(schema))
        } else {
            format!("[{name}](#{})", name.to_lowercase())
        };
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().map(|value| format!("`{}`", value.as_str().unwrap())).collect();
        return values.join(", ");
    }
    for several in ["anyOf", "oneOf"] {
        if let Some(forms) = schema[several].as_array() {
            return forms.iter().map(form).collect::<Vec<_>>().join(" or ");
        }
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.iter().map(|of| of.as_str().unwrap()).collect(),
        Value::String(one) => vec![one.as_str()],
        _ => vec!["anything"],
    };
    let words = types.into_iter().map(|of| match (of, schema["format"].as_str()) {
        ("string", Some("date-time")) => String::from("time"),
        ("string", Some("email")) => String::from("e-mail address"),
        ("string", Some("uri")) => String::from("URL"),
        ("string", _) => String::from("text"),
        ("integer" | "number", _) => String::from("number"),
        ("boolean", _) => String::from("true, false"),
        ("array", _) => format!("list of {}", form(&schema["items"])),
        (other, _) => other.to_owned(),
    });
    words.collect::<Vec<_>>().join(" or ")
}

/// Writes the members of a form, one to a row.
fn members(schema: &Value, out: &mut String) {
    let schema = resolve(schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        members(part, out);
    }
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, of) in schema["properties"].as_object().into_iter().flatten() {
        let name =
            if required.contains(name.as_str()) { format!("**`{name}`**") } else { format!("`{name}`") };
        let meaning =
            of["description"].as_str().or_else(|| resolve(of)["description"].as_str()).unwrap_or("");
        writeln!(out, "| {name} | {} | {} |", cell(&form(of)), cell(meaning)).unwrap();
    }
}

/// Returns who may ask for an operation, in the words of the page.
fn credential(operation: &Value) -> String {
    let takes = operation["security"].as_array().unwrap();
    let has = |name: &str| takes.iter().any(|one| one.get(name).is_some());
    let may_be_nobody = takes.iter().any(|one| one.as_object().unwrap().is_empty());
    let roles: Vec<_> =
        operation["x-roles"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let who = match (takes.is_empty(), roles.as_slice(), operation["x-scope"].as_str()) {
        (true, ..) => String::from("none"),
        (_, ["admin"], Some(scope)) => format!("admin, or scope `{scope}`"),
        (_, ["admin"], None) => String::from("admin, no API key"),
        (_, [], _) if !has("bearer") => String::from("cookie"),
        (_, [], _) if may_be_nobody => String::from("account, or none"),
        (_, [], _) => String::from("account"),
        (_, roles, scope) => format!("role `{}`, or scope `{}`", roles.join("` or `"), scope.unwrap()),
    };
    let who = if has("basic") { format!("{who}, also by HTTP Basic") } else { who };
    if operation["x-fresh"] == true { format!("{who}; fresh") } else { who }
}

fn names_of(headers: &Value, but: &[&str]) -> String {
    let names = headers.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    let names: Vec<_> = names.filter(|name| !but.contains(name)).map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

/// Returns the refusals of an operation: the groups of which it has all, and the others by status.
fn refusals(operation: &Value) -> (Vec<&'static str>, Vec<String>) {
    let mut codes = BTreeSet::new();
    for (status, response) in operation["responses"].as_object().unwrap() {
        let schema = &resolve(response)["content"]["application/problem+json"]["schema"];
        let named = schema["allOf"][1]["properties"]["code"]["enum"].as_array().into_iter().flatten();
        codes.extend(named.map(|code| (code.as_str().unwrap(), status.as_str())));
    }
    let has_all = |group: &&[&str]| group.iter().all(|code| codes.iter().any(|(one, _)| one == code));
    let groups: Vec<_> = GROUPS.iter().filter(|(_, _, group)| has_all(group)).collect();
    let common: BTreeSet<&str> = groups.iter().flat_map(|(_, _, group)| group.iter().copied()).collect();
    let own = codes.iter().filter(|(code, _)| !common.contains(code));
    let mut own: Vec<_> = own.map(|(code, status)| (*status, *code)).collect();
    own.sort_unstable();
    let own = own.into_iter().map(|(status, code)| format!("{status} `{code}`")).collect();
    (groups.into_iter().map(|(name, ..)| *name).collect(), own)
}

fn operation(method: &str, path: &str, operation: &Value, out: &mut String) {
    let text = |name: &str| operation[name].as_str().unwrap_or("");
    writeln!(out, "### `{} {path}`\n", method.to_uppercase()).unwrap();
    let description = text("description");
    let space = if description.is_empty() { "" } else { " " };
    writeln!(out, "{}.{space}{description}\n", text("summary")).unwrap();
    write!(out, "`{}` · {}", text("operationId"), credential(operation)).unwrap();
    if let Some(limit) = operation["x-limit"].as_str() {
        write!(out, " · limit `{limit}`").unwrap();
    }
    out.push_str("\n\n");
    let parameters = operation["parameters"].as_array().unwrap();
    let content = operation["requestBody"]["content"].as_object();
    if !parameters.is_empty() || content.is_some() {
        out.push_str("| takes | | |\n|---|---|---|\n");
    }
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap();
        let name = if parameter["required"] == true { format!("**`{name}`**") } else { format!("`{name}`") };
        let meaning = parameter["description"].as_str().unwrap_or("");
        let place = parameter["in"].as_str().unwrap();
        writeln!(out, "| {name} ({place}) | {} | {} |", cell(&form(&parameter["schema"])), cell(meaning))
            .unwrap();
    }
    if let Some(content) = content {
        let body = content.get("application/json").or_else(|| content.get("application/x-ndjson"));
        members(&body.unwrap()["schema"], out);
    }
    if !out.ends_with("\n\n") {
        out.push('\n');
    }
    if let Some(forms) = content.filter(|content| content.len() > 1) {
        let other: Vec<_> =
            forms.keys().filter(|name| *name != "application/json").map(|name| format!("`{name}`")).collect();
        writeln!(out, "The same as {}, in which other members are passed over.\n", other.join(", ")).unwrap();
    }
    if content.is_some_and(|content| content.contains_key("application/x-ndjson")) {
        out.push_str("The body is `application/x-ndjson`: each line is such an object.\n\n");
    }
    if content.is_some() && operation["requestBody"]["required"] == false {
        out.push_str("The body may be left out.\n\n");
    }
    for (status, response) in operation["responses"].as_object().unwrap() {
        let response = resolve(response);
        let content = response["content"].as_object();
        let bodies: Vec<_> = content
            .into_iter()
            .flatten()
            .filter(|(of, _)| *of != "application/problem+json")
            .map(
                |(of, body)| if of == "application/json" { form(&body["schema"]) } else { format!("`{of}`") },
            )
            .collect();
        let is_refusal = content.is_some_and(|content| content.contains_key("application/problem+json"));
        if is_refusal && bodies.is_empty() {
            continue;
        }
        let description = response["description"].as_str().unwrap().split(" `server_busy`").next().unwrap();
        let headers = names_of(&response["headers"], &["X-Request-Id", "RateLimit", "RateLimit-Policy"]);
        write!(out, "- **{status}** {description}").unwrap();
        if !bodies.is_empty() {
            write!(out, " {}.", bodies.join("; or ")).unwrap();
        }
        if !headers.is_empty() {
            write!(out, " Headers: {headers}.").unwrap();
        }
        out.push('\n');
    }
    let (groups, own) = refusals(operation);
    let groups: Vec<_> = groups.into_iter().map(|name| format!("*{name}*")).collect();
    writeln!(out, "- Refusals: {}\n", [own, groups].concat().join(", ")).unwrap();
}

/// Returns the chapters of endpoints and of objects.
fn endpoints() -> String {
    let mut out = String::from("| refusals | of | |\n|---|---|---|\n");
    for (name, of, codes) in GROUPS {
        let codes: Vec<_> = codes
            .iter()
            .map(|code| format!("{} `{code}`", document()["components"]["examples"][code]["value"]["status"]))
            .collect();
        writeln!(out, "| *{name}* | {of} | {} |", codes.join(", ")).unwrap();
    }
    let operations: Vec<_> = document()["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(method, of)| (method, path, of)))
        .collect();
    for tag in document()["tags"].as_array().unwrap() {
        let description = tag["description"].as_str().unwrap();
        writeln!(out, "\n## {}\n\n{description}\n", tag["name"].as_str().unwrap()).unwrap();
        for (method, path, of) in operations.iter().filter(|(.., of)| of["tags"][0] == tag["name"]) {
            operation(method, path, of, &mut out);
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    out.push_str("\n## Objects\n\nWhat answers are made of. A member in bold is always there.\n\n");
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        let is_request = schema["additionalProperties"] == false || name == "IntrospectForm";
        if is_request || schema.get("enum").is_some() {
            continue;
        }
        writeln!(out, "### {name}\n").unwrap();
        if let Some(description) = schema["description"].as_str() {
            writeln!(out, "{description}\n").unwrap();
        }
        match schema.get("oneOf") {
            Some(_) => writeln!(out, "{}\n", form(schema)).unwrap(),
            None => {
                out.push_str("| member | | |\n|---|---|---|\n");
                members(schema, &mut out);
                out.push('\n');
            }
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Returns the table of problems.
fn problems() -> String {
    let mut out = String::from("| status | code | |\n|---|---|---|\n");
    let mut rows: Vec<_> = document()["components"]["examples"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(code, example)| (example["value"]["status"].as_u64(), code, example["summary"].as_str()))
        .collect();
    rows.sort_unstable();
    for (status, code, meaning) in rows {
        writeln!(out, "| {} | `{code}` | {} |", status.unwrap(), cell(meaning.unwrap())).unwrap();
    }
    out
}

/// Returns `page` with `text` between the marks of `part`.
fn with(page: &str, part: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {part} -->\n"), format!("<!-- end of {part} -->"));
    let (before, rest) = page.split_once(&begin).unwrap();
    let (_, after) = rest.split_once(&end).unwrap();
    format!("{before}{begin}\n{text}\n{end}{after}")
}

#[test]
fn the_page_says_what_the_document_says() {
    let page = with(&with(PAGE, "problems", &problems()), "endpoints", &endpoints());
    if std::env::var_os("PORTCULLIS_WRITE_REFERENCE").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/src/API.md"), &page).unwrap();
        return;
    }
    let lines = page.lines().zip(PAGE.lines());
    let differs = lines.enumerate().find(|(_, (made, is))| made != is);
    assert_eq!(differs, None, "see the head of this test for how to write it anew");
    assert_eq!(page.len(), PAGE.len());
}

#[test]
fn every_code_of_the_document_is_in_the_row_of_an_operation() {
    let text = endpoints();
    for code in document()["components"]["examples"].as_object().unwrap().keys() {
        let is_of_none = ["method_not_allowed", "no_engine"].contains(&code.as_str());
        assert_eq!(text.contains(&format!("`{code}`")), !is_of_none, "{code}");
    }
}
