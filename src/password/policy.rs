//! The policy for new passwords: long, and not known, guessable or about their owner.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::foreign;
use super::known_bad::KnownBad;
use super::strength;
use super::typed::Password;

/// From this length on the strength decides nothing, since no attacker guesses that far.
const CHARS_LONG: usize = 25;
/// The fewest guesses that a shorter password must need: eight characters without a pattern do, and so does everything
/// with a score of 3.
const GUESSES_MIN: u64 = 100_000_000;

/// The reason why a password is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Weakness {
    /// Too few characters.
    TooShort {
        /// The minimum.
        chars_min: usize,
    },
    /// On a list of known passwords; or a few characters, a run or a common word, repeated.
    KnownBad,
    /// Contains the address of its owner or the name of the service.
    ContainsIdentity,
    /// Follows a pattern that password crackers try early.
    Guessable,
    /// It has the form in which some program stores passwords. Whoever sends it wants to move an account here, or has
    /// copied the wrong thing: its owner could not log in.
    LooksLikeHash,
}

impl Weakness {
    /// Returns the stable code of the reason, for programs.
    pub const fn code(self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too_short",
            Self::KnownBad => "known_bad",
            Self::ContainsIdentity => "contains_identity",
            Self::Guessable => "guessable",
            Self::LooksLikeHash => "looks_like_hash",
        }
    }

    /// Returns advice for people.
    pub fn message(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::TooShort { chars_min } => {
                let advice = "a few words in a row are easy to remember";
                return Cow::Owned(format!("use at least {chars_min} characters; {advice}"));
            }
            Self::KnownBad => "this is one of the first passwords that are tried; choose another",
            Self::ContainsIdentity => "leave your address and the name of this service out of it",
            Self::Guessable => {
                "this follows a pattern that is guessed soon; add words that do not belong together"
            }
            Self::LooksLikeHash => "this is a stored hash; send the password itself",
        })
    }
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

/// The policy of one installation. It takes milliseconds to judge a password, so the threads of the pool do it.
#[derive(Debug)]
pub struct Policy {
    /// Minimum number of characters.
    pub chars_min: usize,
    /// The name of the service, which no password may contain.
    pub service: Box<str>,
    /// Passwords that are refused because they are known.
    pub known: KnownBad,
}

impl Policy {
    /// Checks a new password of the account `email`.
    ///
    /// Errors: all reasons against it.
    ///
    /// Source: NIST SP 800-63B-4 §3.1.1.2, which forbids composition rules.
    pub fn judge(&self, password: &Password, email: &str) -> Result<(), Vec<Weakness>> {
        let text = password.as_str();
        let chars = text.chars().count();
        let mut found = Vec::new();
        if chars < self.chars_min {
            found.push(Weakness::TooShort { chars_min: self.chars_min });
        }
        let lower = Zeroizing::new(text.to_lowercase());
        if is_known_bad(&lower) || self.known.contains(text) {
            found.push(Weakness::KnownBad);
        }
        let about_owner = |word: &str| word.chars().count() >= 4 && lower.contains(&word.to_lowercase());
        if self.words(email).into_iter().any(about_owner) {
            found.push(Weakness::ContainsIdentity);
        }
        if looks_like_hash(&lower) || foreign::is_hash_text(text) {
            found.push(Weakness::LooksLikeHash);
        }
        if found.is_empty() && chars < CHARS_LONG {
            let strength = strength::estimate(text, &self.words(email));
            if strength.guesses < GUESSES_MIN {
                found.push(Weakness::Guessable);
            }
        }
        if found.is_empty() { Ok(()) } else { Err(found) }
    }

    /// Checks a new password like [`Policy::judge`], and adds a score and suggestions.
    pub fn advise(&self, password: &Password, email: &str) -> Advice {
        let reasons = self.judge(password, email).err().unwrap_or_default();
        let strength = strength::estimate(password.as_str(), &self.words(email));
        // Known passwords are guessed first, whatever their pattern.
        let score = if reasons.contains(&Weakness::KnownBad) { 0 } else { strength.score };
        let mut suggestions: Vec<String> =
            reasons.iter().map(|reason| reason.message().into_owned()).collect();
        if !reasons.is_empty() {
            suggestions.extend(strength.suggestions);
        }
        Advice { score, reasons, suggestions }
    }

