//! The page of the defences (`src/DEFENCES.md`) agrees with the code: every test that it names exists, every setting has the
//! default that it says, every constant the value, and the numbers in words are theirs. No file of attacks is left out.

use std::path::{Path, PathBuf};

use portcullis::config::key::{Form, Key};
use portcullis::config::keys;

const PAGE: &str = include_str!("../src/DEFENCES.md");
/// The head of every table of numbers.
const HEAD: &str = "| number | value | set by | proved by |";
/// Files of a running server, which are spelled like settings.
const FILES: [&str; 3] = ["throttle.bin", "audit.end", "admin.sock"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a span of code on the page names.
#[derive(Debug)]
enum Named<'p> {
    /// A test under `tests/`: its file and its name.
    Attack(&'p str, &'p str),
    /// A unit test: the path of its module, without `tests`, and its name.
    Unit(&'p str, &'p str),
    /// A constant: the path of its module, and its name.
    Constant(&'p str, &'p str),
    /// A setting, and the default that the page says.
    Setting(&'static Key, Option<&'p str>),
    /// A file of the source.
    File(&'p str),
    /// Something else.
    Other,
}

/// Reads a span of code. Errors: it looks like one of these and is none.
fn named(span: &str) -> Result<Named<'_>, String> {
    let unknown = || Err(format!("`{span}` names nothing"));
    if span.starts_with("tests/") || span.starts_with("src/") {
        return Ok(match span.split_once("::") {
            Some((file, test)) => Named::Attack(file, test),
            None => Named::File(span),
        });
    }
    if let Some((module, last)) = span.rsplit_once("::") {
        return match module.strip_suffix("::tests") {
            Some(module) => Ok(Named::Unit(module, last)),
            None if last.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') => {
                Ok(Named::Constant(module, last))
            }
            None => unknown(),
        };
    }
    let (name, default) = match span.split_once(" = ") {
        Some((name, default)) => (name, Some(default)),
        None => (span, None),
    };
    let is_name = name.contains('.') && name.chars().all(|c| c.is_ascii_lowercase() || "._".contains(c));
    let is_of_section = keys::all().any(|key| key.name.split('.').next() == name.split('.').next());
    match keys::all().find(|key| key.name == name) {
        Some(key) => Ok(Named::Setting(key, default)),
        None if is_name && is_of_section && !FILES.contains(&name) => unknown(),
        None => Ok(Named::Other),
    }
}

/// Returns the spans of code in `text`.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A number of the code, and whether it is a time in seconds, a time in milliseconds, or neither.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Amount {
    Count(u64),
    Millis(u64),
}

impl Amount {
    /// Returns every form in which the page may spell it.
    fn forms(self) -> Vec<String> {
        let (value, units): (u64, &[(u64, &str)]) = match self {
            Self::Count(count) => {
                (count, &[(1, ""), (1 << 10, " KiB"), (1 << 20, " MiB"), (1 << 30, " GiB")])
            }
            Self::Millis(ms) => {
                let units =
                    &[(1, " ms"), (1000, " s"), (60_000, " min"), (3_600_000, " h"), (86_400_000, " days")];
                (ms, units)
            }
        };
        let whole = units.iter().filter(|(each, _)| value.is_multiple_of(*each) && value >= *each);
        whole.map(|(each, unit)| format!("{}{unit}", with_commas(value / each))).collect()
    }

    fn is_in(self, text: &str) -> bool {
        self.forms().iter().any(|form| {
            text.match_indices(form.as_str()).any(|(at, _)| {
                let before = text[..at].chars().next_back();
                let mut after = text[at + form.len()..].chars();
                let ends = match after.next() {
                    Some(',' | '.') => !after.next().is_some_and(|c| c.is_ascii_digit()),
                    Some(c) => !c.is_ascii_digit(),
                    None => true,
                };
                ends && !before.is_some_and(|c| c.is_ascii_digit() || ",.".contains(c))
            })
        })
    }
}

fn with_commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns the default of a setting that takes a number.
fn amount_of(key: &Key) -> Option<Amount> {
    let Form::Number { .. } = key.form else { return None };
    let number: u64 = key.default.parse().ok()?;
    Some(if key.name.ends_with("_secs") {
        Amount::Millis(1000 * number)
    } else if key.name.ends_with("_days") {
        Amount::Millis(86_400_000 * number)
    } else if key.name.ends_with("_ms") {
        Amount::Millis(number)
    } else {
        Amount::Count(number)
    })
}

