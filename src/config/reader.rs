//! Reads values from a file, then the environment, then flags; a later source replaces the value of an earlier one.
//! Collects every mistake, so that one does not hide another.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::fault::{ConfigFault, ConfigFaults};
use super::key::{Form, Key, KeyList};

/// The place of a value that a program sets.
pub(super) const PLACE_OF_PROGRAM: &str = "Config::builder()";

/// A value as its source gives it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    List(Vec<String>),
    /// A value that is not UTF-8: only a path can be.
    Bytes(OsString),
}

impl Value {
    fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Bool(value) => (*value).into(),
            Self::Int(value) => (*value).into(),
            Self::Text(value) => value.as_str().into(),
            Self::List(values) => values.as_slice().into(),
            // As far as it is text.
            Self::Bytes(value) => value.to_string_lossy().into(),
        }
    }
}

/// A value and the place that it comes from.
#[derive(Clone, Debug)]
struct Placed {
    value: Value,
    place: String,
}

/// The values of all sources by key, before the sections give them their types, and the mistakes so far.
#[derive(Clone, Debug)]
pub struct Reader {
    keys: KeyList,
    values: BTreeMap<&'static str, Placed>,
    files: Vec<String>,
    faults: Vec<ConfigFault>,
    /// The section that a file may have several times, with its keys, and those that it has.
    pub(super) repeatable: Option<(&'static str, KeyList)>,
    pub(super) repeated: Vec<Self>,
    /// The place of a value that is missing.
    pub(super) begins: String,
}

/// The sources.
impl Reader {
    /// Creates a reader of `keys` that holds their defaults.
    pub(super) fn over(keys: KeyList) -> Self {
        let mut reader = Self {
            keys,
            values: BTreeMap::new(),
            files: Vec::new(),
            faults: Vec::new(),
            repeatable: None,
            repeated: Vec::new(),
            begins: String::from("default"),
        };
        for key in keys.iter().filter(|key| !key.default.is_empty()) {
            match DeValue::parse(key.default) {
                Ok(value) => reader.set(key.name, value.get_ref(), String::from("default")),
                Err(error) => reader.fault("default", format!("`{}`: {}", key.name, error.message())),
            }
        }
        reader
    }

    /// Reads the bytes of a file. `path` is its name in messages.
    pub fn bytes(&mut self, path: &str, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.file(path, text),
            Err(error) => {
                let at = error.valid_up_to();
                let line = bytes.iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
                let byte = bytes.get(at).copied().unwrap_or_default();
                let what =
                    format!("byte {at} of the file (0x{byte:02X}) is not UTF-8: save the file as UTF-8");
                self.fault(format!("{path}:{line}"), what);
            }
        }
    }

    /// Reads the text of a file. `path` is its name in messages.
    pub fn file(&mut self, path: &str, text: &str) {
        self.files.push(path.to_owned());
        // As with every key, the last file counts.
        self.repeated.clear();
        // A binary file, or one with the line ends of another system, is one mistake, not one for each character.
        let is_stray = |(at, c): &(usize, char)| match c {
            '\t' | '\n' => false,
            '\r' => !text.get(at + 1..).is_some_and(|rest| rest.starts_with('\n')),
            c => c.is_ascii_control(),
        };
        if let Some((at, c)) = text.char_indices().find(is_stray) {
            let what = format!("a control character (U+{:04X}) has no place here", u32::from(c));
            return self.fault(format!("{path}:{}", line_of(text, at)), what);
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in errors {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            let written = text.lines().nth(line - 1).and_then(unquoted);
            self.fault(format!("{path}:{line}"), written.unwrap_or_else(|| error.message().to_owned()));
        }
        self.table(path, text, "", table.get_ref());
    }

    pub(super) fn table(&mut self, path: &str, text: &str, section: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let name = if section.is_empty() {
                key.get_ref().to_string()
            } else {
                format!("{section}.{}", key.get_ref())
            };
            let place = format!("{path}:{}", line_of(text, key.span().start));
            let prefix = format!("{name}.");
            match value.get_ref() {
                value if self.is_repeatable(&name) => self.repeat(path, text, value, place),
                DeValue::Table(inner) if self.keys.iter().any(|key| key.name.starts_with(&prefix)) => {
                    self.table(path, text, &name, inner);
                }
                DeValue::Table(_) if self.keys.by_name(&name).is_none() => {
                    let near = self.nearest_section(&name);
                    let hint = near.map_or(String::new(), |near| format!("; did you mean `[{near}]`?"));
                    self.fault(place, format!("unknown section `[{name}]`{hint}"));
                }
                value => self.set(&name, value, place),
            }
        }
    }