    /// Returns the words that a password of `email` must not contain.
    fn words<'a>(&'a self, email: &'a str) -> [&'a str; 3] {
        [email, email.split('@').next().unwrap_or_default(), &self.service]
    }
}

/// Says whether a password, in lower case, has the form of a hash: of crypt (`$argon2id$…`, `$2b$10$…`), of an LDAP
/// directory or Spring (`{ssha}…`), of Django (`pbkdf2_sha256$…`) or Werkzeug (`scrypt:…`), or in which this server stores
/// it (`$wrapped-ssha$…`). Also those whose rest is damaged, or that no import takes.
fn looks_like_hash(lower: &str) -> bool {
    const CRYPT: [&str; 34] = [
        "argon2id",
        "argon2i",
        "argon2d",
        "argon2",
        "2",
        "2a",
        "2b",
        "2x",
        "2y",
        "bcrypt-sha256",
        "scrypt",
        "s0",
        "s",
        "7",
        "y",
        "gy",
        "1",
        "5",
        "6",
        "md5",
        "sha1",
        "apr1",
        "p",
        "h",
        "pbkdf2",
        "pbkdf2-sha256",
        "pbkdf2-sha512",
        "wp",
        "nt",
        "sha256hex",
        "firebase-scrypt",
        "wrapped-ssha",
        "wrapped-ssha256",
        "wrapped-ssha512",
    ];
    const BRACED: [&str; 18] = [
        "ssha",
        "ssha256",
        "ssha512",
        "sha",
        "sha256",
        "sha512",
        "smd5",
        "md5",
        "crypt",
        "bcrypt",
        "scrypt",
        "argon2",
        "pbkdf2",
        "pbkdf2-sha256",
        "pbkdf2-sha512",
        "sha384",
        "x-nthash",
        "noop",
    ];
    const NAMED: [&str; 9] = [
        "pbkdf2_sha256$",
        "pbkdf2_sha512$",
        "pbkdf2_sha1$",
        "bcrypt_sha256$",
        "bcrypt$",
        "argon2$",
        "scrypt$",
        "pbkdf2:sha",
        "scrypt:",
    ];
    if lower.contains(char::is_whitespace) {
        return false;
    }
    let within = |open: char, close: char| lower.strip_prefix(open).and_then(|rest| rest.split_once(close));
    // The name of the algorithm, then salt and hash.
    within('$', '$').is_some_and(|(name, rest)| CRYPT.contains(&name) && rest.len() >= 20)
        || within('{', '}').is_some_and(|(name, rest)| BRACED.contains(&name) && !rest.is_empty())
        || NAMED.iter().any(|name| lower.starts_with(name))
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
    let mut rest: Zeroizing<String> = Zeroizing::new(lower.chars().filter(|c| !c.is_whitespace()).collect());
    if rest.is_empty() {
        return true;
    }
    // A unit of up to four characters, repeated.
    let chars: Zeroizing<Vec<char>> = Zeroizing::new(rest.chars().collect());
    let repeats = |unit: usize| chars.iter().zip(chars.iter().skip(unit)).all(|(one, next)| one == next);
    if (1..=4).any(repeats) || RUNS.iter().any(|run| run.contains(&**rest)) {
        return true;
    }
    for word in WORDS {
        rest = Zeroizing::new(rest.replace(word, ""));
    }
    let is_padding = rest.chars().all(|c| c.is_ascii_digit() || c.is_ascii_punctuation());
    is_padding && rest.chars().count() <= 6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(chars_min: usize) -> Policy {
        Policy { chars_min, service: "Portcullis".into(), known: KnownBad::default() }
    }

    fn judge(policy: &Policy, text: &str, email: &str) -> Result<(), Vec<Weakness>> {
        policy.judge(&Password::parse(text).unwrap(), email)
    }

    #[test]
    fn long_random_passwords_pass_and_common_ones_do_not() {
        let policy = policy(15);
        for good in [
            "correct horse battery staple",
            "wolkig-Lampe-7-Kanu-Frost",
            "\u{6c34}\u{5c71}\u{706b}gulf tweed ivy knob",
        ] {
            assert_eq!(judge(&policy, good, "ada@example.org"), Ok(()), "{good}");
        }
        for (bad, weakness) in [
            ("short words", Weakness::TooShort { chars_min: 15 }),
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
            let found = judge(&policy, bad, "lovelace@example.org");
            assert!(found.unwrap_err().contains(&weakness), "{bad}");
        }
    }

    #[test]
    fn the_minimum_is_a_setting_and_a_short_password_must_still_be_strong() {
        let policy = policy(8);
        assert_eq!(judge(&policy, "vq7#Kd!x", "ada@example.org"), Ok(()));
        assert_eq!(
            judge(&policy, "vq7#Kd!", "ada@example.org"),
            Err(vec![Weakness::TooShort { chars_min: 8 }])
        );
        assert_eq!(judge(&policy, "barbarabarbara1", "ada@example.org"), Err(vec![Weakness::Guessable]));
        assert_eq!(
            Weakness::TooShort { chars_min: 8 }.message(),
            "use at least 8 characters; a few words in a row are easy to remember"
        );
    }

    #[test]
    fn from_twenty_five_characters_on_a_pattern_is_no_reason() {
        let pattern = "barbarabarbarabarbara1234";
        assert_eq!(pattern.chars().count(), 25);
        assert_eq!(judge(&policy(15), pattern, "ada@example.org"), Ok(()));
        assert_eq!(judge(&policy(15), &pattern[..24], "ada@example.org"), Err(vec![Weakness::Guessable]));
    }

    #[test]
    fn a_stored_hash_is_no_password() {
        for hash in [
            "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
            "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy",
            "$2y$05$bvIG6Nmid91Mu9RcmmWZfO5HJIMCT8riNW0hEp8f6/FuA2/mHZFpe",
            "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
            "$6$rounds=5000$usesomesillystri$D4IrlXatmP7rx3P3InaxBeoomnAihCKRVQAr/36eYh4",
            "$P$B12345678L6Lpt4BxNotVIMILOa9u81",
            "{SSHA}DkMTwBl+a/3DQTxCYEApdUtNXGgdUac3",
            "{bcrypt}$2a$10$dXJ3SW6G7P50lGmMkkmwe.20cQQubK3.HZWzG3YB1tlRy.fqvM/BG",
            "pbkdf2_sha256$600000$VGVzdA$8UtGxJ3O0m1zC5m9h2w3Nw",
            "scrypt:32768:8:1$Yx7kQ0ZQhQm9$1b2c",
            "$wp$2y$10$cNcVvjdGcPoXoQWBRsvEWuEtnz/qkoHuMdwGGOGvqk5GvCa3nnxVO",
            "{PBKDF2-SHA256}29000$ztl7T0mpde4dI4RQKgXgfA$xkMnCg3G2m7f9CPQGDdT6Fqzn",
            "AQAAAAIAAYagAAAAEJ2zJQ1p3v2E0u7sC6aM0x7zv7S3eW2cRr9y2E7mE0b4u1x0K2wz1yJx8QhX5m0d2g==",
            "{ \"keycloak\": {\"algorithm\": \"pbkdf2-sha256\"} }",
            "{\"firebase\":{\"hash\":\"c2VhIHNhbHQ\"}}",
        ] {
            let found = judge(&policy(15), hash, "ada@example.org").unwrap_err();
            assert!(found.contains(&Weakness::LooksLikeHash), "{hash}: {found:?}");
        }
        for plain in [
            "$5$ is what my first lunch did cost",
            "{noop} wolkig lampe kanu",
            "$cash$on%the-nail?41",
            // Some draw their passwords like this.
            "9f2c1e77ab04d5683be19c4410fd7a25",
        ] {
            assert_eq!(judge(&policy(15), plain, "ada@example.org"), Ok(()), "{plain}");
        }
    }
}
