//! An operation in the OpenAPI document.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::parts::{Parts, written};
use crate::http::body::streamed::MEDIA_TYPE;
use crate::http::problem::explained::{explained, title};
use crate::http::routes::schema::Schema;
use crate::http::routes::{Answer, Credential, Operation, Takes};

/// Describes `operation`. What it refers to is added to `parts`.
pub(super) fn described(operation: &Operation, parts: &mut Parts) -> Value {
    let mut described = json!({
        "operationId": operation.id,
        "tags": [operation.tag.name()],
        "summary": operation.summary,
        "parameters": parameters(operation),
        "responses": responses(operation, parts),
        "security": security(operation),
    });
    if let Some(fields) = described.as_object_mut() {
        let mut add = |name: &str, value: Value| {
            fields.insert(name.to_owned(), value);
        };
        if !operation.description.is_empty() {
            add("description", json!(operation.description));
        }
        if let Some(body) = body(operation, parts) {
            add("requestBody", body);
        }
        if let Some(class) = operation.charged {
            add("x-limit", json!(class.name()));
        }
        if operation.fresh {
            add("x-fresh", json!(true));
        }
        match operation.credential {
            Credential::Admin(scope) => {
                add("x-roles", json!(["admin"]));
                add("x-scope", json!(scope.name()));
            }
            Credential::AdminPerson => add("x-roles", json!(["admin"])),
            Credential::Service(roles, scope) => {
                add("x-roles", json!(roles));
                add("x-scope", json!(scope.name()));
            }
            _ => {}
        }
    }
    described
}

/// Returns the credentials that the operation takes, one of which is needed.
fn security(operation: &Operation) -> Value {
    let cookie =
        if operation.is_unsafe() { json!({"cookie": [], "csrfToken": []}) } else { json!({"cookie": []}) };
    let bearer = json!({"bearer": []});
    match operation.credential {
        Credential::Nobody => json!([]),
        Credential::Account | Credential::AdminPerson => json!([bearer, cookie]),
        Credential::Cookie => json!([cookie]),
        Credential::AccountOrNobody => json!([bearer, cookie, {}]),
        Credential::Admin(scope) | Credential::Service(_, scope) => {
            let scopes = [scope.name()];
            let api_key = json!({"apiKey": scopes});
            if operation.basic {
                json!([bearer, cookie, api_key, {"basic": scopes}])
            } else {
                json!([bearer, cookie, api_key])
            }
        }
    }
}

/// What headers of requests mean.
fn meaning(header: &str) -> &'static str {
    match header {
        "X-Device-Token" => "The device token of an earlier answer.",
        "Last-Event-ID" => "The id of the last event of a stream that has ended.",
        "If-None-Match" => "The `ETag` of the answer that the client has.",
        _ => "",
    }
}

fn parameters(operation: &Operation) -> Vec<Value> {
    let parts = operation.path_parts.iter().map(|part| {
        json!({
            "name": part.name, "in": "path", "required": true, "description": part.meaning,
            "schema": {"type": "string", "minLength": 1}, "example": part.example,
        })
    });
    let headers = operation.request_headers.iter().map(|name| {
        json!({"name": name, "in": "header", "description": meaning(name), "schema": {"type": "string"}})
    });
    let query = operation.query.map(|schema| written(&(schema.form)())).unwrap_or_default();
    let members = query.get("properties").and_then(Value::as_object).into_iter().flatten();
    let query = members.map(|(name, form)| {
        let mut form = not_null(form);
        let description = form.as_object_mut().and_then(|form| {
            if form.get("type").is_some_and(|of| *of == "integer") {
                form.entry("maximum").or_insert(json!(u64::MAX));
            }
            form.remove("description")
        });
        json!({"name": name, "in": "query", "description": description, "schema": form})
    });
    parts.chain(query).chain(headers).collect()
}

/// Returns a form without null, which a query cannot say.
fn not_null(form: &Value) -> Value {
    let mut form = form.clone();
    let is_null = |one: &Value| *one == json!("null") || *one == json!({"type": "null"});
    if let Some(fields) = form.as_object_mut() {
        if let Some(Value::Array(types)) = fields.get_mut("type") {
            types.retain(|one| !is_null(one));
            if let Some(only) = types.pop() {
                fields.insert(String::from("type"), only);
            }
        }
        if let Some(Value::Array(mut forms)) = fields.remove("oneOf") {
            forms.retain(|one| !is_null(one));
            let only = forms.pop().unwrap_or_default();
            fields.extend(only.as_object().cloned().unwrap_or_default());
        }
    }
    form
}