    /// Returns the section that `unknown` was probably meant to be, if any is close.
    fn nearest_section(&self, unknown: &str) -> Option<&'static str> {
        let sections = self.keys.iter().filter_map(|key| Some(key.name.rsplit_once('.')?.0));
        let rated = sections.map(|section| (strsim::damerau_levenshtein(unknown, section), section));
        rated.min().filter(|(distance, _)| *distance <= 2).map(|(_, section)| section)
    }

    fn set(&mut self, name: &str, value: &DeValue<'_>, place: String) {
        let Some(key) = self.keys.by_name(name) else { return self.unknown(name, place) };
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
                self.values.insert(key.name, Placed { value, place });
            }
            None => self.fault(place, format!("`{name}` cannot have a value of this kind")),
        }
    }

    /// Reads one value that came as plain text: from the environment or a flag. `place` says from where.
    pub fn plain(&mut self, name: &str, text: &str, place: &str) {
        let Some(key) = self.keys.by_name(name) else { return self.unknown(name, place.to_owned()) };
        // By the type of the key, never by the look of the value: `007` may be a name.
        let read = match key.form {
            Form::List => {
                let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
                Some(Value::List(parts.map(ToOwned::to_owned).collect()))
            }
            Form::Number { .. } => text.parse().ok().map(Value::Int),
            Form::Flag => text.parse().ok().map(Value::Bool),
            Form::Text | Form::Choice(_) => None,
        };
        let value = read.unwrap_or_else(|| Value::Text(text.to_owned()));
        self.values.insert(key.name, Placed { value, place: place.to_owned() });
    }

    /// Reads one value that a program sets.
    pub(super) fn typed(&mut self, name: &str, value: Value) {
        let Some(key) = self.keys.by_name(name) else {
            return self.unknown(name, PLACE_OF_PROGRAM.to_owned());
        };
        self.values.insert(key.name, Placed { value, place: PLACE_OF_PROGRAM.to_owned() });
    }

    /// Reads one value as the system hands it over: bytes. Those that are not UTF-8 can only be a path.
    pub fn system(&mut self, name: &str, value: &OsStr, place: &str) {
        match (value.to_str(), self.keys.by_name(name)) {
            (Some(text), _) => self.plain(name, text, place),
            (None, None) => self.unknown(name, place.to_owned()),
            (None, Some(key)) => {
                let value = Value::Bytes(value.to_owned());
                self.values.insert(key.name, Placed { value, place: place.to_owned() });
            }
        }
    }

    /// Reads the `PORTCULLIS__SECTION__KEY` variables among `variables`. One that is misspelled so that it would be passed
    /// over, such as `PORTCULLIS_SECTION_KEY`, is a mistake. All others may hold any bytes.
    pub fn environment<T: AsRef<OsStr>>(&mut self, variables: impl Iterator<Item = (T, T)>) {
        for (variable, value) in variables {
            let (variable, value) = (variable.as_ref(), value.as_ref());
            let Some(name) = variable.to_str() else {
                if variable.as_encoded_bytes().starts_with(VARIABLES.as_bytes()) {
                    self.fault(variable.to_string_lossy(), "the name of this variable is not UTF-8");
                }
                continue;
            };
            if let Some(key) = name.strip_prefix(VARIABLES) {
                let key = key.to_lowercase().replace("__", ".");
                let wrong = self.keys.by_name(&key).and_then(|key| {
                    kept_by_env_file(key, value).or_else(|| empty(key, value).then_some(EMPTY))
                });
                match wrong {
                    Some(what) => self.fault(name, format!("`{key}` {what}")),
                    None => self.system(&key, value, name),
                }
            } else if is_named(name, "PORTCULLIS_CONFIG") || is_named(name, "PORTCULLIS_CONFIG_FILE") {
                self.fault(name, "is passed over; name the file with `--config FILE`");
            } else if let Some(key) = near_miss(self.keys, name) {
                let right = variable_of(key);
                self.fault(name, format!("is passed over; did you mean `{right}`?"));
            }
        }
    }

    /// Returns the files and the variables that were read, in that order.
    pub fn sources(&self) -> (&[String], Vec<&str>) {
        let places = self.values.values().map(|placed| placed.place.as_str());
        (&self.files, places.filter(|place| place.starts_with(VARIABLES)).collect())
    }

    /// Returns the name of every key with its value and the place that it comes from, for `portcullis config show`. `None`
    /// if the key is not set and has no fixed default.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, Option<(serde_json::Value, &str)>)> {
        self.keys.iter().map(|key| {
            let placed = self.values.get(key.name);
            (key.name, placed.map(|placed| (placed.value.to_json(), placed.place.as_str())))
        })
    }
}

