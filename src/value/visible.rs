//! Characters that are obeyed instead of shown: they move the cursor of a terminal, hide text or turn its direction round.

/// Says whether a terminal or an editor obeys `c`, or shows nothing of it: control characters, marks of the direction,
/// characters without a width, separators of lines, and tags.
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
