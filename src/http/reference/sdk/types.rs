//! The types of the client: forms of bodies, a method for each operation, and the codes of problems.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Map, Value};

use super::super::parts::{Parts, written};
use super::operations;
use crate::http::problem::ProblemBody;
use crate::http::problem::explained::EXPLAINED;
use crate::http::routes::schema::Schema;
use crate::http::routes::{Operation, Takes};

/// The widest line of a comment.
const WIDTH: usize = 118;
/// The pair of answers that depends on the mode of the client.
const OPENED: [&str; 2] = ["TokenPair", "CookieSession"];

/// Returns the types of the client, as a declaration file of TypeScript.
pub fn types() -> String {
    let mut parts = Parts::default();
    parts.form(&Schema::of::<ProblemBody>());
    let mut methods = String::new();
    let mut refusals = String::new();
    let common = common_codes();
    for (_, operation) in operations() {
        // The client renews tokens by itself: its `refresh` is written by hand.
        if operation.id != "refresh" {
            methods += &method(operation, &mut parts);
        }
        let own = operation.problems().into_iter().filter(|code| !common.contains(code));
        let _ = writeln!(refusals, "  {}: {};", operation.id, union(own.map(quoted)));
    }
    let codes = EXPLAINED.iter().map(|explained| quoted(explained.code));
    let generated = format!(
        "/** Every code of a problem. `unexpected_answer` and `session_replaced` are of the client itself. */\n\
         export type ProblemCode =\n  | {}\n  | \"unexpected_answer\"\n  | \"session_replaced\";\n\n\
         /** The codes that any request may be refused with. */\n\
         export type CommonCode = {};\n\n\
         /** The codes that each operation may be refused with, beside those of {{@link CommonCode}}. */\n\
         export interface Refusals {{\n{refusals}}}\n\n\
         /** A method for each operation of the interface. */\n\
         export interface Operations<M extends Mode> {{\n{methods}}}\n\n{}",
        codes.collect::<Vec<_>>().join("\n  | "),
        union(common.iter().map(quoted)),
        forms(&parts),
    );
    format!("{}\n{generated}", include_str!("client.d.ts"))
}

/// Returns the codes that every operation may be refused with.
fn common_codes() -> BTreeSet<&'static str> {
    let codes = operations().map(|(_, operation)| operation.problems().into_iter().collect::<BTreeSet<_>>());
    codes.reduce(|common, codes| &common & &codes).unwrap_or_default()
}

fn quoted(text: impl AsRef<str>) -> String {
    Value::from(text.as_ref()).to_string()
}

fn union(parts: impl Iterator<Item = String>) -> String {
    let mut parts: Vec<String> = parts.collect();
    let mut seen = BTreeSet::new();
    parts.retain(|part| seen.insert(part.clone()));
    if parts.is_empty() { String::from("never") } else { parts.join(" | ") }
}

