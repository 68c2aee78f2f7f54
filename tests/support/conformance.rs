//! Every answer that a test gets is compared with the OpenAPI document: its status, its type, its headers, and each member of
//! its body.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use reqwest::Method;
use serde_json::{Map, Value};

use super::Answer;

/// The document of the servers of the tests.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| portcullis::http::openapi(super::ORIGIN))
}

/// Headers that the document names at each answer that may have one.
const NAMED_HEADERS: [&str; 10] = [
    "etag",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "set-cookie",
    "www-authenticate",
    "x-accel-buffering",
    "x-csrf-token",
    "x-device-token",
    "x-request-id",
];

/// Returns the part of the document at the path that `path` is, if there is one: the pattern with the fewest parameters.
fn path_item(path: &str) -> Option<&'static Map<String, Value>> {
    let paths = document()["paths"].as_object().unwrap();
    let fits = |pattern: &str| {
        let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
        loop {
            match (pattern.next(), path.next()) {
                (None, None) => return true,
                (Some(pattern), Some(part))
                    if pattern == part || (pattern.starts_with('{') && !part.is_empty()) => {}
                _ => return false,
            }
        }
    };
    let mut fitting: Vec<_> = paths.iter().filter(|(pattern, _)| fits(pattern)).collect();
    fitting.sort_by_key(|(pattern, _)| pattern.matches('{').count());
    fitting.first()?.1.as_object()
}

/// Asserts that the document foresees `answer` to a request of `method` for `path`, if it has such an operation.
pub fn check(method: &Method, path: &str, answer: &Answer) {
    if let Some(code) = answer.body["code"].as_str().filter(|_| answer.body["title"].is_string()) {
        let example = &document()["components"]["examples"][code]["value"];
        let page = example["type"].as_str().unwrap_or_else(|| panic!("{code} has no page"));
        let page = page.strip_prefix(super::ORIGIN).unwrap();
        assert!(answer.body["type"].as_str().is_none_or(|of| of.ends_with(page)), "{}", answer.body);
        assert_eq!(answer.body["title"], example["title"], "{code}");
        assert_eq!(answer.body["status"], example["status"], "{code}");
    }
    let is_head = *method == Method::HEAD;
    let method = if is_head { "get" } else { method.as_str() }.to_lowercase();
    let Some(operation) = path_item(path).and_then(|item| item.get(&method)) else {
        let status = answer.status.as_u16();
        assert!(
            status >= 400 || status == 204 && method == "options",
            "{method} {path} is not in the document"
        );
        return;
    };
    let status = answer.status.as_u16().to_string();
    let about = format!("{method} {path}: {status} {}", answer.body);
    let response =
        operation["responses"].get(&status).unwrap_or_else(|| panic!("undocumented status of {about}"));
    let response = resolve(response);
    for name in NAMED_HEADERS {
        let is_named =
            response["headers"].as_object().unwrap().keys().any(|key| key.eq_ignore_ascii_case(name));
        assert!(is_named || !answer.headers.contains_key(name), "undocumented header {name} of {about}");
    }
    if answer.bytes.is_empty() {
        assert!(is_head || response.get("content").is_none(), "no body: {about}");
        return;
    }
    let essence = answer.header("content-type").split(';').next().unwrap().trim();
    let content = &response["content"][essence];
    assert!(content.is_object(), "undocumented type {essence} of {about}");
    if essence.ends_with("json") && essence != "application/x-ndjson" {
        let faults = faults(&content["schema"], &answer.body);
        assert_eq!(faults, Vec::<String>::new(), "{about}");
    }
}

fn resolve(schema: &Value) -> &Value {
    match schema["$ref"].as_str() {
        Some(to) => {
            resolve(document().pointer(to.trim_start_matches('#')).unwrap_or_else(|| panic!("no {to}")))
        }
        None => schema,
    }
}

/// Returns the names of the members that `schema` knows; `None` if it takes any.
fn members(schema: &Value) -> Option<BTreeSet<&str>> {
    let schema = resolve(schema);
    let own = schema["properties"].as_object();
    let parts = schema["allOf"].as_array();
    if own.is_none() && parts.is_none() {
        return None;
    }
    let mut names: BTreeSet<&str> = own.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    for part in parts.into_iter().flatten() {
        names.extend(members(part)?);
    }
    Some(names)
}

/// Returns what is wrong with `value`, which should have the form of `schema`, and no member that it does not name.
pub fn faults(schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    judge(schema, value, "", true, &mut faults);
    faults
}

fn judge(schema: &Value, value: &Value, at: &str, is_strict: bool, faults: &mut Vec<String>) {
    let schema = resolve(schema);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        judge(part, value, at, false, faults);
    }
    for several in ["anyOf", "oneOf"] {
        let Some(forms) = schema[several].as_array() else { continue };
        let judged: Vec<Vec<String>> = forms
            .iter()
            .map(|form| {
                let mut faults = Vec::new();
                judge(form, value, at, is_strict, &mut faults);
                faults
            })
            .collect();
        if judged.iter().all(|faults| !faults.is_empty()) {
            faults.push(format!("{at} is none of {several}: {judged:?}"));
        }
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is_of = |of: &str| match of {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("unknown type {other}"),
    };
    if !types.is_empty() && !types.iter().any(|of| is_of(of)) {
        faults.push(format!("{at} is no {types:?}: {value}"));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        faults.push(format!("{at} is none of {}: {value}", schema["enum"]));
    }
    if let Some(items) = value.as_array() {
        for (index, item) in items.iter().enumerate() {
            judge(&schema["items"], item, &format!("{at}/{index}"), true, faults);
        }
    }
    let Some(object) = value.as_object() else { return };
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            faults.push(format!("{at}/{name} is missing"));
        }
    }
    for (name, form) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(member) = object.get(name) {
            judge(form, member, &format!("{at}/{name}"), true, faults);
        }
    }
    if let Some(known) = members(schema).filter(|_| is_strict) {
        let unknown = object.keys().filter(|name| !known.contains(name.as_str()));
        faults.extend(unknown.map(|name| format!("{at}/{name} is not in the document")));
    }
}
