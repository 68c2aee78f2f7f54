//! The policy for new passwords: long, and not known, guessable or about their owner.

use super::known_bad::KnownBad;
use super::typed::Password;

/// Minimum number of characters.
pub const CHARS_MIN: usize = 15;
/// From this length on the strength is not estimated, since no attacker guesses that far.
const CHARS_LONG: usize = 25;
/// Maximum length that the estimator reads, because its cost grows with the length.
const ESTIMATED_CHARS: usize = 100;

/// The reason why a password is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Weakness {
    /// Fewer than [`CHARS_MIN`] characters.
    TooShort,
    /// On a list of known passwords; or a few characters, a run or a common word, repeated.
    KnownBad,
    /// Contains the address of its owner or the name of the service.
    ContainsIdentity,
    /// Follows a pattern that password crackers try early.
    Guessable,
}

impl Weakness {
    /// Returns the stable code of the reason, for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::KnownBad => "known_bad",
            Self::ContainsIdentity => "contains_identity",
            Self::Guessable => "guessable",
        }
    }

    /// Returns advice for people.
    pub const fn message(self) -> &'static str {
        match self {
            Self::TooShort => "use at least 15 characters; a few words in a row are easy to remember",
            Self::KnownBad => "this is one of the first passwords that are tried; choose another",
            Self::ContainsIdentity => "leave your address and the name of this service out of it",
            Self::Guessable => {
                "this follows a pattern that is guessed soon; add words that do not belong together"
            }
        }
    }
}

/// Checks a new password of the account `email` at `service`.
///
/// Errors: all reasons against it.
///
/// Source: NIST SP 800-63B-4 §3.1.1.2, which forbids composition rules.
pub fn judge(password: &Password, email: &str, service: &str, known: &KnownBad) -> Result<(), Vec<Weakness>> {
    let text = password.as_str();
    let chars = text.chars().count();
    let mut found = Vec::new();
    if chars < CHARS_MIN {
        found.push(Weakness::TooShort);
    }
    let lower = text.to_lowercase();
    if is_known_bad(&lower) || known.contains(text) {
        found.push(Weakness::KnownBad);
    }
    let local = email.split('@').next().unwrap_or_default();
    let about_owner = |word: &str| word.chars().count() >= 4 && lower.contains(&word.to_lowercase());
    if about_owner(local) || about_owner(service) || about_owner(email) {
        found.push(Weakness::ContainsIdentity);
    }
    if found.is_empty() && chars < CHARS_LONG {
        let cut: String = text.chars().take(ESTIMATED_CHARS).collect();
        if u8::from(zxcvbn::zxcvbn(&cut, &[email, local, service]).score()) < 3 {
            found.push(Weakness::Guessable);
        }
    }
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// An estimate that a sign-up form can show while the user types.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Advice {
    /// Strength from 0 (guessed at once) to 4.
    pub score: u8,
    /// Reasons against the password. Empty if it would be accepted.
    pub reasons: Vec<Weakness>,
    /// Suggestions for people.
    pub suggestions: Vec<String>,
}

/// Checks a new password like [`judge`], and adds a score and suggestions.
pub fn advise(password: &Password, email: &str, service: &str, known: &KnownBad) -> Advice {
    let reasons = judge(password, email, service, known).err().unwrap_or_default();
    let cut: String = password.as_str().chars().take(ESTIMATED_CHARS).collect();
    let local = email.split('@').next().unwrap_or_default();
    let estimate = zxcvbn::zxcvbn(&cut, &[email, local, service]);
    // Known passwords are guessed first, whatever their pattern.
    let score = if reasons.contains(&Weakness::KnownBad) { 0 } else { u8::from(estimate.score()) };
    let mut suggestions: Vec<String> = reasons.iter().map(|reason| reason.message().to_owned()).collect();
    if !reasons.is_empty() {
        let feedback =
            estimate.feedback().map(|feedback| feedback.suggestions().to_vec()).unwrap_or_default();
        suggestions.extend(feedback.iter().map(|suggestion| {
            let text = suggestion.to_string();
            text.trim_end_matches('.').to_lowercase()
        }));
    }
    Advice { score, reasons, suggestions }
}

/// Says whether a password is a short one repeated to the required length, a run of characters, or a common word with a
/// few digits. Lists of common passwords contain hardly any of this length, so this is decided by rule.
fn is_known_bad(lower: &str) -> bool {
    const WORDS: [&str; 24] = [
        "password", "passwort", "passw0rd", "p@ssw0rd", "p@ssword", "qwerty", "qwertz", "azerty", "letmein",
        "welcome", "admin", "iloveyou", "monkey", "dragon", "football", "baseball", "sunshine", "princess",
        "login", "secret", "master", "trustno1", "changeme", "abc123",
    ];
    const RUNS: [&str; 7] = [
        "01234567890123456789012345678901234567890",
        "98765432109876543210987654321098765432109",
        "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
        "qwertyuiopasdfghjklzxcvbnmqwertyuiopasdfghjklzxcvbnm",
        "qwertzuiopasdfghjklyxcvbnmqwertzuiopasdfghjklyxcvbnm",
        "1q2w3e4r5t6y7u8i9o0p",
        "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik",
    ];
    let mut rest: String = lower.chars().filter(|c| !c.is_whitespace()).collect();
    if rest.is_empty() {
        return true;
    }
    // A unit of up to four characters, repeated.
    let chars: Vec<char> = rest.chars().collect();
    let repeats = |unit: usize| chars.iter().zip(chars.iter().skip(unit)).all(|(one, next)| one == next);
    if (1..=4).any(repeats) || RUNS.iter().any(|run| run.contains(&rest)) {
        return true;
    }
    for word in WORDS {
        rest = rest.replace(word, "");
    }
    let is_padding = rest.chars().all(|c| c.is_ascii_digit() || c.is_ascii_punctuation());
    is_padding && rest.chars().count() <= 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_random_passwords_pass_and_common_ones_do_not() {
        for good in [
            "correct horse battery staple",
            "wolkig-Lampe-7-Kanu-Frost",
            "\u{6c34}\u{5c71}\u{706b}gulf tweed ivy knob",
        ] {
            assert_eq!(
                judge(&Password::parse(good).unwrap(), "ada@example.org", "Portcullis", &KnownBad::default()),
                Ok(()),
                "{good}"
            );
        }
        for (bad, weakness) in [
            ("short words", Weakness::TooShort),
            ("passwordpassword", Weakness::KnownBad),
            ("Password 123456 password", Weakness::KnownBad),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaa", Weakness::KnownBad),
            ("abcabcabcabcabcabcabcabcabc", Weakness::KnownBad),
            ("123456789012345678901234", Weakness::KnownBad),
            ("qwertyuiopasdfghjkl", Weakness::KnownBad),
            ("lovelace-has-a-long-one-here", Weakness::ContainsIdentity),
            ("my portcullis login words", Weakness::ContainsIdentity),
            ("barbarabarbara1", Weakness::Guessable),
        ] {
            let found = judge(
                &Password::parse(bad).unwrap(),
                "lovelace@example.org",
                "Portcullis",
                &KnownBad::default(),
            );
            assert!(found.unwrap_err().contains(&weakness), "{bad}");
        }
    }
}