/// Writes a comment before what is indented by `indent`.
fn comment(text: &str, indent: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().filter(|line| line.len() + word.len() < WIDTH - 3 - indent.len());
        match line {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    match lines.as_slice() {
        [only] if only.is_empty() => String::new(),
        [only] => format!("{indent}/** {only} */\n"),
        lines => {
            let lines = lines.iter().map(|line| format!("{indent} * {line}\n"));
            format!("{indent}/**\n{}{indent} */\n", lines.collect::<String>())
        }
    }
}

/// Writes the method of an operation: its parameters of the path, its body, its query, and options.
fn method(operation: &Operation, parts: &mut Parts) -> String {
    let mut parameters: Vec<String> =
        operation.path_parts.iter().map(|part| format!("{}: string", part.name)).collect();
    match operation.body {
        Takes::Nothing => {}
        Takes::Json(schema) | Takes::JsonOrForm(schema, _) => {
            parameters.push(format!("body: {}", body(&schema, parts)));
        }
        Takes::OptionalJson(schema) => parameters.push(format!("body?: {}", body(&schema, parts))),
        // The text of all lines: who has thousands of them writes them one by one.
        Takes::Lines(schema) => {
            parts.form(&schema);
            parameters.push(String::from("body: string"));
        }
    }
    if let Some(query) = operation.query {
        parameters.push(format!("query?: {}", members(&written(&(query.form)()), "  ", true)));
    }
    parameters.push(String::from("options?: CallOptions"));
    let text = format!("{}. {}", operation.summary, operation.description);
    let (id, parameters) = (operation.id, parameters.join(", "));
    format!("{}  {id}({parameters}): Promise<{}>;\n", comment(&text, "  "), result(operation, parts))
}

/// Returns the type of a body that a request takes. The client says by itself which kind of credential it asks for.
fn body(schema: &Schema, parts: &mut Parts) -> String {
    parts.form(schema);
    let name = (schema.name)().into_owned();
    let form = parts.forms.get(&name);
    let has_mode = form.is_some_and(|form| form.pointer("/properties/mode").is_some());
    if has_mode { format!("BodyOf<{name}, M>") } else { name }
}

/// Returns the type of what a method gives.
fn result(operation: &Operation, parts: &mut Parts) -> String {
    let mut types = Vec::new();
    for answer in operation.answers {
        let names: Vec<String> = answer.schemas.iter().map(|schema| (schema.name)().into_owned()).collect();
        answer.schemas.iter().for_each(|schema| _ = parts.form(schema));
        match (answer.media_type, names.as_slice()) {
            (None, _) => types.push(String::from("undefined")),
            (Some(_), []) => types.push(String::from("string")),
            (Some(_), names) if names == OPENED => types.push(String::from("Opened<M>")),
            (Some(_), names) => types.extend_from_slice(names),
        }
    }
    if types.iter().all(|name| name == "undefined") {
        return String::from("void");
    }
    union(types.into_iter())
}

/// Writes every form as a type of its own.
fn forms(parts: &Parts) -> String {
    let mut text = String::new();
    for (name, form) in &parts.forms {
        text += &comment(description(form), "");
        let has_members = form.get("properties").is_some() && form.get("allOf").is_none();
        let _ = if has_members {
            writeln!(text, "export interface {name} {}\n", members(form, "", false))
        } else {
            writeln!(text, "export type {name} = {};\n", type_of(form, ""))
        };
    }
    text.trim_end().to_owned() + "\n"
}

fn description(form: &Value) -> &str {
    form.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// Writes the members of an object, each with its comment. Those of a query may all be left out, and none is null.
fn members(form: &Value, indent: &str, is_query: bool) -> String {
    let empty = Map::new();
    let required: Vec<&str> = form
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let inner = format!("{indent}  ");
    let mut text = String::from("{\n");
    for (name, form) in form.get("properties").and_then(Value::as_object).unwrap_or(&empty) {
        let mark = if required.contains(&name.as_str()) && !is_query { "" } else { "?" };
        let mut of = type_of(form, &inner);
        if is_query {
            of = of.replace(" | null", "");
        }
        let _ = writeln!(text, "{}{inner}{name}{mark}: {of};", comment(description(form), &inner));
    }
    text + indent + "}"
}

/// Returns the type of a form.
fn type_of(form: &Value, indent: &str) -> String {
    if let Some(to) = form.get("$ref").and_then(Value::as_str) {
        return to.rsplit('/').next().unwrap_or_default().to_owned();
    }
    if let Some(values) = form.get("enum").and_then(Value::as_array) {
        return union(values.iter().map(Value::to_string));
    }
    let several = |name| form.get(name).and_then(Value::as_array).into_iter().flatten();
    if several("allOf").next().is_some() {
        return several("allOf").map(|form| type_of(form, indent)).collect::<Vec<_>>().join(" & ");
    }
    if several("oneOf").chain(several("anyOf")).next().is_some() {
        return union(several("oneOf").chain(several("anyOf")).map(|form| type_of(form, indent)));
    }
    match form.get("type") {
        Some(Value::String(of)) => plain_type(of, form, indent),
        Some(Value::Array(of)) => {
            union(of.iter().filter_map(Value::as_str).map(|of| plain_type(of, form, indent)))
        }
        _ => String::from("unknown"),
    }
}

fn plain_type(of: &str, form: &Value, indent: &str) -> String {
    let text = match of {
        "string" | "boolean" | "null" => of,
        "integer" | "number" => "number",
        "array" => {
            let item =
                form.get("items").map_or_else(|| String::from("unknown"), |item| type_of(item, indent));
            return if item.contains(' ') { format!("({item})[]") } else { format!("{item}[]") };
        }
        "object" if form.get("properties").is_some() => return members(form, indent, false),
        "object" => "Record<string, unknown>",
        _ => "unknown",
    };
    text.to_owned()
}