/// The values as text.
impl Reader {
    /// Lists every value and the place that it comes from, one a line, as a file holds them.
    pub fn show(&self) -> String {
        let line = |(key, entry): (&str, Option<(serde_json::Value, &str)>)| match entry {
            Some((value, place)) => format!("{key} = {value}  # {place}\n"),
            None => format!("# {key} is not set\n"),
        };
        self.entries().map(line).collect::<String>() + &self.show_repeated()
    }
}

/// Says how the value in `line` is written, if it is a text without quotes.
fn unquoted(line: &str) -> Option<String> {
    let (key, rest) = line.split_once('=')?;
    let value = rest.split('#').next()?.trim();
    let is_text = value.chars().next().is_some_and(|c| !matches!(c, '"' | '\'' | '[' | '{'));
    if !is_text || value.contains(['"', '\'']) || DeValue::parse(value).is_ok() {
        return None;
    }
    let key = key.trim();
    Some(format!("`{key}` takes a text, which needs quotes: {key} = \"{value}\""))
}

/// The prefix of the variables.
const VARIABLES: &str = "PORTCULLIS__";

/// Says what of `value`, a value of `key`, is no part of what its author meant, if a reader of env files that is no shell has kept it: quotes
/// around the value or around one of a list, or the carriage return of a line end.
fn kept_by_env_file(key: &Key, value: &OsStr) -> Option<&'static str> {
    let bytes = value.as_encoded_bytes();
    let is_quoted = |part: &[u8]| match part.trim_ascii() {
        [first @ (b'"' | b'\''), .., last] => first == last,
        _ => false,
    };
    if bytes.ends_with(b"\r") {
        return Some("ends with a carriage return: save the file that sets it with LF as line ends");
    }
    let is_list = key.form == Form::List;
    let is_kept = is_quoted(bytes) || is_list && bytes.split(|byte| *byte == b',').any(is_quoted);
    is_kept.then_some("is in quotes, which count as part of it: set it without them")
}

/// What is wrong with a variable that is set and empty.
const EMPTY: &str = "is empty: give it a value, or unset the variable";

/// Says whether `value` sets a key to nothing although nothing is none of its values. A number that has no default of its own
/// may be empty: it is derived then.
fn empty(key: &Key, value: &OsStr) -> bool {
    let takes_nothing = match key.form {
        Form::Text | Form::List | Form::Choice(_) => true,
        Form::Number { .. } => key.default.is_empty() || key.default == "\"\"",
        Form::Flag => false,
    };
    value.is_empty() && !takes_nothing
}

/// Says whether a variable is `meant`, but for its case and a doubled underscore.
fn is_named(variable: &str, meant: &str) -> bool {
    variable.to_uppercase().replace("__", "_") == meant
}

/// Returns the name of the variable of a key.
fn variable_of(key: &Key) -> String {
    format!("{VARIABLES}{}", key.name.to_uppercase().replace('.', "__"))
}

