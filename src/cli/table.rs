//! Lists on a terminal: a column for each field. In a pipe a list has a line of `name=value` for each item instead.

use serde_json::Value;

use super::printable::value;

/// Formats `items` as a table, without a line end. A field that an item lacks is a hyphen.
pub(super) fn table(items: &[Value]) -> String {
    let mut columns: Vec<&str> = Vec::new();
    for name in items.iter().filter_map(Value::as_object).flat_map(|fields| fields.keys()) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    if columns.is_empty() {
        return String::from("none");
    }
    let head = columns.iter().map(|name| name.to_uppercase().replace('_', " ")).collect();
    let row = |item: &Value| columns.iter().map(|name| cell(item.get(name))).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(items.iter().map(row)).collect();
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
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Formats one field.
fn cell(field: Option<&Value>) -> String {
    match field {
        None | Some(Value::Null) => String::from("-"),
        Some(Value::String(text)) if text.is_empty() => String::from("-"),
        Some(Value::String(text)) => value(text),
        Some(Value::Array(parts)) if parts.is_empty() => String::from("-"),
        Some(Value::Array(parts)) => {
            let parts = parts.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), value));
            parts.collect::<Vec<_>>().join(",")
        }
        Some(other) => other.to_string(),
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
            "KID     NEWEST  USED FROM             ROLES\n\
             edge-1  true    2027-01-15T08:00:00Z  -\n\
             a       false   -                     admin,staff\n\
             -       -       \"a\u{202e}b  c\"              -"
        );
        assert_eq!(table(&[]), "none");
    }
}
