//! The language of a user, as a tag of BCP 47: `en`, `en-GB`, `zh-Hant-TW`.
//!
//! The form of a tag is checked, not whether its parts are registered: the registry changes, and a tag that nobody knows
//! harms nobody.
//!
//! Source: RFC 5646 §2.1 (form), §2.1.1 (case).

/// Maximum length of a tag in characters. RFC 5646 §4.4.1 expects that no tag without extensions is longer.
pub const LOCALE_CHARS_MAX: usize = 35;

/// The text is no language tag.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a language is a tag of at most {LOCALE_CHARS_MAX} characters, such as en-GB (BCP 47)")]
pub struct LocaleError;

/// Parses the tag `typed` and brings it to its canonical case.
pub fn parse(typed: &str) -> Result<Box<str>, LocaleError> {
    let typed = typed.trim();
    let is_subtag =
        |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let has_language =
        typed.split('-').next().is_some_and(|first| first.bytes().all(|b| b.is_ascii_alphabetic()));
    if typed.len() > LOCALE_CHARS_MAX || !has_language || !typed.split('-').all(is_subtag) {
        return Err(LocaleError);
    }
    let mut canonical = String::with_capacity(typed.len());
    // After a single letter or digit, which begins an extension or a private part, all is in lower case.
    let mut is_extension = false;
    for (number, part) in typed.split('-').enumerate() {
        if number > 0 {
            canonical.push('-');
        }
        let at = canonical.len();
        canonical.push_str(&part.to_ascii_lowercase());
        is_extension |= part.len() == 1;
        if number > 0 && !is_extension {
            let upper = match part.len() {
                2 => 2,
                4 => 1,
                _ => 0,
            };
            if let Some(upper) = canonical.get_mut(at..at + upper) {
                upper.make_ascii_uppercase();
            }
        }
    }
    Ok(canonical.into())
}

/// Says whether `text` is a tag in its canonical case.
pub fn is_stored_form(text: &str) -> bool {
    parse(text).is_ok_and(|canonical| *canonical == *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_brought_to_the_case_of_the_standard() {
        for (typed, canonical) in [
            ("EN", "en"),
            ("en-gb", "en-GB"),
            (" EN-gb ", "en-GB"),
            ("mn-cyrl-mn", "mn-Cyrl-MN"),
            ("ZH-hant-tw", "zh-Hant-TW"),
            ("es-419", "es-419"),
            ("sl-ROZAJ-biske", "sl-rozaj-biske"),
            ("de-1996", "de-1996"),
            ("en-ca-X-ca", "en-CA-x-ca"),
            ("sgn-be-fr", "sgn-BE-FR"),
            ("az-latn-x-LATN", "az-Latn-x-latn"),
            ("de-DE-u-CO-phonebk", "de-DE-u-co-phonebk"),
        ] {
            assert_eq!(parse(typed).as_deref(), Ok(canonical), "{typed}");
            assert!(is_stored_form(canonical), "{canonical}");
        }
        assert!(!is_stored_form("en-gb"));
    }

    #[test]
    fn what_has_another_form_is_no_tag() {
        let long = format!("en{}", "-abcdefgh".repeat(4));
        assert_eq!(long.len(), LOCALE_CHARS_MAX + 3);
        for typed in [
            "",
            "-",
            "en_GB",
            "en-",
            "-gb",
            "en--gb",
            "en GB",
            "languages",
            "1a",
            "\u{e9}n",
            "en\n-gb",
            &long,
        ] {
            assert_eq!(parse(typed), Err(LocaleError), "{typed:?}");
        }
        assert!(parse(&long[..LOCALE_CHARS_MAX - 3]).is_ok());
    }
}
