//! Reading: a file, then the environment, then flags; every fault is gathered, none hides another.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, nearest};

/// A mistake in the configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigFault {
    /// Where: file and line, or the variable, or the flag.
    pub place: String,
    /// What is wrong, and what was perhaps meant.
    pub what: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Text(value) => write!(f, "{value:?}"),
            Self::List(value) => write!(f, "{value:?}"),
        }
    }
}

/// What was read, before it has its types.
#[derive(Debug, Default)]
pub struct Reader {
    values: BTreeMap<&'static str, (Value, String)>,
    faults: Vec<ConfigFault>,
}

impl Reader {
    /// With the defaults.
    pub fn new() -> Self {
        let mut reader = Self::default();
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            reader.text(key.name, key.default, "default");
        }
        reader
    }

    /// Notes a mistake.
    pub fn fault(&mut self, place: impl Into<String>, what: impl Into<String>) {
        self.faults.push(ConfigFault { place: place.into(), what: what.into() });
    }

    /// Notes what is wrong with the value of a key.
    pub fn wrong(&mut self, name: &'static str, what: impl fmt::Display) {
        let place = self.values.get(name).map_or_else(|| String::from("default"), |(_, place)| place.clone());
        self.fault(place, format!("`{name}` {what}"));
    }

    /// All mistakes, or none.
    pub fn finish(self) -> Result<(), Vec<ConfigFault>> {
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults) }
    }

    /// Lays the text of a file over what there is.
    pub fn file(&mut self, path: &str, text: &str) {
        // One mistake, not one for each of them: this is no text, or another system's.
        let stray = |(at, c): &(usize, char)| match c {
            '\t' | '\n' => false,
            '\r' => !text.get(at + 1..).is_some_and(|rest| rest.starts_with('\n')),
            c => c.is_ascii_control(),
        };
        if let Some((at, c)) = text.char_indices().find(stray) {
            let what = format!("a control character (U+{:04X}) has no place here", u32::from(c));
            return self.fault(format!("{path}:{}", line_of(text, at)), what);
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            self.fault(format!("{path}:{line}"), error.message().to_owned());
        }
        self.table(path, text, "", table.get_ref());
    }

    fn table(&mut self, path: &str, text: &str, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = if section.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{section}.{}", key.get_ref())
            };
            let place = format!("{path}:{}", line_of(text, key.span().start));
            let prefix = format!("{name}.");
            match value.get_ref() {
                DeValue::Table(inner) if KEYS.iter().any(|key| key.name.starts_with(&prefix)) => {
                    self.table(path, text, &name, inner);
                }
                value => self.set(&name, value, place),
            }
        }
    }

    fn set(&mut self, name: &str, value: &DeValue<'_>, place: String) {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let hint = nearest(name).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return self.fault(place, format!("unknown key `{name}`{hint}"));
        };
        let value = match value {
            DeValue::Boolean(value) => Some(Value::Bool(*value)),
            DeValue::Integer(value) => {
                i64::from_str_radix(value.as_str(), value.radix()).ok().map(Value::Int)
            }
            DeValue::String(value) => Some(Value::Text(value.to_string())),
            DeValue::Array(values) => {
                let texts = values.iter().map(|value| value.get_ref().as_str().map(ToOwned::to_owned));
                texts.collect::<Option<_>>().map(Value::List)
            }
            _ => None,
        };
        match value {
            Some(value) => {
                self.values.insert(key.name, (value, place));
            }
            None => self.fault(place, format!("`{name}` cannot have a value of this kind")),
        }
    }

    /// Lays a value as it would stand in the file over what there is.
    fn text(&mut self, name: &str, text: &str, place: &str) {
        match DeValue::parse(text) {
            Ok(value) => self.set(name, value.get_ref(), place.to_owned()),
            Err(error) => self.fault(place, format!("`{name}`: {}", error.message())),
        }
    }

    /// Lays a value that came as plain text over what there is: from the environment or a flag.
    pub fn plain(&mut self, name: &str, text: &str, place: &str) {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            let hint = nearest(name).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return self.fault(place, format!("unknown key `{name}`{hint}"));
        };
        let value = if key.default.starts_with('[') {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::List(parts.map(ToOwned::to_owned).collect())
        } else if let Ok(number) = text.parse::<i64>() {
            Value::Int(number)
        } else if let Ok(truth) = text.parse::<bool>() {
            Value::Bool(truth)
        } else {
            Value::Text(text.to_owned())
        };
        self.values.insert(key.name, (value, place.to_owned()));
    }

    /// Lays `PORTCULLIS__SECTION__KEY` variables over what there is.
    pub fn environment(&mut self, variables: impl Iterator<Item = (String, String)>) {
        for (variable, value) in variables {
            if let Some(name) = variable.strip_prefix("PORTCULLIS__") {
                self.plain(&name.to_lowercase().replace("__", "."), &value, &variable);
            }
        }
    }

    /// A truth.
    pub fn truth(&mut self, name: &'static str) -> Option<bool> {
        match self.values.get(name) {
            Some((Value::Bool(value), _)) => Some(*value),
            None => None,
            Some((Value::Text(text), _)) if text.is_empty() => None,
            Some(_) => {
                self.wrong(name, "must be true or false");
                None
            }
        }
    }

    /// A whole number in a range.
    pub fn number(&mut self, name: &'static str, range: std::ops::RangeInclusive<u64>) -> u64 {
        let found = self.values.get(name).map(|(value, _)| value.clone());
        match found {
            Some(Value::Int(value)) if u64::try_from(value).is_ok_and(|value| range.contains(&value)) => {
                value.unsigned_abs()
            }
            Some(_) => {
                self.wrong(name, format!("must be a whole number from {} to {}", range.start(), range.end()));
                *range.start()
            }
            None => 0,
        }
    }

    /// Whole seconds.
    pub fn secs(&mut self, name: &'static str) -> Duration {
        Duration::from_secs(self.number(name, 1..=315_360_000))
    }

    /// A text; empty is none.
    pub fn words(&mut self, name: &'static str) -> Option<String> {
        match self.values.get(name) {
            Some((Value::Text(value), _)) => Some(value.clone()).filter(|text| !text.is_empty()),
            None => None,
            Some((Value::Int(value), _)) => Some(value.to_string()),
            Some(_) => {
                self.wrong(name, "must be a text");
                None
            }
        }
    }

    /// A text of a form.
    pub fn parsed<T: FromStr>(&mut self, name: &'static str, form: &str) -> Option<T> {
        let text = self.words(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong(name, format!("must be {form}, not {text:?}"));
        }
        parsed
    }

    /// One of a few texts.
    pub fn choice(&mut self, name: &'static str, choices: &[&str]) -> String {
        let text = self.words(name).unwrap_or_default();
        if !choices.contains(&text.as_str()) {
            self.wrong(name, format!("must be one of {choices:?}, not {text:?}"));
        }
        text
    }

    /// A list of texts of a form.
    pub fn list<T: FromStr>(&mut self, name: &'static str, form: &str) -> Vec<T> {
        let texts = match self.values.get(name) {
            Some((Value::List(texts), _)) => texts.clone(),
            None => Vec::new(),
            Some(_) => {
                self.wrong(name, "must be a list of texts");
                Vec::new()
            }
        };
        let mut parsed = Vec::new();
        for text in texts {
            match text.parse() {
                Ok(value) => parsed.push(value),
                Err(_) => self.wrong(name, format!("holds {text:?}, which is not {form}")),
            }
        }
        parsed
    }

    /// Refuses a key whose part of the program is not there.
    pub fn not_available(&mut self, name: &'static str) {
        let asked = match self.values.get(name) {
            Some((Value::Text(text), _)) => !text.is_empty(),
            Some((Value::Bool(value), _)) => *value,
            _ => false,
        };
        if asked {
            self.wrong(name, "is not available in this version");
        }
    }

    /// Every value as it counts, for `config show`.
    pub fn show(&self) -> String {
        let mut out = String::new();
        for key in KEYS {
            if let Some((value, place)) = self.values.get(key.name) {
                out.push_str(&format!("{} = {value}  # {place}\n", key.name));
            }
        }
        out
    }
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
