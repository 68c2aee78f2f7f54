//! Tables for people: a column for each field. On a terminal that is too narrow for them, each item is a block of lines, one
//! for each field, so that no row is broken and nothing is cut.

use rustix::termios::tcgetwinsize;
use serde_json::Value;
use unicode_width::UnicodeWidthStr;

use super::printable::{printable, value};

/// Returns the lines of a table of `items` with a column for each title and field.
pub(super) fn table_of(items: &[Value], columns: &[(&str, &str)]) -> Vec<String> {
    let titles = columns.iter().map(|(title, _)| (*title).to_owned()).collect();
    let row = |item: &Value| columns.iter().map(|(_, field)| cell(item.get(*field))).collect();
    laid_out(titles, items.iter().map(row).collect(), terminal_columns())
}

/// Returns the columns of the terminal that is standard output, if it is one.
fn terminal_columns() -> Option<usize> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// Lays `rows` out as a table below `titles`, or as blocks if the table is wider than `columns`.
fn laid_out(titles: Vec<String>, rows: Vec<Vec<String>>, columns: Option<usize>) -> Vec<String> {
    let count = titles.len();
    let table: Vec<&Vec<String>> = std::iter::once(&titles).chain(&rows).collect();
    let width = |column: usize| {
        let cells = table.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.width()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let line = |row: &&Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| padded(cell, *width)).collect();
        cells.join("  ").trim_end().to_owned()
    };
    let lines: Vec<String> = table.iter().map(line).collect();
    let is_too_wide = |columns| lines.iter().any(|line| line.width() > columns);
    if !columns.is_some_and(is_too_wide) {
        return lines;
    }
    let widest = titles.iter().map(|title| title.width()).max().unwrap_or(0);
    let block = |row: &Vec<String>| {
        let cells = titles.iter().zip(row);
        cells.map(|(title, cell)| format!("{}  {cell}", padded(title, widest))).collect::<Vec<_>>()
    };
    let blocks: Vec<Vec<String>> = rows.iter().map(block).collect();
    blocks.join(&String::new())
}

/// Returns `text` with blanks behind it up to `width` places. Letters of some scripts take two.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Formats one field, on one line and in quotes if it could pass for two columns. One that is not there is a hyphen.
fn cell(field: Option<&Value>) -> String {
    match field.unwrap_or(&Value::Null) {
        Value::Array(parts) if !parts.is_empty() => {
            let parts = parts.iter().map(|part| value(&text(part)));
            shown(&parts.collect::<Vec<_>>().join(","))
        }
        other => shown(&value(&text(other))),
    }
}

/// Returns a cell as it will stand on the terminal, so that its width is right.
fn shown(cell: &str) -> String {
    printable(cell).into_owned()
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
    fn a_table_that_is_too_wide_for_the_terminal_becomes_blocks_and_nothing_is_cut() {
        let row = |cells: [&str; 2]| cells.map(ToOwned::to_owned).to_vec();
        let lay = |columns| {
            let rows = vec![row(["1", "a long address"]), row(["2", "\u{6771}\u{4eac}"])];
            laid_out(row(["ID", "ADDRESS"]), rows, columns)
        };
        let table = ["ID  ADDRESS", "1   a long address", "2   \u{6771}\u{4eac}"];
        assert_eq!(lay(None), table);
        assert_eq!(lay(Some(18)), table);
        let blocks = ["ID       1", "ADDRESS  a long address", "", "ID       2", "ADDRESS  \u{6771}\u{4eac}"];
        assert_eq!(lay(Some(17)), blocks);
        let wide = laid_out(row(["A", "B"]), vec![row(["\u{6771}\u{4eac}", "x"]), row(["ab", "y"])], None);
        assert_eq!(wide, ["A     B", "\u{6771}\u{4eac}  x", "ab    y"]);
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