/// Returns the key that a variable without the right prefix was meant for, if its letters are those of the variable of a
/// key, or all but one. Others may have names of this kind: Kubernetes sets `PORTCULLIS_PORT` for a service of that name.
fn near_miss(keys: KeyList, variable: &str) -> Option<&'static Key> {
    let letters = |name: &str| name.to_lowercase().replace(['_', '.', '-'], "");
    let meant = letters(variable).strip_prefix("portcullis").map(ToOwned::to_owned)?;
    let distance = |key: &&Key| strsim::damerau_levenshtein(&meant, &letters(key.name));
    let nearest = keys.iter().min_by_key(distance)?;
    let is_near = distance(&nearest) <= usize::from(meant.len() > 6);
    is_near.then_some(nearest)
}

/// The mistakes.
impl Reader {
    /// Adds a mistake. A key that several sections read has it once.
    pub fn fault(&mut self, place: impl Into<String>, what: impl Into<String>) {
        let fault = ConfigFault { place: place.into(), what: what.into() };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// Adds a mistake in the value of the key `name`, at the place of that value.
    pub fn wrong(&mut self, name: &str, what: impl fmt::Display) {
        let place = self.values.get(name).map_or_else(|| self.begins.clone(), |placed| placed.place.clone());
        self.fault(place, format!("`{name}` {what}"));
    }

    fn unknown(&mut self, name: &str, place: String) {
        let hint = self.keys.nearest(name).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
        self.fault(place, format!("unknown key `{name}`{hint}"));
    }

    /// Ends the reading.
    ///
    /// Errors: every mistake that was found.
    pub fn finish(mut self) -> Result<(), ConfigFaults> {
        self.judge_unread();
        if self.faults.is_empty() { Ok(()) } else { Err(self.faults.into()) }
    }
}

impl Reader {
    /// Adds the mistakes in values that no section has read, since another key switches them off.
    fn judge_unread(&mut self) {
        for key in self.keys.iter() {
            let Some(placed) = self.values.get(key.name) else { continue };
            let must_be = match (key.form, &placed.value) {
                (_, Value::Text(text)) if text.is_empty() => continue,
                // Bytes are a path, or a mistake of the section that has read them.
                (Form::Text, Value::Bytes(_))
                | (Form::Text | Form::Choice(_), Value::Text(_) | Value::Int(_))
                | (Form::Flag, Value::Bool(_))
                | (Form::Number { .. }, Value::Int(_))
                | (Form::List, Value::List(_)) => continue,
                (Form::Text | Form::Choice(_), _) => "a text",
                (Form::Flag, _) => "true or false",
                (Form::Number { .. }, _) => "a whole number",
                (Form::List, _) => "a list of texts",
            };
            let named = format!("`{}` ", key.name);
            let is_known =
                self.faults.iter().any(|fault| fault.place == placed.place && fault.what.contains(&named));
            if !is_known {
                self.wrong(key.name, format!("must be {must_be}"));
            }
        }
    }
}

/// The values, for the sections. A value of the wrong kind adds a mistake and yields a stand-in, so that reading goes
/// on and finds the next mistake.
impl Reader {
    fn value(&self, name: &str) -> Option<&Value> {
        self.values.get(name).map(|placed| &placed.value)
    }

    /// Returns the value of a key that takes a number; `None` if it is empty or not set.
    pub fn optional_number(&mut self, name: &str) -> Option<u64> {
        match self.value(name) {
            None => None,
            Some(Value::Text(text)) if text.is_empty() => None,
            Some(_) => Some(self.number(name)),
        }
    }

    /// Returns the values of a list of networks. An address is the network of it alone.
    pub fn networks(&mut self, name: &str) -> Vec<IpNet> {
        let listed: Vec<Listed> = self.list(name, "an address or a network such as 10.0.0.0/8");
        listed.into_iter().map(|Listed(network)| network).collect()
    }

