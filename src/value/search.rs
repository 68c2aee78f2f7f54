//! Search in addresses and names, as a person types it: whatever the case and the form of the letters.

use unicode_normalization::UnicodeNormalization;

/// Text that an address or a name must contain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Search(String);

impl Search {
    /// Returns the search for what a person typed. Surrounding white space is dropped.
    pub fn new(typed: &str) -> Self {
        Self(folded(typed.trim()))
    }

    /// Says whether an address in its canonical form contains the text, or does as people read it: its domain is stored in
    /// ASCII, `xn--bcher-kva.example`, and typed as `bücher.example`.
    pub fn finds_address(&self, address: &str) -> bool {
        // Nearly all addresses end here: they are stored in lower case.
        if address.contains(&self.0) {
            return true;
        }
        if address.is_ascii() && !address.contains("xn--") {
            return false;
        }
        let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
        let local = folded(local);
        // A label that is no encoded name stays as it is.
        let (shown, _) = idna::domain_to_unicode(domain);
        format!("{local}@{domain}").contains(&self.0)
            || format!("{local}@{}", folded(&shown)).contains(&self.0)
    }

    /// Says whether a name contains the text.
    pub fn finds_name(&self, name: &str) -> bool {
        folded(name).contains(&self.0)
    }
}

/// Returns `text` without the differences of case and form: `STRASSE` and `Straße` are the same, and so are an `é` of one
/// character and one of two.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // The capital of one letter may be two, which have a small one each.
    let alike: String = text.nfkc().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    alike.nfkc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::account_name::AccountName;

    #[test]
    fn a_name_is_found_by_its_parts_in_any_case_and_form() {
        for (name, typed, is_found) in [
            ("Ada Lovelace", "lovelace", true),
            ("Ada Lovelace", "LOVE", true),
            ("Ada Lovelace", " Lovelace ", true),
            ("Ada Lovelace", "a l", true),
            ("Ada Lovelace", "lovelaces", false),
            ("Ren\u{e9}", "RENE\u{301}", true),
            ("Rene\u{301}", "ren\u{e9}", true),
            ("Ren\u{e9}", "rene", false),
            ("Stra\u{df}er", "STRASSER", true),
            ("Strasser", "stra\u{df}e", true),
            (
                "\u{39f}\u{3b4}\u{3c5}\u{3c3}\u{3c3}\u{3ad}\u{3b1}\u{3c2}",
                "\u{3c3}\u{3ad}\u{3b1}\u{3c3}",
                true,
            ),
            ("\u{ff21}da", "ada", true),
            ("\u{130}zmir", "i\u{307}zmir", true),
            ("anybody", "", true),
        ] {
            assert_eq!(Search::new(typed).finds_name(name), is_found, "{typed:?} in {name:?}");
        }
    }

    #[test]
    fn an_address_is_found_as_it_is_stored_and_as_it_is_read() {
        for (address, typed, is_found) in [
            ("ada@example.org", "ADA@Example", true),
            ("ada@example.org", "ada@example.net", false),
            ("ada@b\u{fc}cher.example", "b\u{fc}cher", true),
            ("ada@b\u{fc}cher.example", "B\u{dc}CH", true),
            ("ada@b\u{fc}cher.example", "ada@b\u{fc}cher.example", true),
            ("ada@b\u{fc}cher.example", "bu\u{308}cher", true),
            ("ada@b\u{fc}cher.example", "xn--bcher", true),
            ("ada@b\u{fc}cher.example", "bucher", false),
            ("J\u{f6}rg@example.org", "j\u{f6}RG@", true),
            ("J\u{f6}rg@b\u{fc}cher.example", "j\u{f6}rg@xn--bcher-kva", true),
            ("stra\u{df}e@example.org", "STRASSE@", true),
        ] {
            let stored = AccountName::parse(address).unwrap();
            let is_found_now = Search::new(typed).finds_address(stored.as_str());
            assert_eq!(is_found_now, is_found, "{typed:?} in {}", stored.as_str());
        }
    }
}
