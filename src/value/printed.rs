//! Which characters of a stranger's text a reader sees.

use unicode_normalization::char::is_combining_mark;

/// The most marks that are shown above and below one letter. No script needs more; a pile of them covers the lines beside it.
pub const MARKS_MAX: usize = 4;

/// Says whether a terminal or an editor obeys `c`, or shows nothing of it: control characters, marks of the direction,
/// characters without a width, letters without a form, separators of lines, and tags.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Says whether `c` turns the direction in which the text beside it is written.
pub const fn turns_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Says whether a reader sees anything of `text`.
pub fn is_seen(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace() && !is_unseen(c) && !is_combining_mark(c))
}

/// Finds marks of which too many follow each other.
#[derive(Debug, Default)]
pub struct Marks(usize);

impl Marks {
    /// Takes the next character of a text. Says whether it is a mark beyond [`MARKS_MAX`].
    pub fn is_too_many(&mut self, c: char) -> bool {
        self.0 = if is_combining_mark(c) { self.0 + 1 } else { 0 };
        self.0 > MARKS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_what_nobody_sees_is_not_seen() {
        for text in
            ["", " \u{3000}", "\u{3164}\u{2800}", "\u{115f}\u{ffa0}\u{34f}\u{17b4}", "\u{301}", "\u{200b}\n"]
        {
            assert!(!is_seen(text), "{text:?}");
        }
        for text in ["a", "\u{200b}Zo\u{eb}", "\u{6771}", "\u{1f600}", "-"] {
            assert!(is_seen(text), "{text:?}");
        }
    }

    #[test]
    fn four_marks_are_shown_on_each_letter() {
        let mut marks = Marks::default();
        let text = format!("e{}e{}", "\u{301}".repeat(6), "\u{302}".repeat(4));
        assert_eq!(text.chars().filter(|c| marks.is_too_many(*c)).count(), 2);
    }
}
