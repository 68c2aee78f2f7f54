//! An estimate of how soon a password is guessed, within a bounded time.
//!
//! **The attack:** the estimator, zxcvbn, tries every combination of the letters that characters may stand for (`4` for
//! a, `(` for c), and looks each part of each variant up in its word lists. A password of 100 such characters took more
//! than a second. Long walks over the keys overflow its counters.
//!
//! **The rule:** it sees at most `PIECE_CHARS` characters at once, in at most `VARIANTS_MAX` variants, and no more
//! than the first [`ESTIMATED_CHARS`] characters in all. The guesses of the pieces are multiplied. A piece with more
//! variants is replaced by two texts without that many: one in which each sign is the digit on the same key, one in
//! which every character is the letter it stands for; the one that is guessed sooner counts. All of this takes some
//! milliseconds for the dearest password known.
//!
//! Source: zxcvbn 3.1.1 `matching/mod.rs` (`enumerate_l33t_replacements`) and `scoring.rs`, whose counters hold for
//! walks of up to 27 keys.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use zeroize::Zeroizing;

/// Characters of a password that are estimated at all.
pub const ESTIMATED_CHARS: usize = 72;
/// Characters that the estimator sees at once.
const PIECE_CHARS: usize = 24;
/// Combinations of letters that the estimator tries for a piece. Ten different digits make at most 12.
const VARIANTS_MAX: usize = 16;

/// The letters that characters may stand for, as the estimator knows them.
const STANDS_FOR: [(char, &str); 12] = [
    ('a', "4@"),
    ('b', "8"),
    ('c', "({[<"),
    ('e', "3"),
    ('g', "69"),
    ('i', "1!|"),
    ('l', "1|7"),
    ('o', "0"),
    ('s', "$5"),
    ('t', "+7"),
    ('x', "%"),
    ('z', "2"),
];

/// The estimate of a password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Strength {
    /// How many guesses an attacker needs.
    pub guesses: u64,
    /// From 0, guessed at once, to 4.
    pub score: u8,
    /// Suggestions for people, from the first piece that has some.
    pub suggestions: Vec<String>,
}

/// Estimates the strength of `password` against an attacker who knows `words`, such as the owner's address.
pub fn estimate(password: &str, words: &[&str]) -> Strength {
    // A longer word cannot occur in a piece.
    let words: Vec<&str> = words.iter().copied().filter(|word| word.chars().count() <= PIECE_CHARS).collect();
    let chars: Zeroizing<Vec<char>> = Zeroizing::new(password.chars().take(ESTIMATED_CHARS).collect());
    let mut guesses = 1_u64;
    let mut suggestions = Vec::new();
    for piece in chars.chunks(PIECE_CHARS) {
        let guessed = estimate_piece(piece, &words);
        guesses = guesses.saturating_mul(guessed.guesses);
        if suggestions.is_empty() {
            suggestions = guessed.suggestions;
        }
    }
    let guesses = if chars.is_empty() { 0 } else { guesses };
    Strength { guesses, score: score(guesses), suggestions }
}

/// Loads the word lists, which takes some twenty milliseconds at the first estimate.
pub(super) fn load() {
    estimate("a", &[]);
}

struct Guessed {
    guesses: u64,
    suggestions: Vec<String>,
}

fn estimate_piece(piece: &[char], words: &[&str]) -> Guessed {
    let text =
        |change: fn(char) -> char| Zeroizing::new(piece.iter().copied().map(change).collect::<String>());
    if variants(piece) <= VARIANTS_MAX {
        return guess(&text(|c| c), words);
    }
    let as_digits = guess(&text(digit_on_key), words);
    let as_letters = guess(&text(letter_meant), words);
    if as_letters.guesses < as_digits.guesses { as_letters } else { as_digits }
}

/// Asks the estimator.
fn guess(text: &str, words: &[&str]) -> Guessed {
    let entropy = match catch_unwind(AssertUnwindSafe(|| zxcvbn::zxcvbn(text, words))) {
        Ok(entropy) => entropy,
        Err(panic) if cfg!(debug_assertions) => resume_unwind(panic),
        // No text of this length is known to make it panic, and tests look for one. If there is one, it counts as one that
        // is not guessed: a panic of a hashing thread would end the process.
        Err(_) => return Guessed { guesses: u64::MAX, suggestions: Vec::new() },
    };
    let suggestions = entropy.feedback().map(|feedback| feedback.suggestions().to_vec()).unwrap_or_default();
    let plain = |suggestion: &zxcvbn::feedback::Suggestion| {
        let text = suggestion.to_string();
        text.trim_end_matches('.').to_lowercase()
    };
    Guessed { guesses: entropy.guesses(), suggestions: suggestions.iter().map(plain).collect() }
}

/// Returns the score of a number of guesses, by the steps of the estimator.
const fn score(guesses: u64) -> u8 {
    match guesses {
        0..1_005 => 0,
        1_005..1_000_005 => 1,
        1_000_005..100_000_005 => 2,
        100_000_005..10_000_000_005 => 3,
        _ => 4,
    }
}

