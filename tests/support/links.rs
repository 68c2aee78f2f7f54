//! Links in mails.

/// A link that is good for one address: its token and that address.
pub type BoundLink = (String, String);

/// Returns the token of the link in `text`, which is a link or a whole mail.
pub fn token_in(text: &str) -> String {
    let (_, rest) = text.split_once("#token=").unwrap_or_else(|| panic!("no link in {text}"));
    rest.chars().take_while(|c| !"& \t\r\n\"<".contains(*c)).collect()
}