/// Reads the value of a constant as the source writes it: a product of numbers, a shift, or a duration of these.
fn value_of(expression: &str) -> Option<Amount> {
    // What a release has, where tests have less.
    let expression = match expression.split_once("else {") {
        Some((_, otherwise)) => otherwise.trim().strip_suffix('}')?,
        None => expression,
    };
    let number = |text: &str| -> Option<u64> {
        let (text, shift) = match text.split_once("<<") {
            Some((text, shift)) => (text, shift.trim().parse::<u32>().ok()?),
            None => (text, 0),
        };
        let factors = text.split('*').map(|factor| factor.trim().replace('_', "").parse::<u64>());
        Some(factors.collect::<Result<Vec<_>, _>>().ok()?.into_iter().product::<u64>() << shift)
    };
    let expression = expression.trim();
    let Some(duration) = expression.strip_prefix("Duration::from_") else {
        return number(expression).map(Amount::Count);
    };
    let (unit, count) = duration.strip_suffix(')')?.split_once('(')?;
    let ms = match unit {
        "millis" => 1,
        "secs" => 1000,
        "mins" => 60_000,
        "hours" => 3_600_000,
        _ => return None,
    };
    Some(Amount::Millis(ms * number(count)?))
}

/// Returns the files in which the module at `path` may stand.
fn files_of(path: &str) -> [PathBuf; 3] {
    let path = root().join("src").join(path.replace("::", "/"));
    [path.with_extension("rs"), path.join("mod.rs"), path.join("tests.rs")]
}

/// Returns the value of the constant `name` of the module at `path`.
fn constant(path: &str, name: &str) -> Option<Amount> {
    let texts = files_of(path).into_iter().filter_map(|file| std::fs::read_to_string(file).ok());
    let declared = format!("const {name}: ");
    texts.into_iter().find_map(|text| {
        let rest = text.split(&declared).nth(1)?;
        value_of(rest.split_once('=')?.1.split(';').next()?)
    })
}

/// Says whether `text` has a test of that name.
fn has_test(text: &str, name: &str) -> bool {
    let Some(at) = text.find(&format!("fn {name}(")) else { return false };
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let above = text[..line].lines().rev();
    let attributes = above.take_while(|line| line.trim().starts_with("#[") || line.trim().starts_with("//"));
    attributes.into_iter().any(|line| line.trim().starts_with("#[") && line.contains("test"))
}

/// Returns what is wrong with one span of code.
fn fault_of(span: &str) -> Option<String> {
    let exists = |file: &str, test: &str| {
        std::fs::read_to_string(root().join(file)).is_ok_and(|text| has_test(&text, test))
    };
    match named(span) {
        Err(fault) => Some(fault),
        Ok(Named::Attack(file, test)) => (!exists(file, test)).then(|| format!("no test {span}")),
        Ok(Named::Unit(module, test)) => {
            let texts = files_of(module).into_iter().filter_map(|file| std::fs::read_to_string(file).ok());
            let found = texts.into_iter().any(|text| has_test(&text, test));
            (!found).then(|| format!("no test {span}"))
        }
        Ok(Named::Constant(module, name)) => {
            constant(module, name).is_none().then(|| format!("no constant {span} that can be read"))
        }
        Ok(Named::Setting(key, Some(default))) => {
            (key.default != default).then(|| format!("`{span}`, but the default is {:?}", key.default))
        }
        Ok(Named::File(path)) => (!root().join(path).exists()).then(|| format!("no file {path}")),
        Ok(Named::Setting(_, None) | Named::Other) => None,
    }
}

/// Returns what is wrong with a row of a table: its settings and constants must give the number that it says, and a test
/// must prove it.
fn faults_of_row(line: &str) -> Vec<String> {
    let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
    let [what, value, set_by, proved_by] = cells[..] else {
        return vec![format!("a row of other than four cells: {line}")];
    };
    let mut faults = Vec::new();
    for span in spans(set_by) {
        let amount = match named(span) {
            Ok(Named::Setting(key, None)) if key.default.is_empty() => continue,
            Ok(Named::Setting(_, None)) => {
                faults.push(format!("{what}: `{span}` without its default"));
                continue;
            }
            Ok(Named::Setting(key, Some(_))) => amount_of(key),
            Ok(Named::Constant(module, name)) => constant(module, name),
            other => {
                faults.push(format!("{what}: set by {other:?}"));
                continue;
            }
        };
        if amount.is_some_and(|amount| !amount.is_in(value)) {
            faults.push(format!("{what}: {value:?} is not what {span} says"));
        }
    }
    if set_by != "-" && spans(set_by).next().is_none() {
        faults.push(format!("{what}: set by nothing"));
    }
    if !spans(proved_by).any(|span| matches!(named(span), Ok(Named::Attack(..) | Named::Unit(..)))) {
        faults.push(format!("{what}: proved by no test"));
    }
    faults
}

