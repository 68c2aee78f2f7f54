//! The id that another program knows an account by: the key of a row in its database, or of the service that the account
//! was imported from.

use super::printed::is_unseen;

/// Maximum length of an id in characters.
pub const EXTERNAL_ID_CHARS_MAX: usize = 128;

/// The text is no external id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "an external id has 1 to {EXTERNAL_ID_CHARS_MAX} characters that can be seen, and no blank at either end"
)]
pub struct ExternalIdError;

/// Parses the external id `typed`. It is kept as it is, since another program compares it by its bytes.
pub fn parse(typed: &str) -> Result<Box<str>, ExternalIdError> {
    if is_stored_form(typed) { Ok(typed.into()) } else { Err(ExternalIdError) }
}

/// Says whether an account may have the external id `text`.
pub fn is_stored_form(text: &str) -> bool {
    // A blank of another width looks like this one.
    let is_visible = |c: char| c == ' ' || !(is_unseen(c) || c.is_whitespace());
    !text.is_empty()
        && text.trim() == text
        // No character takes more than four bytes.
        && text.len() <= 4 * EXTERNAL_ID_CHARS_MAX
        && text.chars().count() <= EXTERNAL_ID_CHARS_MAX
        && text.chars().all(is_visible)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_other_programs_are_kept_as_they_are_and_what_hides_is_refused() {
        let longest = "\u{1f600}".repeat(EXTERNAL_ID_CHARS_MAX);
        for text in ["7", "auth0|5f7c", "6f9619ff-8b86-d011-b42d-00cf4fc964ff", "a b", "Zo\u{eb}:1", &longest]
        {
            assert_eq!(parse(text).as_deref(), Ok(text), "{text:?}");
        }
        let longer = "a".repeat(EXTERNAL_ID_CHARS_MAX + 1);
        for text in
            ["", " ", " a", "a ", "a\nb", "a\u{1b}[2J", "a\u{202e}b", "a\u{200b}", "a\u{a0}b", "\0", &longer]
        {
            assert_eq!(parse(text), Err(ExternalIdError), "{text:?}");
        }
    }
}
