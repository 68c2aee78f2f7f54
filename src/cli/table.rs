//! Tables for people: columns of equal width. Programs read JSON. Every character counts as one place wide: letters that
//! take two move what stands behind them.

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
}
