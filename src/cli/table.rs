//! Tables for people: columns of equal width. Programs read JSON. Every character counts as one place wide: letters that
//! take two move what stands behind them.

use serde_json::Value;

use super::printable::value;

/// Returns the lines of a table with a line of titles. A text is kept on its line, and in quotes if it could pass for two
/// columns.
pub(super) fn table(titles: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let titles = titles.iter().map(|title| (*title).to_owned()).collect();
    let cells = |row: &Vec<String>| row.iter().map(|text| value(text)).collect();
    let rows: Vec<Vec<String>> = std::iter::once(titles).chain(rows.iter().map(cells)).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|text| width_of(text)).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let padded = row.iter().zip(&widths).map(|(text, width)| {
            let blanks = width.saturating_sub(width_of(text));
            format!("{text}{}", " ".repeat(blanks))
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Returns the table of a list of records: a column for each title and field.
pub(super) fn table_of(items: &[Value], columns: &[(&str, &str)]) -> Vec<String> {
    let titles: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let row = |item: &Value| columns.iter().map(|(_, field)| text(&item[*field])).collect();
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    table(&titles, &rows)
}

/// Returns a field of an answer as text for people.
pub(super) fn text(field: &Value) -> String {
    match field {
        Value::Null => String::from("-"),
        Value::Bool(is_so) => String::from(if *is_so { "yes" } else { "no" }),
        Value::String(text) => text.clone(),
        Value::Array(fields) if fields.is_empty() => String::from("-"),
        Value::Array(fields) => fields.iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn width_of(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_no_text_becomes_another_column() {
        let rows = [["Zoë", "1"], ["a  b", ""], ["a\nb", "\u{202e}x"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|text| (*text).into()).collect()).collect();
        assert_eq!(
            table(&["NAME", "NUMBER"], &rows),
            ["NAME      NUMBER", "Zoë       1", "\"a  b\"", "a\\u000ab  \\u202ex"]
        );
        assert_eq!(table(&["NAME"], &[]), ["NAME"]);
    }

    #[test]
    fn a_field_that_is_not_there_is_a_dash_and_a_list_stands_in_one_column() {
        let items =
            [serde_json::json!({"n": 7, "of": ["a", "b"], "is": true}), serde_json::json!({"of": []})];
        let lines = table_of(&items, &[("N", "n"), ("OF", "of"), ("IS", "is")]);
        assert_eq!(lines, ["N  OF   IS", "7  a,b  yes", "-  -    -"]);
    }
}