/// Returns the rows of all tables of numbers.
fn rows(page: &str) -> impl Iterator<Item = &str> {
    let tables = page.split(HEAD).skip(1);
    tables.flat_map(|table| table.lines().skip(2).take_while(|line| line.starts_with('|')))
}

/// Returns the files of attacks, by their paths.
fn files_of_attacks() -> Vec<String> {
    let mut dirs = vec![root().join("tests/attacks")];
    let mut files = Vec::new();
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.file_name().is_some_and(|name| name != "mod.rs") {
                files.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned());
            }
        }
    }
    files
}

/// Returns everything in which `page` and the code disagree.
fn faults(page: &str) -> Vec<String> {
    let mut faults: Vec<String> = spans(page).filter_map(fault_of).collect();
    faults.extend(rows(page).flat_map(faults_of_row));
    let unnamed = files_of_attacks().into_iter().filter(|file| !page.contains(&format!("`{file}::")));
    faults.extend(unnamed.map(|file| format!("{file} is named nowhere")));
    faults.sort();
    faults.dedup();
    faults
}

#[test]
fn the_page_of_the_defences_agrees_with_the_code() {
    assert!(rows(PAGE).count() > 100);
    let faults = faults(PAGE);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_wrong_name_or_number_on_the_page_is_found() {
    for (right, wrong, fault) in [
        (
            "::another_site_cannot_log_a_browser_in`",
            "::no_site_can`",
            "no test tests/attacks/csrf.rs::no_site_can",
        ),
        ("`tests/attacks/stuffing.rs::", "`tests/attacks/stuffed.rs::", "no test tests/attacks/stuffed.rs::"),
        (
            "::four_go_twelve_wait_",
            "::four_go_nine_wait_",
            "no test registry::lockout::turns::tests::four_go_nine_wait_",
        ),
        ("`lockout.cap = 100`", "`lockout.cap = 101`", "`lockout.cap = 101`, but the default is \"100\""),
        ("`lockout.cap = 100`", "`lockout.cup = 100`", "`lockout.cup = 100` names nothing"),
        ("| 100: 80 of strangers", "| 1000: 80 of strangers", "is not what lockout.cap = 100 says"),
        (
            "| 30 min | `session.idle_secs",
            "| 31 min | `session.idle_secs",
            "is not what session.idle_secs = 1800 says",
        ),
        (
            "| 16; the family of",
            "| 15; the family of",
            "is not what registry::lockout::record::DEVICES_MAX says",
        ),
        ("::DEVICES_MAX`", "::DEVICES_MOST`", "no constant registry::lockout::record::DEVICES_MOST"),
        ("`src/audit/README.md`", "`src/audit/REEDME.md`", "no file src/audit/REEDME.md"),
        (
            "`tests/attacks/hang_ups.rs::no_hash_is_computed_for_a_client_that_has_gone`",
            "-",
            "proved by no test",
        ),
        (
            "`tests/attacks/hang_ups.rs::no_hash_is_computed_for_a_client_that_has_gone`",
            "-",
            "hang_ups.rs is named nowhere",
        ),
        ("`throttle.exempt_networks = []`", "`throttle.exempt_networks`", "without its default"),
    ] {
        assert!(PAGE.contains(right), "{right}");
        let found = faults(&PAGE.replace(right, wrong));
        assert!(found.iter().any(|found| found.contains(fault)), "{right} as {wrong}: {found:#?}");
    }
}

#[test]
fn numbers_are_read_and_spelled_as_people_do() {
    for (expression, amount, text) in [
        ("16", Amount::Count(16), "16 of them"),
        ("1_000_000", Amount::Count(1_000_000), "1,000,000"),
        ("16 * 1024", Amount::Count(16_384), "16 KiB"),
        ("1 << 30", Amount::Count(1 << 30), "1 GiB"),
        ("if cfg!(test) { 100 } else { 100_000 }", Amount::Count(100_000), "100,000, the oldest"),
        ("Duration::from_mins(15)", Amount::Millis(900_000), "15 min."),
        ("Duration::from_hours(24 * 400)", Amount::Millis(34_560_000_000), "400 days"),
        ("Duration::from_secs(12)", Amount::Millis(12_000), "(12 s)"),
    ] {
        assert_eq!(value_of(expression), Some(amount), "{expression}");
        assert!(amount.is_in(text), "{text}");
    }
    for text in ["116", "160", "16,000", "1.16", "16.5", "1,016"] {
        assert!(!Amount::Count(16).is_in(text), "{text}");
    }
    assert_eq!(value_of("SOMETHING + 1"), None);
}