fn body(operation: &Operation, parts: &mut Parts) -> Option<Value> {
    let (required, json, form) = match operation.body {
        Takes::Nothing => return None,
        Takes::Json(schema) => (true, schema, None),
        Takes::OptionalJson(schema) => (false, schema, None),
        Takes::JsonOrForm(schema, form) => (true, schema, Some(form)),
        Takes::Lines(schema) => {
            let content = json!({MEDIA_TYPE: {"schema": parts.form(&schema)}});
            return Some(json!({"required": true, "content": content}));
        }
    };
    let mut content = json!({"application/json": {"schema": parts.form(&json)}});
    if let (Some(form), Some(content)) = (form, content.as_object_mut()) {
        let schema = json!({"schema": parts.form(&form)});
        content.insert(String::from("application/x-www-form-urlencoded"), schema);
    }
    Some(json!({"required": required, "content": content}))
}

/// An answer by its status: what it says, its headers, and its bodies by type.
#[derive(Default)]
struct Response {
    descriptions: Vec<String>,
    headers: Vec<&'static str>,
    content: Map<String, Value>,
}

fn responses(operation: &Operation, parts: &mut Parts) -> Map<String, Value> {
    let mut by_status: BTreeMap<u16, Response> = BTreeMap::new();
    for answer in operation.answers {
        let response = by_status.entry(answer.status).or_default();
        response.descriptions.push(answer.meaning.to_owned());
        response.headers.extend(answer.headers);
        response.content.extend(content(answer, parts));
    }
    let mut refusals: BTreeMap<u16, Vec<&'static str>> = BTreeMap::new();
    for code in operation.problems() {
        if let Some(explained) = explained(code) {
            refusals.entry(explained.status).or_default().push(code);
        }
    }
    let is_charged = operation.charged.is_some();
    let mut responses = Map::new();
    for (status, codes) in refusals {
        let refusal = refusal(status, &codes);
        let described = match by_status.remove(&status) {
            Some(answer) => answer.joined(refusal).described(is_charged),
            None => {
                let charged = if is_charged { ".charged" } else { "" };
                let name = format!("{status}.{}{charged}", codes.join("."));
                parts.response(name, refusal.described(is_charged))
            }
        };
        responses.insert(status.to_string(), described);
    }
    let answers =
        by_status.into_iter().map(|(status, answer)| (status.to_string(), answer.described(is_charged)));
    responses.extend(answers);
    responses
}

/// Returns the answer of the problems with `codes`, which have the same `status`.
fn refusal(status: u16, codes: &[&'static str]) -> Response {
    let headers = match status {
        401 => &["WWW-Authenticate"][..],
        429 | 503 => &["Retry-After"],
        _ => &[],
    };
    let example =
        |code: &&str| ((*code).to_owned(), json!({"$ref": format!("#/components/examples/{code}")}));
    let problem = json!({"$ref": "#/components/schemas/Problem"});
    let body = json!({
        "schema": {"allOf": [problem, {"properties": {"code": {"enum": codes}}}]},
        "examples": codes.iter().map(example).collect::<Map<_, _>>(),
    });
    Response {
        descriptions: codes.iter().map(|code| format!("`{code}`: {}.", title(code))).collect(),
        headers: headers.to_vec(),
        content: Map::from_iter([(String::from("application/problem+json"), body)]),
    }
}

fn content(answer: &Answer, parts: &mut Parts) -> Map<String, Value> {
    let schema = match answer.schemas {
        [] => json!({"type": "string"}),
        [only] => parts.form(only),
        several => {
            let refer = |schema: &Schema| parts.form(schema);
            json!({"anyOf": several.iter().map(refer).collect::<Vec<_>>()})
        }
    };
    let mut content = Map::new();
    if let Some(media_type) = answer.media_type {
        content.insert(media_type.to_owned(), json!({"schema": schema}));
    }
    if let Some(media_type) = answer.also {
        content.insert(media_type.to_owned(), json!({"schema": {"type": "string"}}));
    }
    content
}

impl Response {
    /// Returns both answers, which have the same status.
    fn joined(mut self, other: Self) -> Self {
        self.descriptions.extend(other.descriptions);
        self.headers.extend(other.headers);
        self.content.extend(other.content);
        self
    }

    fn described(mut self, is_charged: bool) -> Value {
        self.headers.push("X-Request-Id");
        if is_charged {
            self.headers.extend(["RateLimit", "RateLimit-Policy"]);
        }
        let header =
            |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
        let mut described = json!({
            "description": self.descriptions.join(" "),
            "headers": self.headers.iter().map(header).collect::<Map<_, _>>(),
        });
        if let Some(fields) = described.as_object_mut().filter(|_| !self.content.is_empty()) {
            fields.insert(String::from("content"), Value::Object(self.content));
        }
        described
    }
}