    /// Returns the value of a flag; `None` if it is not set.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        match self.value(name) {
            Some(Value::Bool(value)) => Some(*value),
            None => None,
            Some(Value::Text(text)) if text.is_empty() => None,
            Some(_) => {
                self.wrong(name, "must be true or false");
                None
            }
        }
    }

    /// Returns the value of a key that takes a number; 0 if it is not set.
    pub fn number(&mut self, name: &str) -> u64 {
        let Form::Number { min, max } = declared(self.keys, name).form else {
            unreachable!("the key {name} is not declared as a number")
        };
        match self.value(name) {
            Some(Value::Int(value))
                if u64::try_from(*value).is_ok_and(|value| (min..=max).contains(&value)) =>
            {
                value.unsigned_abs()
            }
            Some(_) => {
                self.wrong(name, format!("must be a whole number from {min} to {max}"));
                min
            }
            None => 0,
        }
    }

    /// Returns the value of a key that takes whole seconds.
    pub fn secs(&mut self, name: &str) -> Duration {
        Duration::from_secs(self.number(name))
    }

    /// Returns the value of a key that takes a text; `None` if it is empty or not set.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.value(name) {
            Some(Value::Text(value)) => Some(value.clone()).filter(|text| !text.is_empty()),
            None => None,
            Some(Value::Int(value)) => Some(value.to_string()),
            Some(Value::Bytes(value)) => {
                let what = format!("must be UTF-8, not \"{}\"", value.display());
                self.wrong(name, what);
                None
            }
            Some(_) => {
                self.wrong(name, "must be a text");
                None
            }
        }
    }

    /// Returns the value of a key that takes a path, which need not be UTF-8; `None` if it is empty or not set.
    pub fn path(&mut self, name: &str) -> Option<PathBuf> {
        match self.value(name) {
            Some(Value::Bytes(value)) => Some(PathBuf::from(value)),
            _ => self.text(name).map(PathBuf::from),
        }
    }

    /// Says whether a key that takes a text has one, or no value at all.
    pub fn is_text_or_unset(&self, name: &str) -> bool {
        matches!(self.value(name), None | Some(Value::Text(_) | Value::Int(_)))
    }

    /// Returns the value of a key whose text parses as `T`. `form` completes the message "must be …".
    pub fn parsed<T: FromStr>(&mut self, name: &str, form: &str) -> Option<T> {
        let text = self.text(name)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.wrong(name, format!("must be {form}, not {text:?}"));
        }
        parsed
    }

    /// Returns the value of a key that takes one of a few texts.
    pub fn choice(&mut self, name: &str) -> String {
        let Form::Choice(choices) = declared(self.keys, name).form else {
            unreachable!("the key {name} is not declared as a choice")
        };
        if !self.is_text_or_unset(name) {
            self.wrong(name, format!("must be one of {choices:?}"));
            return String::new();
        }
        let text = self.text(name).unwrap_or_default();
        if !choices.contains(&text.as_str()) {
            self.wrong(name, format!("must be one of {choices:?}, not {text:?}"));
        }
        text
    }

    /// Returns the values of a list whose texts parse as `T`. `form` completes the message "…, which is not …".
    pub fn list<T: FromStr>(&mut self, name: &str, form: &str) -> Vec<T> {
        let texts = match self.value(name) {
            Some(Value::List(texts)) => texts.clone(),
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

    /// Refuses a key that asks for a part of the program that this build does not have: that of a `feature`, if one has it.
    pub fn not_available(&mut self, name: &str, feature: Option<&str>) {
        let is_set = match self.value(name) {
            Some(Value::Text(text)) => !text.is_empty(),
            Some(Value::Bool(value)) => *value,
            Some(_) => true,
            None => false,
        };
        if is_set {
            let with = feature.map(|feature| format!(": build it with the feature `{feature}`"));
            self.wrong(name, format!("is not available in this version{}", with.unwrap_or_default()));
        }
    }
}

/// A network, or the address that stands for the network of it alone.
struct Listed(IpNet);

impl FromStr for Listed {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let of_address =
            |text: &str| text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
        text.parse().or_else(|_| of_address(text)).map(Self).map_err(|_| ())
    }
}

fn declared(keys: KeyList, name: &str) -> &'static Key {
    keys.by_name(name).unwrap_or_else(|| unreachable!("no section declares the key {name}"))
}

fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
