//! Tables for people: a column for each field. Every character counts as one place wide: letters that take two move what
//! stands behind them.

use serde_json::Value;

use super::printable::value;

/// Returns the lines of a table of `items` with a column for each field that one of them has.
pub(super) fn table(items: &[Value]) -> Vec<String> {
    let mut fields: Vec<&str> = Vec::new();
    for name in items.iter().filter_map(Value::as_object).flat_map(|item| item.keys()) {
        if !fields.contains(&name.as_str()) {
            fields.push(name);
        }
    }
    if fields.is_empty() {
        return vec![String::from("none")];
    }
    let titles: Vec<String> = fields.iter().map(|name| name.to_uppercase().replace('_', " ")).collect();
    let columns: Vec<(&str, &str)> =
        titles.iter().zip(&fields).map(|(title, field)| (title.as_str(), *field)).collect();
    table_of(items, &columns)
}

/// Returns the lines of a table of `items` with a column for each title and field.
pub(super) fn table_of(items: &[Value], columns: &[(&str, &str)]) -> Vec<String> {
    let titles = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    let row = |item: &Value| columns.iter().map(|(_, field)| cell(item.get(*field))).collect();
    let rows: Vec<Vec<String>> = std::iter::once(titles).chain(items.iter().map(row)).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Formats one field, on one line and in quotes if it could pass for two columns. One that is not there is a hyphen.
fn cell(field: Option<&Value>) -> String {
    match field.unwrap_or(&Value::Null) {
        Value::Array(parts) if !parts.is_empty() => {
            let parts = parts.iter().map(|part| value(&text(part)));
            parts.collect::<Vec<_>>().join(",")
        }
        other => value(&text(other)),
    }
}

/// Returns a field of an answer as text for people.
pub(super) fn text(field: &Value) -> String {
    match field {
        Value::Null => String::from("-"),
        Value::Bool(is_so) => String::from(if *is_so { "yes" } else { "no" }),
        Value::String(text) if text.is_empty() => String::from("-"),
        Value::String(text) => text.clone(),
        Value::Array(parts) if parts.is_empty() => String::from("-"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_field_has_a_column_as_wide_as_its_widest_cell() {
        let items = [
            json!({"kid": "edge-1", "newest": true, "used_from": "2027-01-15T08:00:00Z"}),
            json!({"kid": "a", "newest": false, "roles": ["admin", "staff"], "used_from": null}),
            json!({"kid": "", "roles": [], "used_from": "a\u{202e}b  c"}),
        ];
        assert_eq!(
            table(&items),
            [
                "KID     NEWEST  USED FROM             ROLES",
                "edge-1  yes     2027-01-15T08:00:00Z  -",
                "a       no      -                     admin,staff",
                "-       -       \"a\u{202e}b  c\"              -"
            ]
        );
        assert_eq!(table(&[]), ["none"]);
    }

    #[test]
    fn columns_stand_below_each_other_and_no_text_becomes_another_column() {
        let items = [
            json!({"name": "Zo\u{eb}", "n": 1, "of": ["a", "b"]}),
            json!({"name": "a  b", "of": []}),
            json!({"name": "a\nb", "n": "\u{202e}x"}),
        ];
        assert_eq!(
            table_of(&items, &[("NAME", "name"), ("NUMBER", "n"), ("OF", "of")]),
            [
                "NAME      NUMBER   OF",
                "Zo\u{eb}       1        a,b",
                "\"a  b\"    -        -",
                "a\\u000ab  \\u202ex  -"
            ]
        );
    }
}