/// Returns an upper bound of the combinations that the estimator tries for a text of these characters.
fn variants(piece: &[char]) -> usize {
    let stand_ins = |letter: char| {
        let all = STANDS_FOR.iter().find(|(of, _)| *of == letter).map_or("", |(_, all)| all);
        all.chars().filter(|c| piece.contains(c)).count()
    };
    let shared = |all: &str| all.chars().filter(|c| piece.contains(c)).count();
    // A character that stands for either of two letters is tried as both: `1` and `|` for i and l, `7` for l and t.
    let [i, l, t] = ['i', 'l', 't'].map(stand_ins);
    let of_i_and_l = i.max(1) * l.max(1) + shared("1|");
    let of_i_l_and_t = of_i_and_l * (t.max(1) + shared("7"));
    let others =
        STANDS_FOR.iter().map(|(letter, _)| *letter).filter(|letter| !['i', 'l', 't'].contains(letter));
    others.map(|letter| stand_ins(letter).max(1)).fold(of_i_l_and_t, usize::saturating_mul)
}

/// Returns the digit, or another character that stands for no letter, on the key of a sign that stands for one.
const fn digit_on_key(c: char) -> char {
    match c {
        '!' => '1',
        '@' => '2',
        '$' => '4',
        '%' => '5',
        '(' => '9',
        '+' => '=',
        '<' => ',',
        '|' => '\\',
        '[' | '{' => ']',
        other => other,
    }
}

/// Returns the letter for which a character stands most often.
fn letter_meant(c: char) -> char {
    STANDS_FOR.iter().find(|(_, all)| all.contains(c)).map_or(c, |(letter, _)| *letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_has_more_variants_than_the_bound_in_the_end() {
        let all: Vec<char> = STANDS_FOR.iter().flat_map(|(_, all)| all.chars()).collect();
        assert!(variants(&all) > 500, "{}", variants(&all));
        let digits: Vec<char> = all.iter().copied().map(digit_on_key).collect();
        assert!(variants(&digits) <= VARIANTS_MAX, "{}", variants(&digits));
        let letters: Vec<char> = all.iter().copied().map(letter_meant).collect();
        assert_eq!(variants(&letters), 1);
        assert!(letters.iter().all(char::is_ascii_lowercase));
    }

    #[test]
    fn substitutions_and_walks_of_keys_are_seen_through_in_strange_texts_too() {
        // Too many variants, so each is judged by two other texts.
        for (strange, sooner) in
            [("p@$$w0rd4!1|7({", "a common word and signs"), ("1234567890!@#$%^&*()", "a walk over the keys")]
        {
            let chars: Vec<char> = strange.chars().collect();
            assert!(variants(&chars) > VARIANTS_MAX, "{strange}: {}", variants(&chars));
            assert!(estimate(strange, &[]).score < 4, "{strange} is {sooner}");
        }
        assert_eq!(estimate("7$k!2@p(9{x%4|Z+1<e5", &[]).score, 4);
    }

    #[test]
    fn scores_are_those_of_the_estimator_for_what_it_sees_whole() {
        for text in ["correct horse", "Tr0ub4dour&3", "barbarabarbara1", "qwertyuiop", "19910203", "hunter2"]
        {
            assert_eq!(estimate(text, &[]).score, u8::from(zxcvbn::zxcvbn(text, &[]).score()), "{text}");
        }
        assert_eq!(estimate("", &[]).score, 0);
        assert_eq!(estimate("zwxqkvbtrn1", &[]).score, 4);
        assert!(estimate("zwxqkvbtrn1", &["zwxqkvbtrn"]).score <= 1);
    }

    /// Texts of characters that make one matcher of the estimator or another work. In a debug build its panics are not
    /// caught.
    #[test]
    fn no_text_makes_the_estimator_panic() {
        use rand::rngs::ChaCha8Rng;
        use rand::{RngExt, SeedableRng};
        const PARTS: [&str; 44] = [
            "4",
            "@",
            "8",
            "(",
            "{",
            "[",
            "<",
            "3",
            "6",
            "9",
            "1",
            "!",
            "|",
            "0",
            "$",
            "5",
            "+",
            "7",
            "%",
            "2",
            "a",
            "A",
            "z",
            "qw",
            "QW",
            "as",
            "56",
            "852",
            "love",
            "password",
            "drowssap",
            "1991",
            "1/1/91",
            "2.2.2020",
            "abc",
            "zyx",
            "aaa",
            "\u{1f600}",
            "\u{1d538}",
            "\u{130}",
            "\u{df}",
            "\u{301}",
            "\n",
            "\u{3000}",
        ];
        let mut dice = ChaCha8Rng::seed_from_u64(27);
        for _ in 0..3_000 {
            let kinds: Vec<&str> =
                (0..dice.random_range(1..6)).map(|_| PARTS[dice.random_range(0..PARTS.len())]).collect();
            let text: String =
                (0..dice.random_range(1..40)).map(|_| kinds[dice.random_range(0..kinds.len())]).collect();
            let word: String = text.chars().take(PIECE_CHARS).collect::<String>().to_lowercase();
            assert!(estimate(&text, &[&word]).score <= 4, "{text:?}");
        }
    }

    #[test]
    fn long_walks_over_the_keys_do_not_overflow_the_counters() {
        for walk in ["qw", "25", "252125232528", "1q2w3e4r5t", "zaq12wsx"] {
            for chars in 1..=ESTIMATED_CHARS + 8 {
                let text: String = walk.chars().cycle().take(chars).collect();
                assert!(estimate(&text, &[&text]).score <= 4);
                let raised: String = text
                    .chars()
                    .enumerate()
                    .map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c })
                    .collect();
                assert!(estimate(&raised, &[&text]).score <= 4);
            }
        }
    }
}
