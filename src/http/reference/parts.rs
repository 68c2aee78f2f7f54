//! Parts of the OpenAPI document that it has once and refers to by name.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::http::routes::schema::Schema;

/// Parts that are referred to by name, so that the document has each once.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) forms: BTreeMap<String, Value>,
    pub(super) responses: BTreeMap<String, Value>,
}

impl Parts {
    /// Returns a reference to the form of `schema`, and keeps the form and what it refers to.
    pub(super) fn form(&mut self, schema: &Schema) -> Value {
        let name = (schema.name)().into_owned();
        if !self.forms.contains_key(&name) {
            let mut parts = Vec::new();
            (schema.parts)(&mut parts);
            self.forms.insert(name.clone(), written(&(schema.form)()));
            self.forms.extend(parts.into_iter().map(|(name, form)| (name, written(&form))));
        }
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// Returns a reference to a response that several operations have, and keeps it.
    pub(super) fn response(&mut self, name: String, response: Value) -> Value {
        let refers = json!({"$ref": format!("#/components/responses/{name}")});
        self.responses.entry(name).or_insert(response);
        refers
    }
}

/// Writes a form. It is made of texts, numbers, lists and maps with texts for keys, so it always can be.
pub(super) fn written(form: &impl serde::Serialize) -> Value {
    let mut form = serde_json::to_value(form).unwrap_or_default();
    drop_widths(&mut form);
    join_remarks(&mut form);
    form
}

/// Joins a form and the remark of the member that has it. The remark alone says that it is of an object, which no text is.
fn join_remarks(form: &mut Value) {
    match form {
        Value::Object(members) => {
            members.values_mut().for_each(join_remarks);
            let joined = match members.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
                Some([Value::Object(of), Value::Object(remark)]) if is_remark(remark) => {
                    let mut joined = of.clone();
                    joined.extend(remark.iter().filter(|(name, _)| *name == "description").map(owned));
                    joined
                }
                _ => return,
            };
            members.remove("allOf");
            members.extend(joined);
        }
        Value::Array(items) => items.iter_mut().for_each(join_remarks),
        _ => {}
    }
}

fn is_remark(form: &Map<String, Value>) -> bool {
    form.contains_key("description") && form.keys().all(|name| name == "description" || name == "type")
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

/// Drops the widths of numbers: those of this server have no sign, and one bit more than these say.
fn drop_widths(form: &mut Value) {
    match form {
        Value::Object(members) => {
            if members.get("format").is_some_and(|format| *format == "int64" || *format == "int32") {
                members.remove("format");
            }
            members.values_mut().for_each(drop_widths);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_widths),
        _ => {}
    }
}
